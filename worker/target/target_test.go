package target_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/provider/mlflow"
	"headrace/worker/target"
)

// server is a model server that is never called.
type server struct{}

// Do is part of target.Upstream.
func (*server) Do(context.Context, provider.Call, int64) (provider.Reply, func(), error) {
	return provider.Reply{}, nil, errors.New("not to be called")
}

// Run is part of target.Upstream.
func (*server) Run(context.Context) error { return nil }

// Replicas is part of target.Upstream.
func (*server) Replicas() []inference.Replica { return []inference.Replica{{URL: "http://one"}} }

func TestRoutesWithTheSameHeadersShareAClient(t *testing.T) {
	t.Parallel()
	route := func(name string, headers map[string]string) *inference.Route {
		return &inference.Route{Name: name, Provider: "mlflow", Servers: []string{"http://one"}, Headers: headers}
	}
	dialled := 0
	targets, err := target.New([]*inference.Route{
		route("a", nil), route("b", nil), route("c", map[string]string{"X": "1"}),
	}, map[string]provider.Provider{"mlflow": mlflow.New()}, func(*inference.Route) (target.Upstream, error) {
		dialled++
		return &struct {
			server

			_ int // two of them differ
		}{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if dialled != 2 || targets["a"].Upstream != targets["b"].Upstream || targets["a"].Upstream == targets["c"].Upstream {
		t.Errorf("%d clients for %d routes", dialled, len(targets))
	}
	if r := targets["a"].Replicas(); len(r) != 1 || r[0].Format != "" {
		t.Errorf("replicas: %+v", r)
	}
}

func TestAnErrorNamesTheRouteThatCannotBeServed(t *testing.T) {
	t.Parallel()
	refuse := func(*inference.Route) (target.Upstream, error) { return nil, errors.New("no such address") }
	for _, c := range []struct{ provider, says string }{
		{"mlflow", `route "a": no such address`},
		{"other", `route "a": provider "other" is not built in`},
	} {
		_, err := target.New([]*inference.Route{{Name: "a", Provider: c.provider}}, map[string]provider.Provider{"mlflow": mlflow.New()}, refuse)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("provider %q: %v", c.provider, err)
		}
	}
}
