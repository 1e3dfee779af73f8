package api_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"headrace/api"
	"headrace/internal/budget"
	"headrace/internal/inference"
)

func TestRequestIDs(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fakeBroker{})
	for id, kept := range map[string]bool{
		"abc-1_2.3:4/5+6=": true, "with blank": false, "umläut": false, strings.Repeat("x", 128): true, strings.Repeat("x", 129): false, "": false,
	} {
		got := do(t, s, http.MethodGet, "/nope", "", "X-Request-Id: "+id).Header().Get("X-Request-Id")
		if (got == id) != kept || got == "" {
			t.Errorf("%q becomes %q", id, got)
		}
	}
}

func TestOwnPaths(t *testing.T) {
	t.Parallel()
	broker := &fakeBroker{state: inference.RouteState{Workers: 2, Slots: 4, Waiting: 1, Batching: []inference.Batching{
		{Route: "x", Mode: inference.BatchAuto, Stage: "proven", Size: 16, Pays: new(true), CallMS: 12.3456, ItemMS: 1, Calls: 3, Requests: 9, Items: 9},
	}}}
	s := newServer(t, broker, func(_ *api.Config, d *api.Deps) {
		d.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("metrics\n")) })
	})
	one := do(t, s, http.MethodGet, "/v1/routes/old-completions", "").Body.String()
	const want = `{"name":"old-completions","type":"llm/v1/completions","family":"routes","provider":"mlflow-model-serving","model":"m1",` +
		`"invocations_url":"/v1/routes/old-completions/invocations","limit":null,"workers":2,"slots":4,"waiting":1,"paused":false,` +
		`"replicas":[{"url":"http://127.0.0.1:1/x","state":"unknown","busy":0,"failures":0}],` +
		`"batching":[{"mode":"auto","stage":"proven","size":16,"pays":true,"call_ms":12.35,"item_ms":1,"calls":3,"requests":9,"items":9,"isolating":0}]}`
	if one != want {
		t.Errorf("route %s", one)
	}
	if all := do(t, s, http.MethodGet, "/v1/routes", "").Body.String(); !strings.HasPrefix(all, `{"routes":[`+want+`,`) {
		t.Errorf("routes %s", all)
	}
	for path, status := range map[string]int{
		"/v1/routes/nope": 404, "/v1/routes/nope/invocations": 404, "/livez": 200, "/readyz": 200, "/metrics": 200, "/docs": 200, "/v1/routes/": 307,
	} {
		if w := do(t, s, http.MethodGet, path, ""); w.Code != status {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := do(t, s, http.MethodGet, "/v1/routes/nope/invocations", ""); !strings.Contains(w.Body.String(), `There is no route \"nope\"`) {
		t.Errorf("no such route: %s", w.Body)
	}
	broker.notReady = errors.New("no broker")
	if w := do(t, s, http.MethodGet, "/readyz", ""); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "no broker") {
		t.Errorf("not ready: %d %s", w.Code, w.Body)
	}
	if w := do(t, newServer(t, broker), http.MethodGet, "/metrics", ""); w.Code != http.StatusNotFound {
		t.Errorf("no metrics: %d", w.Code)
	}
}

// MLflow's framework answers HEAD for the two pages that it makes itself; load balancers and uptime checks ask for others.
func TestHeadOfPages(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fakeBroker{}, func(_ *api.Config, d *api.Deps) {
		d.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("metrics\n")) })
	})
	for path, status := range map[string]int{
		"/openapi.json": 200, "/redoc": 200, "/livez": 200, "/readyz": 200, "/docs": 200, "/health": 200, "/": 307, "/v1/models": 200,
		"/metrics": 200, "/v1/routes": 405,
	} {
		get, head := do(t, s, http.MethodGet, path, ""), do(t, s, http.MethodHead, path, "")
		if head.Code != status {
			t.Errorf("HEAD %s: %d, want %d", path, head.Code, status)
		}
		if status == http.StatusOK && head.Header().Get("Content-Length") != get.Header().Get("Content-Length") {
			t.Errorf("HEAD %s: length %s, GET %s", path, head.Header().Get("Content-Length"), get.Header().Get("Content-Length"))
		}
		want := "GET"
		if slices.Contains([]string{"/openapi.json", "/redoc", "/livez", "/readyz"}, path) { // of others, MLflow's says GET alone
			want = "GET, HEAD"
		}
		if allow := do(t, s, http.MethodPut, path, "").Header().Get("Allow"); allow != want {
			t.Errorf("PUT %s: allow %q, want %q", path, allow, want)
		}
	}
}

func TestApply(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fakeBroker{})
	s.Apply(inference.NewTable(&inference.Route{Name: "new", Type: inference.Completions, Family: inference.Routes}))
	if w := do(t, s, http.MethodPost, "/gateway/new/invocations", ask); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "candidates") {
		t.Errorf("the new route: %d %s", w.Code, w.Body)
	}
	if w := do(t, s, http.MethodPost, "/gateway/completions/invocations", ask); w.Code != http.StatusNotFound {
		t.Errorf("the old route: %d", w.Code)
	}
	if w := do(t, s, http.MethodGet, "/api/2.0/gateway/limits/x", ""); !strings.Contains(w.Body.String(), "OSS MLflow AI Gateway") {
		t.Errorf("a table of routes alone follows 2.8.1: %s", w.Body)
	}
	s.Apply(nil)
	if w := do(t, s, http.MethodGet, "/api/2.0/endpoints/", ""); w.Body.String() != `{"endpoints":[],"next_page_token":null}` {
		t.Errorf("no table: %s", w.Body)
	}
}

func TestListsShowBothFamilies(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fakeBroker{}, func(_ *api.Config, d *api.Deps) {
		d.Table = inference.NewTable(
			&inference.Route{Name: "a", Type: inference.Chat, Family: inference.Routes, Model: "m", Provider: "p"},
			&inference.Route{Name: "b", Type: inference.Chat, Family: inference.Endpoints, Provider: "p", Limit: &inference.Limit{Calls: 2, Period: "2 minutes", Key: "user"}},
		)
	})
	for path, want := range map[string]string{
		"/api/2.0/gateway/routes/": `{"routes":[{"name":"a","route_type":"llm/v1/chat","model":{"name":"m","provider":"p"},"route_url":"/gateway/a/invocations"},` +
			`{"name":"b","route_type":"llm/v1/chat","model":{"name":null,"provider":"p"},"route_url":"/gateway/b/invocations","limit":{"calls":2,"key":"user","renewal_period":"2 minutes"}}],"next_page_token":null}`,
		"/api/2.0/endpoints/": `{"endpoints":[{"name":"a","endpoint_type":"llm/v1/chat","model":{"name":"m","provider":"p"},"endpoint_url":"/gateway/a/invocations","limit":null},` +
			`{"name":"b","endpoint_type":"llm/v1/chat","model":{"name":null,"provider":"p"},"endpoint_url":"/gateway/b/invocations","limit":{"calls":2,"key":"user","renewal_period":"2 minutes"}}],"next_page_token":null}`,
	} {
		if got := do(t, s, http.MethodGet, path, "").Body.String(); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
}

func TestOpenAPIMatchesRouter(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fakeBroker{})
	var described struct {
		OpenAPI    string
		Paths      map[string]map[string]struct{ OperationID string }
		Components struct{ Schemas map[string]any }
	}
	text := do(t, s, http.MethodGet, "/openapi.json", "").Body.Bytes()
	if err := json.Unmarshal(text, &described); err != nil {
		t.Fatal(err)
	}
	known := s.Paths()
	if len(known) != len(described.Paths) || len(known) < 20 {
		t.Errorf("the router knows %d paths, openapi.json %d", len(known), len(described.Paths))
	}
	ids := make(map[string]string)
	for _, path := range known {
		if len(described.Paths[path]) == 0 {
			t.Errorf("openapi.json lacks %s", path)
		}
		for method, op := range described.Paths[path] {
			if other, twice := ids[op.OperationID]; twice || op.OperationID == "" {
				t.Errorf("%s %s has the id of %s", method, path, other)
			}
			ids[op.OperationID] = path
			// 501, 422 and the like are fine: the method is known.
			w := do(t, s, strings.ToUpper(method), placeholder.ReplaceAllString(path, "completions"), "")
			if w.Code == http.StatusMethodNotAllowed {
				t.Errorf("%s %s is not allowed", method, path)
			}
		}
	}
	for _, ref := range strings.Split(string(text), `"#/components/schemas/`)[1:] {
		name, _, _ := strings.Cut(ref, `"`)
		if described.Components.Schemas[name] == nil {
			t.Errorf("openapi.json lacks the schema %s", name)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	if _, err := api.New(api.Config{}, api.Deps{}); err == nil {
		t.Error("nothing to work with is accepted")
	}
	deps := api.Deps{Broker: &fakeBroker{}, Budget: budget.New(1)}
	_, err := api.New(api.Config{Listen: "nowhere", MaxBody: -1, SyncTimeout: -1}, deps)
	for _, part := range []string{"listen", "max_body", "sync_timeout"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not mention %s", err, part)
		}
	}
}
