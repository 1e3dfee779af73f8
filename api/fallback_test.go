package api_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"headrace/api"
	"headrace/internal/fault"
	"headrace/internal/inference"
)

// fallbackTable has a route with two that stand in for it: a model server of MLflow's, and a vendor's model.
func fallbackTable() *inference.Table {
	vendor := &inference.Vendor{API: inference.OpenAIAPI}
	return inference.NewTable(
		&inference.Route{Name: "first", Type: inference.Chat, Family: inference.Endpoints, Provider: "openai", Model: "m1", Vendor: vendor, Fallbacks: []string{"gone", "text", "last"}},
		&inference.Route{Name: "text", Type: inference.Chat, Family: inference.Endpoints, Provider: "mlflow-model-serving", Model: "m2", Fallbacks: []string{"first"}},
		&inference.Route{Name: "last", Type: inference.Chat, Family: inference.Endpoints, Provider: "openai", Model: "m3", Vendor: vendor},
	)
}

func upstreamError(status int, repeat fault.Repeat) error {
	e := fault.New(fault.UpstreamError, "the model server answered %d", status)
	e.Status, e.Repeat = status, repeat
	return e
}

func TestFallbacks(t *testing.T) {
	t.Parallel()
	const one = `{"messages":[{"role":"user","content":"hi"}]}`
	const many = `{"messages":[{"role":"user","content":"hi"},{"role":"user","content":"you"}]}`
	away := fault.New(fault.NoWorkers, "no live worker serves the route")
	for name, c := range map[string]struct {
		body   string
		fails  map[string]error
		asked  []string
		status int
		route  string // Headrace-Route
	}{
		"it answers itself":              {one, nil, []string{"first"}, 200, ""},
		"no worker":                      {one, map[string]error{"first": away}, []string{"first", "text"}, 200, "text"},
		"no room":                        {one, map[string]error{"first": fault.New(fault.QueueFull, "full")}, []string{"first", "text"}, 200, "text"},
		"no connection":                  {one, map[string]error{"first": fault.New(fault.UpstreamUnavailable, "x")}, []string{"first", "text"}, 200, "text"},
		"no answer in time":              {one, map[string]error{"first": fault.New(fault.UpstreamTimeout, "x")}, []string{"first", "text"}, 200, "text"},
		"its pace":                       {one, map[string]error{"first": upstreamError(429, fault.RepeatHelps)}, []string{"first", "text"}, 200, "text"},
		"its money":                      {one, map[string]error{"first": upstreamError(429, fault.RepeatVain)}, []string{"first", "text"}, 200, "text"},
		"its load":                       {one, map[string]error{"first": upstreamError(529, fault.RepeatHelps)}, []string{"first", "text"}, 200, "text"},
		"its patience":                   {one, map[string]error{"first": upstreamError(408, fault.RepeatHelps)}, []string{"first", "text"}, 200, "text"},
		"the caller's fault":             {one, map[string]error{"first": upstreamError(400, fault.RepeatByStatus)}, []string{"first"}, 400, ""},
		"the gateway's key":              {one, map[string]error{"first": upstreamError(502, fault.RepeatVain)}, []string{"first"}, 502, ""},
		"a wrong body":                   {one, map[string]error{"first": fault.New(fault.Invalid, "x")}, []string{"first"}, 422, ""},
		"one after the other":            {one, map[string]error{"first": away, "text": upstreamError(503, fault.RepeatByStatus)}, []string{"first", "text", "last"}, 200, "last"},
		"one that cannot be asked so":    {many, map[string]error{"first": away}, []string{"first", "last"}, 200, "last"},
		"all fail: the last one's error": {one, map[string]error{"first": away, "text": away, "last": upstreamError(500, fault.RepeatByStatus)}, []string{"first", "text", "last"}, 500, ""},
		"a fallback that is refused":     {one, map[string]error{"first": away, "text": upstreamError(404, fault.RepeatByStatus)}, []string{"first", "text"}, 404, ""},
	} {
		var asked []string
		b := &fakeBroker{answer: func(ctx context.Context, route *inference.Route, req *inference.Request) (*inference.Result, error) {
			asked = append(asked, route.Name)
			if req.Route != route.Name {
				t.Errorf("%s: the request is for %s", name, req.Route)
			}
			if err := c.fails[route.Name]; err != nil {
				return nil, err
			}
			if route.Vendor != nil {
				return &inference.Result{Body: []byte(`{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}`)}, nil
			}
			return echo(ctx, route, req)
		}}
		s := newServer(t, b, func(_ *api.Config, d *api.Deps) { d.Table = fallbackTable() })
		w := do(t, s, http.MethodPost, "/gateway/first/invocations", c.body)
		if w.Code != c.status || !slices.Equal(asked, c.asked) || w.Header().Get("Headrace-Route") != c.route {
			t.Errorf("%s: %d, asked %v, answered by %q: %s", name, w.Code, asked, w.Header().Get("Headrace-Route"), w.Body)
		}
	}
}

// A stream that has not begun may come from another route; in OpenAI's dialect the answer is of the route that gave it.
func TestFallbackOfAStream(t *testing.T) {
	t.Parallel()
	b := &fakeBroker{answer: func(ctx context.Context, route *inference.Route, req *inference.Request) (*inference.Result, error) {
		if route.Name == "first" {
			return nil, upstreamError(503, fault.RepeatHelps)
		}
		return echo(ctx, route, req)
	}}
	s := newServer(t, b, func(_ *api.Config, d *api.Deps) { d.Table = fallbackTable() })
	w := do(t, s, http.MethodPost, "/v1/chat/completions", `{"model":"first","stream":true,"messages":[{"role":"user","content":"hi"}]}`)
	if w.Code != http.StatusOK || w.Header().Get("Headrace-Route") != "text" || !strings.Contains(w.Body.String(), `"content":"hi"`) || !strings.Contains(w.Body.String(), "[DONE]") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}
