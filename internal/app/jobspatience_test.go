package app_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// Whoever waits for a job in a shell waits on while the gateway is replaced; one that was never reached, and a job that
// is not there, end the wait at once.
func TestJobsWaitOutlivesTheGateway(t *testing.T) {
	t.Parallel()
	const running = `{"object":"job","id":"a","route":"emb","status":"running","created_at":"2026-01-31T12:00:00Z","finished_at":null}`
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/jobs/a" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		switch asked.Add(1) {
		case 1:
			_, _ = w.Write([]byte(running))
		case 2: // the connection breaks
			panic(http.ErrAbortHandler) //nolint:forbidigo // the way to cut a connection
		case 3:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			_, _ = w.Write([]byte(strings.NewReplacer("running", "succeeded", `:null`, `:"2026-01-31T12:00:01Z"`).Replace(running)))
		}
	}))
	t.Cleanup(server.Close)
	code, out, errs := run(t.Context(), "jobs", "wait", "a", "--url", server.URL)
	if code != 0 || !strings.Contains(out, "succeeded") || !strings.Contains(errs, "asking again") || asked.Load() != 4 {
		t.Errorf("%d after %d requests: %s%s", code, asked.Load(), out, errs)
	}
	if code, _, errs := run(t.Context(), "jobs", "wait", "b", "--url", server.URL); code != 1 || !strings.Contains(errs, "404") {
		t.Errorf("%d %s", code, errs)
	}
	if code, _, errs := run(t.Context(), "jobs", "wait", "a", "--url", "http://"+freeAddr(t)); code != 1 || !strings.Contains(errs, "is Headrace running?") {
		t.Errorf("%d %s", code, errs)
	}
}
