package e2e_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"headrace/internal/mlflowtest"
)

// A failed call has one line in the log of the worker that ran it, with the caller's request id, and none elsewhere.
func TestFailureIsLoggedOnce(t *testing.T) {
	t.Parallel()
	wrong := mlflowtest.New(t)
	wrong.Handle(func(mlflowtest.Request) mlflowtest.Reply { return mlflowtest.JSON(`{"predictions": ["text"]}`) })
	ill := mlflowtest.New(t)
	ill.Handle(func(r mlflowtest.Request) mlflowtest.Reply {
		if strings.Contains(string(r.Body), "mend") {
			return mlflowtest.Reply{Status: http.StatusInternalServerError, ContentType: "application/json", Body: []byte(`{"error_code": "INTERNAL_ERROR", "message": "out of memory"}`)}
		}
		return mlflowtest.Reply{Status: http.StatusBadRequest, ContentType: "application/json", Body: []byte(`{"error_code": "BAD_REQUEST", "message": "too long"}`)}
	})
	away := mlflowtest.ClosedURL(t)
	f := newFleet(t, route("route", "emb", "llm/v1/embeddings", instant(t).URL)+
		route("route", "away", "llm/v1/embeddings", away)+route("endpoint", "wrong", "llm/v1/embeddings", wrong.URL)+
		route("endpoint", "ill", "llm/v1/embeddings", ill.URL))
	works(t, f.client, f.apis[0], "emb")
	for _, failure := range []struct {
		path, body, id string
		status         int
		level          string
		route, server  string
		says           string // what to do about it
	}{
		{"/gateway/away/invocations", `{"text":"x"}`, "ticket-4711/a", http.StatusServiceUnavailable, "WARN", "away", away, "check that it runs"},
		{"/endpoints/wrong/invocations", `{"input":"x"}`, "ticket-4711/b", http.StatusBadGateway, "WARN", "wrong", wrong.URL, "an embeddings route accepts"},
		{"/v1/embeddings", `{"model":"away","input":"x"}`, "ticket-4711/c", http.StatusServiceUnavailable, "WARN", "away", away, "its address in the configuration"},
		{"/v1/embeddings", `{"model":"ill","input":"mend"}`, "ticket-4711/d", http.StatusInternalServerError, "WARN", "ill", ill.URL, "out of memory"},
		{"/v1/embeddings", `{"model":"ill","input":"x"}`, "ticket-4711/e", http.StatusBadRequest, "INFO", "ill", ill.URL, "too long"},
	} {
		var a answer
		eventually(t, 20*time.Second, failure.route+" is served", func() bool {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+f.apis[1]+failure.path, strings.NewReader(failure.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("X-Request-Id", failure.id)
			a = do(f.client, req)
			return !strings.Contains(string(a.body), "no live worker")
		})
		if a.status != failure.status {
			t.Errorf("%s: %s", failure.path, a)
		}
		lines := func(processes []*process) (all []string) {
			for _, p := range processes {
				for line := range strings.Lines(p.out.String()) {
					if strings.Contains(line, failure.id) {
						all = append(all, line)
					}
				}
			}
			return all
		}
		eventually(t, 10*time.Second, failure.id+" is in a worker's log", func() bool { return len(lines(f.workers)) > 0 })
		logged := lines(f.workers)
		var entry struct{ Level, Route, Server, RequestID, Error string }
		text := strings.Replace(logged[0], `"request_id"`, `"RequestID"`, 1)
		if err := json.Unmarshal([]byte(text), &entry); err != nil || len(logged) != 1 || entry.Level != failure.level || entry.Route != failure.route ||
			entry.Server != failure.server || entry.RequestID != failure.id || !strings.Contains(entry.Error, failure.says) {
			t.Errorf("%s: %v, %q", failure.id, err, logged)
		}
		if also := lines(append(f.fronts, f.broker)); len(also) > 0 {
			t.Errorf("%s: %q", failure.id, also)
		}
	}
}
