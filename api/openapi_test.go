package api_test

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"headrace/api"
	"headrace/internal/inference"
	"headrace/internal/openapitest"
)

var placeholder = regexp.MustCompile(`\{\w+\}`)

// described is a server with the routes of the document's examples, and its document.
func described(t *testing.T, family inference.Family) (*api.Server, *openapitest.Document) {
	t.Helper()
	s := newServer(t, &fakeBroker{}, func(_ *api.Config, d *api.Deps) {
		route := func(name string, kind inference.Type) *inference.Route {
			return &inference.Route{Name: name, Type: kind, Family: family, Provider: "mlflow-model-serving", Model: "m"}
		}
		d.Table = inference.NewTable(route("embeddings", inference.Embeddings), route("completions", inference.Completions),
			route("chat", inference.Chat), route("iris", inference.Raw))
	})
	return s, openapitest.Parse(t, do(t, s, http.MethodGet, "/openapi.json", "").Body.Bytes())
}

// exchanged sends a request and holds the reply against the document.
func exchanged(t *testing.T, s *api.Server, d *openapitest.Document, method, path, body string) int {
	t.Helper()
	w := do(t, s, method, path, body)
	d.CheckReply(t, method, path, w.Code, w.Header(), w.Body.Bytes())
	return w.Code
}

// Each example of openapi.json works, and is answered as it says.
func TestOpenAPIExamples(t *testing.T) {
	t.Parallel()
	s, d := described(t, inference.Routes)
	requests := d.Requests(t, "embeddings")
	for _, r := range requests {
		status := exchanged(t, s, d, r.Method, r.Path, r.Body)
		if r.Body == "" {
			continue
		}
		d.CheckRequest(t, r.Method, r.Path, []byte(r.Body))
		if status != http.StatusOK && status != http.StatusNotImplemented {
			t.Errorf("%s %s %s: %d", r.Method, r.Path, r.Body, status)
		}
	}
	if len(requests) < 30 {
		t.Errorf("%d requests were tried", len(requests))
	}
}

// What is wrong is answered as openapi.json says, in each dialect.
func TestOpenAPIDescribesFailures(t *testing.T) {
	t.Parallel()
	for _, family := range []inference.Family{inference.Routes, inference.Endpoints} {
		s, d := described(t, family)
		for _, path := range []string{
			"/gateway/embeddings/invocations", "/gateway/chat/invocations", "/endpoints/completions/invocations", "/v1/routes/iris/invocations",
			"/v1/embeddings", "/v1/completions", "/v1/chat/completions", "/api/2.0/gateway/limits/", "/api/2.0/endpoints/limits/",
		} {
			for _, body := range []string{
				"", "{}", "[]", "null", "{", "\xff", `{"model":"nope"}`, `{"model":"embeddings","input":1}`, `{"model":"chat","messages":[{"role":1}]}`,
				`{"prompt":"x","stream":true}`, `{"messages":[{"role":"user","content":"x"}],"stream":true}`, strings.Repeat("[", 2000),
			} {
				if status := exchanged(t, s, d, http.MethodPost, path, body); status < 400 && !strings.Contains(path, "iris") && status != http.StatusOK {
					t.Errorf("%s %s: %d", path, body, status)
				}
			}
		}
		for _, path := range []string{"/api/2.0/gateway/routes/nope", "/v1/models/nope", "/v1/routes/nope", "/api/2.0/gateway/routes/?page_token=x", "/gateway/nope/invocations"} {
			method := http.MethodGet
			if strings.HasSuffix(path, "invocations") {
				method = http.MethodPost
			}
			if status := exchanged(t, s, d, method, path, ""); status < 400 {
				t.Errorf("%s: %d", path, status)
			}
		}
	}
}

// The document and the router have the same methods on each path.
func TestOpenAPIHasEveryMethod(t *testing.T) {
	t.Parallel()
	s, d := described(t, inference.Routes)
	known := slices.Compact(slices.Sorted(slices.Values(s.Paths())))
	if described := slices.Sorted(maps.Keys(d.Paths)); !slices.Equal(known, described) {
		t.Errorf("the router knows %v\n%v are described", known, described)
	}
	for _, template := range known {
		path := placeholder.ReplaceAllString(template, "embeddings")
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "NONE"} {
			w := do(t, s, method, path, "")
			_, described := d.Paths[template][strings.ToLower(method)]
			if served := w.Code != http.StatusMethodNotAllowed; served != described {
				t.Errorf("%s %s: %d; described: %t", method, template, w.Code, described)
			}
			if described {
				d.CheckReply(t, method, path, w.Code, w.Header(), w.Body.Bytes())
			}
		}
	}
}
