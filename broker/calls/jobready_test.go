package calls_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/fault"
	"headrace/internal/job"
	"headrace/internal/natstest"
)

// logBook is a log that can be read while others write it.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write is part of io.Writer.
func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// lines are those at level WARN and above.
func (b *logBook) lines() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Split(strings.TrimSpace(b.text.String()), "\n")
}

func (b *logBook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// TestNotReadyWithoutStorage joins a NATS server that has less storage than broker.max_store: the front end is not ready and
// says why, a caller hears it, the log has it once, and it mends itself when the server is given more.
func TestNotReadyWithoutStorage(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t, natstest.Options{MaxStore: 64 << 20})
	book := new(logBook)
	r := &jobRig{rig: bareRig(t), route: testRoute("small")}
	r.log, r.dial = book.logger(), link.Dial{URL: server.URL()}
	keeper := r.newKeeper(records.Limits{MaxStore: 1 << 30})
	background(t, keeper.Run)
	r.jobs = r.newJobs()
	const key = "broker.max_store"
	if !eventually(func() bool { return r.jobs.Ready() != nil && strings.Contains(r.jobs.Ready().Error(), key) }) {
		t.Fatalf("the front end is not ready because of %v, want a reason that names %s", r.jobs.Ready(), key)
	}
	if err := keeper.Ready(); err == nil || !strings.Contains(err.Error(), key) {
		t.Errorf("the broker role: %v, want a reason that names %s", err, key)
	}
	for range 5 {
		_, _, err := r.jobs.Accept(t.Context(), r.record(), []byte(`"x"`), request(r.route, `"x"`))
		if f := fault.From(err); f == nil || f.Code != fault.QueueFull || f.RetryAfter <= 0 || !strings.Contains(f.Message, key) {
			t.Fatalf("got %v, want queue_full that names %s and says when to come again", err, key)
		}
	}
	if _, err := r.jobs.Written(t.Context()); fault.CodeOf(err) != fault.QueueFull || !strings.Contains(err.Error(), key) {
		t.Errorf("a list: %v, want queue_full that names %s", err, key)
	}
	said := 0
	for _, line := range book.lines() {
		if strings.Contains(line, "level=ERROR") {
			said++
		}
	}
	if said > 2 { // one of each role, which have a log of their own elsewhere
		t.Errorf("the reason is logged %d times, want once for each role:\n%s", said, strings.Join(book.lines(), "\n"))
	}
	server.Restart(func(o *natstest.Options) { o.MaxStore = 2 << 30 })
	if !eventually(func() bool { return r.jobs.Ready() == nil && keeper.Ready() == nil }) {
		t.Fatalf("with enough storage: %v, %v", r.jobs.Ready(), keeper.Ready())
	}
	r.accept(r.record(), `"x"`)
}

// TestChangeGivesUp makes a change that is always overtaken: it ends soon, with an error that says what to do.
func TestChangeGivesUp(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, inProcess)
	rec := r.accept(r.record(), `"x"`)
	tries, err := r.stored().changeAlways(t.Context(), rec.ID)
	if f := fault.From(err); f == nil || f.Code != fault.NoWorkers || f.RetryAfter <= 0 || !strings.Contains(f.Message, "try again") {
		t.Errorf("got %v, want no_workers that says to try again", err)
	}
	if tries < 5 || tries > 50 {
		t.Errorf("it was tried %d times", tries)
	}
	if now, err := r.jobs.Get(t.Context(), rec.ID); err != nil || now.State != job.Queued {
		t.Errorf("the job afterwards: %v, %v", now, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the caller has gone")
	cancel(gone)
	if tries, err := r.stored().changeAlways(ctx, rec.ID); err == nil || tries > 1 {
		t.Errorf("for a caller who has gone: %d tries, %v", tries, err)
	}
}

// TestQueuesAreCountedAfterRestart has a new front end ask at once how many wait.
func TestQueuesAreCountedAfterRestart(t *testing.T) {
	t.Parallel()
	r := &jobRig{rig: newRig(t, inProcess), route: testRoute("counted")}
	stop := r.sweep()
	r.jobs = r.newJobs()
	const n = 50
	for range n {
		r.accept(r.record(), `"x"`)
	}
	stop()
	r.sweep()
	later := r.newJobs()
	if err := later.Counted(t.Context()); err != nil {
		t.Fatal(err)
	}
	if lane := later.Queue(r.route.Name)[job.Standard]; lane.Waiting != n {
		t.Errorf("%d jobs wait as far as is known, want %d", lane.Waiting, n)
	}
}
