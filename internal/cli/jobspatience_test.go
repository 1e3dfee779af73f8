package cli_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"headrace/internal/apptest"
)

// A shell that waits for a job keeps waiting while the gateway is replaced; a gateway that was never reached, and a job that
// does not exist, end the wait at once.
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
	if code, _, errs := run(t.Context(), "jobs", "wait", "a", "--url", "http://"+apptest.FreeAddr(t)); code != 6 || !strings.Contains(errs, "is Headrace running?") {
		t.Errorf("%d %s", code, errs)
	}
}

// A shell that follows a job continues from where it was, until the job has ended.
func TestJobsEventsOutliveTheGateway(t *testing.T) {
	t.Parallel()
	event := func(id int, kind, status string) string {
		return fmt.Sprintf("id: %d\nevent: %s\ndata: {\"object\":\"job\",\"id\":\"a\",\"status\":%q}\n\n", id, kind, status)
	}
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/jobs/a/events" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		n := asked.Add(1)
		if want := map[int64]string{2: "5", 3: "5", 4: "6"}[n]; r.Header.Get("Last-Event-ID") != want {
			t.Errorf("request %d has seen %q, not %q", n, r.Header.Get("Last-Event-ID"), want)
		}
		switch n {
		case 1: // the gateway drains
			_, _ = io.WriteString(w, event(5, "snapshot", "queued"))
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 3: // the connection breaks behind an event
			_, _ = io.WriteString(w, event(6, "snapshot", "running"))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler) //nolint:forbidigo // the way to cut a connection
		default:
			_, _ = io.WriteString(w, ": alive\n\n"+event(7, "status", "succeeded")+event(7, "done", "succeeded"))
		}
	}))
	t.Cleanup(server.Close)
	code, out, errs := run(t.Context(), "jobs", "events", "a", "--json", "--url", server.URL)
	var seen []string
	for line := range strings.Lines(out) {
		var job struct{ Status string }
		if err := json.Unmarshal([]byte(line), &job); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		seen = append(seen, job.Status)
	}
	if got := strings.Join(seen, ","); code != 0 || got != "queued,running,succeeded,succeeded" || asked.Load() != 4 {
		t.Errorf("%d after %d requests: %s; %s", code, asked.Load(), got, errs)
	}
	if code, _, errs := run(t.Context(), "jobs", "events", "b", "--url", server.URL); code != 1 || !strings.Contains(errs, "404") {
		t.Errorf("%d %s", code, errs)
	}
}
