package config_test

import (
	"fmt"
	"strings"
	"testing"

	"headrace/internal/config"
)

// manyRoutes is a configuration of n routes.
func manyRoutes(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "[[routes]]\nname = \"route-%d\"\nroute_type = \"llm/v1/embeddings\"\n[routes.model]\nprovider = \"mlflow-model-serving\"\nname = \"m\"\n"+
			"[routes.model.config]\nmodel_server_url = \"http://h:%d\"\n", i, 1+i)
	}
	return text.String()
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		want       []string // in this order
	}{
		{"none", good, nil},
		{"no routes", "[api]\nlisten = \"127.0.0.1:1\"\n", []string{"g.toml: there are no routes"}},
		{"as many routes as can be served at a time", manyRoutes(config.LanesTogether), nil},
		{"more routes", manyRoutes(10_000), []string{"10000 routes are more than the 2048 that can have calls delivered at the same time; beyond that, routes with calls take turns: " +
			"if all of them had calls at the same time, each would be served about every 4.9s"}},
		{"all addresses", "[api]\nlisten = \"0.0.0.0:5000\"\n" + good, []string{"g.toml:2: api.listen: other machines can reach 0.0.0.0:5000 (all addresses of this machine, IPv4 and IPv6)"}},
		{"no host", "[api]\nlisten = \":5000\"\n" + good, []string{"g.toml:2: api.listen: other machines can reach :5000 (all"}},
		{"one address", "[api]\nlisten = \"192.0.2.1:5000\"\n" + good, []string{"other machines can reach 192.0.2.1:5000; any of them can call every model and place jobs"}},
		{"loopback", "[api]\nlisten = \"[::1]:5000\"\n[broker]\nops_listen = \"localhost:1\"\n" + good, nil},
		{"ops", "[broker]\nops_listen = \"[::]:1\"\n[worker]\nops_listen = \"host:2\"\n" + good, []string{"g.toml:2: broker.ops_listen: ", "g.toml:4: worker.ops_listen: "}},
		{"meant", "[api]\nexposed = true\nlisten = \"0.0.0.0:5000\"\n[worker]\nops_listen = \":2\"\n" + good, nil},
	} {
		cfg, err := config.Parse("g.toml", []byte(c.text))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if len(cfg.Warnings) != len(c.want) {
			t.Errorf("%s: %v", c.name, cfg.Warnings)
			continue
		}
		for i, w := range cfg.Warnings {
			if !strings.Contains(w.String(), c.want[i]) {
				t.Errorf("%s: got %s, want %s", c.name, w, c.want[i])
			}
		}
	}
}

func TestRouteChanges(t *testing.T) {
	t.Parallel()
	parse := func(text string) *config.Config {
		t.Helper()
		cfg, err := config.Parse("g.toml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	old := parse(good + strings.Replace(good, `"a"`, `"gone"`, 1))
	next := parse(edit("http://h:1", "http://h:2") + strings.Replace(good, `"a"`, `"new"`, 1))
	c := config.RouteChanges(old, next)
	if strings.Join(c.Added, ",") != "new" || strings.Join(c.Removed, ",") != "gone" || strings.Join(c.Changed, ",") != "a" {
		t.Errorf("got %+v", c)
	}
	if c := config.RouteChanges(old, old); len(c.Added)+len(c.Removed)+len(c.Changed) != 0 {
		t.Errorf("got %+v", c)
	}
}
