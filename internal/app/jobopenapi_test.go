package app_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"headrace/internal/mlflowtest"
	"headrace/internal/openapitest"
)

// What the jobs' paths answer is what openapi.json says, for each status; and it describes each of these paths.
func TestJobOpenAPI(t *testing.T) {
	t.Parallel()
	addr, model := upWith(t, "")
	base := "http://" + addr
	d := openapitest.Parse(t, []byte(call(t, "GET", base+"/openapi.json", "").body))
	const order = `{"route":"emb","input":{"input":"a"},"tags":["x"],"metadata":{"k":"v"}}`
	const later = `{"route":"emb","input":{"input":"a"},"run_at":"%s"}`
	covered := make(map[string]bool)
	for _, test := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/v1/jobs", order, 202},
		{"POST", "/v1/jobs", "{}", 400},
		{"POST", "/v1/jobs", `{"route":"nope","input":{}}`, 404},
		{"PUT", "/v1/jobs/one", order, 202},
		{"PUT", "/v1/jobs/one", order, 200},
		{"PUT", "/v1/jobs/one", strings.Replace(order, `"a"`, `"b"`, 1), 422},
		{"POST", "/v1/jobs/batch", `{"jobs":[` + order + `,{}]}`, 202},
		{"POST", "/v1/jobs/batch", "{}", 400},
		{"GET", "/v1/jobs/one?wait=20", "", 200},
		{"GET", "/v1/jobs/none", "", 404},
		{"GET", "/v1/jobs/one/result", "", 200},
		{"GET", "/v1/jobs/one/input", "", 200},
		{"GET", "/v1/jobs/one/attempts", "", 200},
		{"GET", "/v1/jobs/one/events", "", 200},
		{"POST", "/v1/jobs/one/retry", "", 409},
		{"POST", "/v1/jobs/one/cancel", "", 200},
		{"PUT", "/v1/jobs/two", fmt.Sprintf(later, time.Now().Add(time.Hour).Format(time.RFC3339)), 202},
		{"GET", "/v1/jobs/two", "", 200},
		{"GET", "/v1/jobs/two/result", "", 202},
		{"POST", "/v1/jobs/two/cancel", "", 200},
		{"GET", "/v1/jobs/two/result", "", 409},
		{"POST", "/v1/jobs/two/retry", "", 202},
		{"GET", "/v1/jobs?limit=2", "", 200},
		{"GET", "/v1/jobs?colour=blue", "", 400},
		{"DELETE", "/v1/jobs/one", "", 204},
		{"GET", "/v1/jobs/one", "", 410},
		{"PUT", "/v1/jobs/one", order, 410},
		{"GET", "/v1/queues", "", 200},
		{"GET", "/v1/queues/emb", "", 200},
		{"GET", "/v1/queues/nope", "", 404},
		{"POST", "/v1/queues/emb/pause", "", 200},
		{"POST", "/v1/queues/emb/resume", "", 200},
		{"GET", "/v1/limits", "", 200},
		{"GET", "/v1/dead", "", 200},
		{"POST", "/v1/dead/redrive", "", 202},
		{"POST", "/v1/dead/two/redrive", "", 409},
	} {
		r := call(t, test.method, base+test.path, test.body)
		path, _, known := d.Find(test.method, test.path)
		if r.status != test.status || !known {
			t.Errorf("%s %s: %d %s; described: %t", test.method, test.path, r.status, r.body, known)
			continue
		}
		covered[test.method+" "+path] = true
		d.CheckReply(t, test.method, test.path, r.status, r.header, []byte(r.body))
		if strings.HasPrefix(test.body, `{"route":"emb"`) {
			d.CheckRequest(t, test.method, test.path, []byte(test.body))
		}
	}
	for path, methods := range d.Paths {
		for method := range methods {
			ours := slices.ContainsFunc([]string{"/v1/jobs", "/v1/queues", "/v1/dead", "/v1/limits"}, func(base string) bool { return strings.HasPrefix(path, base) })
			if name := strings.ToUpper(method) + " " + path; ours && !covered[name] {
				t.Errorf("%s is described and was not tried", name)
			}
		}
	}
	for path, methods := range d.Paths {
		for _, op := range methods {
			if op.RequestBody == nil || !strings.Contains(path, "invocations") && !strings.Contains(path, "embeddings") && !strings.Contains(path, "completions") {
				continue
			}
			if !slices.ContainsFunc(op.Parameters, func(p openapitest.Parameter) bool { return p.Ref == "Prefer" }) || op.Responses["202"].Content == nil {
				t.Errorf("%s does not say that it makes jobs", path)
			}
		}
	}
	model.WaitIdle()
}

// Each example of openapi.json is answered as it says, jobs included. First jobs are placed, then followed, then changed.
func TestOpenAPIExamplesRun(t *testing.T) {
	t.Parallel()
	vectors, texts, raw := mlflowtest.New(t), mlflowtest.New(t), mlflowtest.New(t)
	vectors.Handle(mlflowtest.Embeddings(4))
	texts.Handle(mlflowtest.Echo)
	raw.Reply(mlflowtest.Predictions(`[0, 2]`))
	addr := freeAddr(t)
	var text strings.Builder
	fmt.Fprintf(&text, "[api]\nlisten = %q\n[broker]\ndata_dir = %q\n", addr, filepath.ToSlash(t.TempDir()))
	for _, route := range []struct{ name, kind, url string }{
		{"embeddings", "llm/v1/embeddings", vectors.URL},
		{"completions", "llm/v1/completions", texts.URL},
		{"chat", "llm/v1/chat", texts.URL},
		{"iris", "mlflow/v1/invocations", raw.URL},
	} {
		fmt.Fprintf(&text, "[[routes]]\nname = %q\nroute_type = %q\n[routes.model]\nprovider = \"mlflow-model-serving\"\nname = \"m\"\n[routes.model.config]\nmodel_server_url = %q\n",
			route.name, route.kind, route.url)
	}
	upFrom(t, addr, write(t, "gateway.toml", text.String()))
	base := "http://" + addr
	d := openapitest.Parse(t, []byte(call(t, "GET", base+"/openapi.json", "").body))
	order := []string{"PUT", "GET", "HEAD", "POST", "DELETE"}
	requests := d.Requests(t, "embeddings")
	slices.SortStableFunc(requests, func(a, b openapitest.Request) int {
		return slices.Index(order, a.Method) - slices.Index(order, b.Method)
	})
	for _, q := range requests {
		if q.Path == "/" {
			continue // the client follows its redirect
		}
		r := call(t, q.Method, base+q.Path, q.Body)
		d.CheckReply(t, q.Method, q.Path, r.status, r.header, []byte(r.body))
		if q.Body != "" && r.status >= 300 && r.status != http.StatusNotImplemented {
			t.Errorf("%s %s %s: %d %s", q.Method, q.Path, q.Body, r.status, r.body)
		}
	}
	for _, model := range []*mlflowtest.Server{vectors, texts, raw} {
		model.WaitIdle()
	}
}

// A key that is none is refused on every call, also on one that makes no job: it says which endpoint of a traffic route is asked.
func TestWrongIdempotencyKeyIsRefused(t *testing.T) {
	t.Parallel()
	addr, _ := upWith(t, "")
	for path, want := range map[string]int{
		"/v1/embeddings": http.StatusBadRequest, "/endpoints/emb/invocations": http.StatusUnprocessableEntity, "/v1/jobs": http.StatusBadRequest,
	} {
		body := `{"model":"emb","input":"a"}`
		if path == "/v1/jobs" {
			body = `{"route":"emb","input":{"input":"a"}}`
		}
		for _, key := range []string{"caf\u00e9", "caf\xe9", "", strings.Repeat("k", 256)} {
			if r := call(t, "POST", "http://"+addr+path, body, "Idempotency-Key: "+key); r.status != want || !strings.Contains(r.body, "the header Idempotency-Key must be") {
				t.Errorf("%s, %q: %d %s", path, key, r.status, r.body)
			}
		}
		if r := call(t, "POST", "http://"+addr+path, body, "Idempotency-Key: k"); r.status != http.StatusOK && r.status != http.StatusAccepted {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
}

// What is empty or unknown is not taken for what was not given.
func TestEmptyParametersAreRefused(t *testing.T) {
	t.Parallel()
	addr, _ := upWith(t, "")
	base := "http://" + addr
	for path, param := range map[string]string{
		"/v1/jobs?route=": "route", "/v1/jobs?tag=x&tag=": "tag", "/v1/jobs?error_code=nope": "error_code", "/v1/dead?metadata.k=": "metadata.k",
	} {
		if r := call(t, "GET", base+path, ""); r.status != http.StatusBadRequest || !strings.Contains(r.body, `"param":"`+param+`"`) {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	call(t, "PUT", base+"/v1/jobs/one", `{"route":"emb","input":{"input":"a"}}`)
	if r := call(t, "GET", base+"/v1/jobs/one?wait=", ""); r.status != http.StatusBadRequest {
		t.Errorf("an empty wait: %d %s", r.status, r.body)
	}
	for header, want := range map[string]int{
		"Job-Deadline: junk": http.StatusBadRequest, "Job-Total-Timeout: ": http.StatusBadRequest, "Job-Priority: batch": http.StatusAccepted,
	} {
		if r := call(t, "POST", base+"/v1/embeddings", `{"model":"emb","input":"a"}`, header, "Prefer: respond-async"); r.status != want {
			t.Errorf("%s: %d %s", header, r.status, r.body)
		}
	}
}
