package dashboard_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headrace/api/dashboard"
	"headrace/api/dashboard/recent"
	"headrace/api/guard"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/job"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is all that the pages ask.
type world struct {
	table   *inference.Table
	state   inference.RouteState
	ready   error
	records map[job.ID]*job.Record
	lanes   map[job.Priority]job.Lane
	body    []byte
	paused  bool
	asked   job.Filter
	done    []string
	more    bool
}

func (w *world) Table() *inference.Table                            { return w.table }
func (w *world) State(string) inference.RouteState                  { return w.state }
func (w *world) Ready() error                                       { return w.ready }
func (w *world) Queue(string) map[job.Priority]job.Lane             { return w.lanes }
func (w *world) Paused(string) bool                                 { return w.paused }
func (w *world) Input(context.Context, *job.Record) ([]byte, error) { return w.body, nil }

func (w *world) Place(context.Context, *job.Record) (job.Place, bool) {
	return job.Place{Ahead: 7, Wait: time.Minute}, true
}

func (w *world) Result(context.Context, *job.Record) (*inference.Result, error) {
	return &inference.Result{Items: [][]byte{w.body}}, nil
}

func (w *world) Pause(_ context.Context, route string, paused bool) error {
	w.paused = paused
	w.done = append(w.done, "pause "+route)
	return nil
}

func (w *world) Get(_ context.Context, id job.ID) (*job.Record, error) {
	if rec := w.records[id]; rec != nil {
		return rec, nil
	}
	return nil, fault.New(fault.NotFound, "there is no job %q", string(id))
}

func (w *world) Cancel(ctx context.Context, id job.ID) (*job.Record, error) {
	w.done = append(w.done, "cancel "+string(id))
	return w.Get(ctx, id)
}

func (w *world) Retry(ctx context.Context, id job.ID) (*job.Record, error) {
	w.done = append(w.done, "retry "+string(id))
	return w.Get(ctx, id)
}

func (w *world) Erase(_ context.Context, id job.ID) error {
	w.done = append(w.done, "erase "+string(id))
	return nil
}

func (w *world) Page(_ context.Context, f job.Filter) (ids []job.ID, more bool, err error) {
	w.asked = f
	for id := range w.records {
		ids = append(ids, id)
	}
	return ids, w.more, nil
}

// newWorld has one route, one replica and one failed job.
func newWorld() *world {
	now := time.Now()
	ended := now.Add(-time.Minute)
	rec := &job.Record{
		ID: "job-1", Run: 1, Route: "embeddings", Priority: job.Batch, State: job.Failed, Reason: "upstream_error", CreatedAt: now.Add(-2 * time.Minute),
		Deadline: now.Add(time.Hour), Total: time.Hour + 2*time.Minute, FinishedAt: &ended, Input: &job.Body{Bytes: 4}, Retry: job.Retry{MaxAttempts: 4},
		Error: &job.Problem{Code: "upstream_error", Message: "the model said no"},
		Tries: job.Tries{Attempt: 1, Attempts: []job.Attempt{{N: 1, Run: 1, Worker: "w1", StartedAt: now.Add(-90 * time.Second), EndedAt: &ended, Outcome: "failed", Error: &job.Problem{Code: "upstream_error", Message: "the model said no"}}}},
	}
	pays := true
	return &world{
		table: inference.NewTable(&inference.Route{Name: "embeddings", Type: inference.Embeddings, Servers: []string{"http://user:secret@127.0.0.1:9020/x?key=secret"}}),
		state: inference.RouteState{
			Workers: 1, Slots: 2, Replicas: []inference.Replica{{URL: "http://user:secret@127.0.0.1:9020/x?key=secret", State: "up"}},
			Batching: []inference.Batching{{Mode: inference.BatchOn, Stage: "on", Size: 8, Pays: &pays, CallMS: 10, ItemMS: 1, Calls: 10, Requests: 100, Items: 100}},
		},
		records: map[job.ID]*job.Record{rec.ID: rec}, body: []byte(`{"a": 1}`),
	}
}

func newRing(t *testing.T, calls ...recent.Call) *recent.Ring {
	t.Helper()
	r, err := recent.New(100, func() recent.Gauges { return recent.Gauges{} })
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range calls {
		r.Add(c)
	}
	return r
}

func newServer(t *testing.T, w *world, ring *recent.Ring, g *guard.Guard) *dashboard.Server {
	t.Helper()
	s, err := dashboard.New(dashboard.Deps{Routes: w, Calls: ring, Jobs: w, Bodies: w, Queues: w, Finder: w, Guard: g, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func open() *guard.Guard { return guard.New("", true) }

// get asks for a page as a browser on this machine.
func get(t *testing.T, s http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:5000"+path, http.NoBody))
	return w
}

// post sends a form; site is what a browser says of where it comes from.
func post(t *testing.T, s http.Handler, path, site string, form url.Values) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:5000"+path, io.NopCloser(strings.NewReader(form.Encode())))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", site)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}
