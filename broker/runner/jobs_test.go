package runner_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headrace/broker/jobs"
	"headrace/broker/records"
	"headrace/broker/sweeper"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/job"
	"headrace/internal/lanetest"
	"headrace/internal/lease"
)

// jobRig is a rig with what jobs need.
type jobRig struct {
	*lanetest.Rig

	jobs       *jobs.Desk
	route      *inference.Route
	maxWaiting int
}

func newJobRig(tb testing.TB, f lanetest.Form) *jobRig {
	tb.Helper()
	r := &jobRig{Rig: lanetest.NewRig(tb, f), route: lanetest.TestRoute("jobs")}
	r.sweep()
	r.jobs = r.newJobs()
	return r
}

// sweep runs a sweeper.
func (r *jobRig) sweep() (stop func()) {
	r.TB.Helper()
	sweeper, err := sweeper.New(r.Dial, r.Shared.Syncs, r.Disk(), r.Log)
	if err != nil {
		r.TB.Fatal(err)
	}
	return lanetest.Background(r.TB, sweeper.Run)
}

func (r *jobRig) newJobs() *jobs.Desk {
	r.TB.Helper()
	jobs, err := jobs.New(jobs.Config{Dial: r.Dial, Shared: r.Shared, MaxWaiting: r.maxWaiting, Log: r.Log})
	if err != nil {
		r.TB.Fatal(err)
	}
	lanetest.Background(r.TB, jobs.Run)
	return jobs
}

// record is a job's record as a front end makes it.
func (r *jobRig) record() *job.Record {
	now := time.Now()
	return &job.Record{
		ID: job.NewID(now), Route: r.route.Name, Provider: r.route.Provider, Type: r.route.Type, Priority: job.Standard,
		Total: time.Hour, ResultTTL: time.Hour, Retry: job.Retry{MaxAttempts: 3}, Store: job.StoreBoth,
		Fingerprint: "f", Durability: "process",
	}
}

// accept fails the test unless the job is accepted. A busy machine may need longer to make the streams than a caller is
// kept waiting: it asks again then, for the same job.
func (r *jobRig) accept(rec *job.Record, item string) *job.Record {
	r.TB.Helper()
	for try := range 5 {
		again := *rec
		got, fresh, err := r.jobs.Accept(r.TB.Context(), &again, []byte(item), lanetest.Request(r.route, item))
		if err == nil && (fresh || try > 0) {
			*rec = *got
			return rec
		}
		if fault.CodeOf(err) != fault.NoWorkers {
			r.TB.Fatalf("accepting: fresh %t, %v", fresh, err)
		}
		r.TB.Logf("accepting: %v", err)
	}
	r.TB.Fatal("accepting: not in five tries")
	return nil
}

// until waits for a state. While the broker is away it asks again, as callers do.
func (r *jobRig) until(id job.ID, state job.State) *job.Record {
	r.TB.Helper()
	ctx, cancel := context.WithTimeout(r.TB.Context(), 20*time.Second)
	defer cancel()
	rec, err := r.jobs.Wait(ctx, id, func(rec *job.Record) bool { return rec.State == state })
	for fault.CodeOf(err) == fault.NoWorkers && ctx.Err() == nil {
		r.TB.Logf("waiting for job %s: %v", id, err)
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
		rec, err = r.jobs.Wait(ctx, id, func(rec *job.Record) bool { return rec.State == state })
	}
	if err != nil {
		r.TB.Fatal(err)
	}
	if rec.State != state {
		r.TB.Fatalf("the job is %s (%s, %v), want %s", rec.State, rec.Reason, rec.Error, state)
	}
	return rec
}

func (r *jobRig) result(rec *job.Record) string {
	r.TB.Helper()
	res, err := r.jobs.Result(r.TB.Context(), rec)
	if err != nil {
		r.TB.Fatal(err)
	}
	return string(bytes.Join(res.Items, []byte(" ")))
}

// A job runs once and its result can be read from every front end, small and large.
func TestJobRunsOnceAndAllReadItsResult(t *testing.T) {
	t.Parallel()
	for _, f := range []lanetest.Form{lanetest.InProcess, lanetest.OverTCP, lanetest.Locally} {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			r := newJobRig(t, f)
			r.Serve(2, r.Echo, r.route)
			for _, size := range []int{1, 100 << 10, 3 << 20} {
				item := `"` + strings.Repeat("x", size) + `"`
				rec := r.accept(r.record(), item)
				rec = r.until(rec.ID, job.Succeeded)
				if got := r.result(rec); got != item {
					t.Errorf("%d bytes came back as %d", len(item), len(got))
				}
				if rec.Attempt != 1 || rec.Interruptions != 0 || len(rec.Attempts) != 1 || rec.Attempts[0].Outcome != "succeeded" {
					t.Errorf("attempts: %+v", rec)
				}
				other := r.newJobs()
				body, err := other.Get(t.Context(), rec.ID)
				if err != nil {
					t.Fatal(err)
				}
				if in, err := other.Input(t.Context(), body); err != nil || string(in) != item {
					t.Errorf("the input came back as %d bytes, %v", len(in), err)
				}
			}
		})
	}
}

// Without a worker a job waits; it runs when one comes.
func TestJobWaitsForWorker(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	rec := r.accept(r.record(), `"x"`)
	if rec.State != job.Queued {
		t.Errorf("the job is %s", rec.State)
	}
	r.Serve(1, r.Echo, r.route)
	r.until(rec.ID, job.Succeeded)
}

// The same id and body is the same job, however many ask at once; another body is refused.
func TestJobAcceptedOnce(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	var ran atomic.Int64
	r.Serve(4, func(ctx context.Context, c lease.Claim) {
		ran.Add(1)
		r.Echo(ctx, c)
	}, r.route)
	id := job.NewID(time.Now())
	big := `"` + strings.Repeat("y", 200<<10) + `"` // each brings its own parts
	var fresh atomic.Int64
	var asking sync.WaitGroup
	for range 50 {
		asking.Go(func() {
			rec := r.record()
			rec.ID = id
			_, first, err := r.jobs.Accept(t.Context(), rec, []byte(big), lanetest.Request(r.route, big))
			if err != nil {
				t.Error(err)
			}
			if first {
				fresh.Add(1)
			}
		})
	}
	asking.Wait()
	rec := r.until(id, job.Succeeded)
	if fresh.Load() != 1 || ran.Load() != 1 || r.result(rec) != big {
		t.Errorf("%d were fresh, %d ran", fresh.Load(), ran.Load())
	}
	other := r.record()
	other.ID, other.Fingerprint = id, "another"
	if _, _, err := r.jobs.Accept(t.Context(), other, []byte(`"z"`), lanetest.Request(r.route, `"z"`)); fault.CodeOf(err) != fault.KeyReused {
		t.Errorf("another body under the same id: %v", err)
	}
}

// A failed attempt is repeated when that can help, and not otherwise.
func TestFailedAttemptIsRepeatedWhenThatHelps(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	var made atomic.Int64
	r.Serve(1, func(ctx context.Context, c lease.Claim) {
		if made.Add(1) < 3 {
			_ = c.Fail(ctx, fault.New(fault.UpstreamUnavailable, "refused")) // the record tells
			return
		}
		r.Echo(ctx, c)
	}, r.route)
	rec := r.until(r.accept(r.record(), `"x"`).ID, job.Succeeded)
	if rec.Attempt != 3 || len(rec.Attempts) != 3 || rec.Attempts[0].Error.Code != string(fault.UpstreamUnavailable) {
		t.Errorf("attempts: %+v", rec.Attempts)
	}

	once := newJobRig(t, lanetest.InProcess)
	once.Serve(1, func(ctx context.Context, c lease.Claim) {
		_ = c.Fail(ctx, fault.New(fault.UpstreamBadResponse, "wrong shape")) // the record tells
	}, once.route)
	rec = once.until(once.accept(once.record(), `"x"`).ID, job.Failed)
	if rec.Attempt != 1 || rec.Reason != string(fault.UpstreamBadResponse) || rec.Error == nil {
		t.Errorf("got %+v", rec)
	}
	again, err := once.jobs.Retry(t.Context(), rec.ID)
	if err != nil || again.Run != 2 {
		t.Fatalf("retrying: %+v, %v", again, err)
	}
	if rec = once.until(rec.ID, job.Failed); rec.Run != 2 || len(rec.Attempts) != 2 {
		t.Errorf("got %+v", rec)
	}
}

// Cancelling ends what waits at once and aborts what runs.
func TestJobCancel(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	waiting := r.accept(r.record(), `"x"`)
	if rec, err := r.jobs.Cancel(t.Context(), waiting.ID); err != nil || rec.State != job.Cancelled {
		t.Fatalf("got %+v, %v", rec, err)
	}
	started := make(chan struct{})
	r.Serve(1, func(ctx context.Context, c lease.Claim) {
		close(started) // a second job would panic here
		<-ctx.Done()
		if !errors.Is(context.Cause(ctx), lease.ErrGone) {
			t.Errorf("the call ended with %v", context.Cause(ctx))
		}
		c.Drop()
	}, r.route)
	running := r.accept(r.record(), `"y"`)
	<-started
	if rec, err := r.jobs.Cancel(t.Context(), running.ID); err != nil || rec.State != job.Cancelling {
		t.Fatalf("got %+v, %v", rec, err)
	}
	r.until(running.ID, job.Cancelled)
	if rec, err := r.jobs.Cancel(t.Context(), running.ID); err != nil || rec.State != job.Cancelled {
		t.Errorf("cancelling again: %+v, %v", rec, err)
	}
}

// A worker that stops hands its job back; another one runs it, and no attempt is lost.
func TestJobHandedBack(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	started, taken := make(chan struct{}), make(chan struct{})
	r.Serve(1, func(ctx context.Context, c lease.Claim) {
		close(started)
		_ = c.Fail(ctx, fault.New(fault.ShuttingDown, "stopping")) // the record tells
		select {
		case <-taken: // by the other worker, not by this slot
		case <-t.Context().Done():
		}
	}, r.route)
	rec := r.accept(r.record(), `"x"`)
	lanetest.Await(t, started, "first attempt")
	r.Serve(1, func(ctx context.Context, c lease.Claim) {
		close(taken)
		r.Echo(ctx, c)
	}, r.route)
	rec = r.until(rec.ID, job.Succeeded)
	if rec.Attempt != 1 || rec.Interruptions != 0 || len(rec.Attempts) != 2 || rec.Attempts[0].Outcome != "returned" {
		t.Errorf("got %+v", rec)
	}
}

// A scheduled job starts at its time, and one whose time to start is over expires.
func TestScheduledJobStartsAtItsTimeOrExpires(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	later := r.record()
	at := time.Now().Add(1200 * time.Millisecond)
	later.RunAt = &at
	if rec := r.accept(later, `"x"`); rec.State != job.Scheduled {
		t.Errorf("the job is %s", rec.State)
	}
	hasty := r.record()
	hasty.QueueTime = 300 * time.Millisecond
	r.accept(hasty, `"y"`)
	rec := r.until(hasty.ID, job.Expired)
	if rec.Reason != job.ReasonQueueTimeout {
		t.Errorf("reason %q", rec.Reason)
	}
	r.Serve(1, r.Echo, r.route)
	rec = r.until(later.ID, job.Succeeded)
	if rec.StartedAt.Before(at) || rec.StartedAt.Sub(at) > 3*time.Second {
		t.Errorf("it started at %s, not at %s", rec.StartedAt, at)
	}
}

// Erasing leaves nothing but a tombstone.
func TestJobErased(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	r.Serve(1, r.Echo, r.route)
	rec := r.until(r.accept(r.record(), `"`+strings.Repeat("x", 200<<10)+`"`).ID, job.Succeeded)
	if err := r.jobs.Erase(t.Context(), rec.ID); err != nil {
		t.Fatal(err)
	}
	left, err := r.jobs.Get(t.Context(), rec.ID)
	if err != nil || left.State != job.Erased || left.Input != nil || left.Result != nil {
		t.Errorf("left: %+v, %v", left, err)
	}
	if _, err := r.jobs.Input(t.Context(), rec); !errors.Is(err, records.ErrNoBody) {
		t.Errorf("the input is still there: %v", err)
	}
	if _, err := r.jobs.Get(t.Context(), "job_unknown"); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("an unknown job: %v", err)
	}
}

// Many jobs of all priorities beside synchronous calls: all end, each runs once.
func TestJobsBesideCalls(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.Locally)
	var mu sync.Mutex
	ran := make(map[string]int)
	for range 2 {
		r.Serve(4, func(ctx context.Context, c lease.Claim) {
			mu.Lock()
			ran[string(c.Request().Items[0])]++
			mu.Unlock()
			r.Echo(ctx, c)
		}, r.route)
	}
	var asking sync.WaitGroup
	for i := range 300 {
		asking.Go(func() {
			if i%3 == 0 {
				res, err := r.Front.Call(t.Context(), r.route, lanetest.Request(r.route, fmt.Sprintf(`"call %d"`, i)))
				if err != nil {
					t.Errorf("call %d: %v", i, err)
				}
				res.Release()
				return
			}
			rec := r.record()
			rec.Priority = job.Priorities()[i%len(job.Priorities())]
			r.until(r.accept(rec, fmt.Sprintf(`"job %d"`, i)).ID, job.Succeeded)
		})
	}
	asking.Wait()
	for item, n := range ran {
		if n != 1 {
			t.Errorf("%s ran %d times", item, n)
		}
	}
	if len(ran) != 300 {
		t.Errorf("%d ran", len(ran))
	}
}

// No more jobs wait than may, and the limit gives way again.
func TestWaitingJobsAreLimited(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	r.maxWaiting = 20
	r.jobs = r.newJobs()
	var last *job.Record
	refused := false
	for range 200 {
		rec, _, err := r.jobs.Accept(t.Context(), r.record(), []byte(`"x"`), lanetest.Request(r.route, `"x"`))
		if err != nil {
			f := fault.From(err)
			if f.Code != fault.QueueFull || f.RetryAfter <= 0 {
				t.Fatal(err)
			}
			refused = true
			break
		}
		last = rec
	}
	if !refused {
		t.Error("200 jobs wait")
	}
	// Those that were let in while the sweeper counted may not have been counted.
	if !lanetest.Eventually(func() bool { n := r.jobs.Queue(r.route.Name)[job.Standard].Waiting; return n >= 20 && n < 40 }) {
		t.Errorf("the queue is told to hold %v", r.jobs.Queue(r.route.Name))
	}
	r.Serve(4, r.Echo, r.route)
	r.until(last.ID, job.Succeeded)
	if !lanetest.Eventually(func() bool {
		_, _, err := r.jobs.Accept(t.Context(), r.record(), []byte(`"x"`), lanetest.Request(r.route, `"x"`))
		return err == nil
	}) {
		t.Error("nothing is accepted any more")
	}
}
