package runner_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headrace/broker/calls"
	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/broker/runner"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/job"
	"headrace/internal/lanetest"
	"headrace/internal/lease"
)

// shortLease makes a lost worker cost a second instead of half a minute.
const shortLease = 900 * time.Millisecond

// workVia runs a worker of a process of its own that reaches the broker over dial and whose leases are short.
func (r *jobRig) workVia(dial link.Dial, n int, handle func(context.Context, lease.Claim)) (end *lanetest.Worker, stop func()) {
	r.TB.Helper()
	return r.workIn(dial, nil, records.Shared{}, n, handle)
}

func (r *jobRig) workIn(dial link.Dial, local *calls.Local, shared records.Shared, n int, handle func(context.Context, lease.Claim)) (end *lanetest.Worker, stop func()) {
	r.TB.Helper()
	end = r.newWorkerWith(dial, local, shared)
	end.Serve(map[string]int{r.route.Name: n})
	stopEnd := lanetest.Background(r.TB, end.Run)
	stopPool := lanetest.Background(r.TB, func(ctx context.Context) error {
		r.Lease(ctx, end.Intake([]*inference.Route{r.route}), n, handle)
		return nil
	})
	return end, func() {
		end.Serve(nil)
		end.Settle(r.TB.Context())
		stopPool()
		stopEnd()
	}
}

// work is workVia on the rig's own way.
func (r *jobRig) work(n int, handle func(context.Context, lease.Claim)) (end *lanetest.Worker, stop func()) {
	r.TB.Helper()
	return r.workIn(r.Dial, r.Local, r.Shared, n, handle)
}

// prepare gives a record that would be accepted now, with its input stored, and not written itself.
func (r *jobRig) prepare(item string) (*job.Record, JobStore) {
	r.TB.Helper()
	store, rec := r.stored(), r.record()
	if err := store.Prepare(r.TB.Context(), rec, []byte(item), lanetest.Request(r.route, item)); err != nil {
		r.TB.Fatal(err)
	}
	return rec, store
}

func (r *jobRig) must(err error) {
	r.TB.Helper()
	if err != nil {
		r.TB.Fatal(err)
	}
}

// counting counts what it lets through.
func counting(handle func(context.Context, lease.Claim)) (counted func(context.Context, lease.Claim), ran *atomic.Int64) {
	ran = new(atomic.Int64)
	return func(ctx context.Context, c lease.Claim) {
		ran.Add(1)
		handle(ctx, c)
	}, ran
}

// A front end that dies between claiming a key and writing the record: the next request with the key gets the same job.
func TestKeyWithoutRecordMakesItsJob(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	handle, ran := counting(r.Echo)
	r.Serve(1, handle, r.route)
	first, again := r.record(), r.record()
	if id, _, err := r.jobs.Key(t.Context(), "scope", "key", first.ID, "f", time.Hour); err != nil || id != first.ID {
		t.Fatalf("the key belongs to %s, %v", id, err)
	}
	id, _, err := r.newJobs().Key(t.Context(), "scope", "key", again.ID, "f", time.Hour)
	if err != nil || id != first.ID {
		t.Fatalf("the key belongs to %s, %v", id, err)
	}
	again.ID = id
	r.until(r.accept(again, `"x"`).ID, job.Succeeded)
	if ran.Load() != 1 {
		t.Errorf("it ran %d times", ran.Load())
	}
}

// A front end that dies between writing the record and queueing: the sweeper queues the job, and it runs once.
func TestJobWithoutPlaceIsQueued(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	handle, ran := counting(r.Echo)
	r.Serve(1, handle, r.route)
	rec, store := r.prepare(`"x"`)
	r.must(store.Put(t.Context(), rec))
	began := time.Now()
	rec = r.until(rec.ID, job.Succeeded)
	if took := time.Since(began); took > 18*time.Second || ran.Load() != 1 || rec.Attempt != 1 {
		t.Errorf("it took %s, and ran %d times", took, ran.Load())
	}
}

// A place in the queue that is asked for again, because the first answer was lost, is one place.
func TestJobHasOnePlaceInItsQueue(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	rec := r.accept(r.record(), `"x"`)
	store := r.stored()
	for range 3 {
		r.must(store.Enqueue(t.Context(), rec))
	}
	if again, fresh, err := r.jobs.Accept(t.Context(), copyOf(rec), []byte(`"x"`), lanetest.Request(r.route, `"x"`)); err != nil || fresh || again.ID != rec.ID {
		t.Errorf("the caller who asks again gets %+v, fresh %t, %v", again, fresh, err)
	}
	handle, ran := counting(r.Echo)
	r.Serve(2, handle, r.route)
	r.until(rec.ID, job.Succeeded)
	r.until(r.accept(r.record(), `"behind it"`).ID, job.Succeeded)
	if ran.Load() != 2 {
		t.Errorf("two jobs ran %d times", ran.Load())
	}
}

// copyOf is a record as a caller would make it who asks for the same job.
func copyOf(rec *job.Record) *job.Record {
	return &job.Record{
		ID: rec.ID, Route: rec.Route, Provider: rec.Provider, Type: rec.Type, Priority: rec.Priority, Total: rec.Total,
		ResultTTL: rec.ResultTTL, Retry: rec.Retry, Store: rec.Store, Fingerprint: rec.Fingerprint, Durability: rec.Durability,
	}
}

// A worker that dies after it has written the end and before it has given the lease back: the message comes again and
// is dropped.
func TestEndedJobIsDroppedFromItsQueue(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	handle, ran := counting(r.Echo)
	r.work(1, handle)
	rec := r.until(r.accept(r.record(), `"x"`).ID, job.Succeeded)
	store := r.stored()
	r.must(store.Enqueue(t.Context(), rec))
	if !lanetest.Eventually(func() bool { queued, err := store.Queued(t.Context(), rec); return err == nil && !queued }) {
		t.Error("the message of an ended job stays in the queue")
	}
	if ran.Load() != 1 {
		t.Errorf("it ran %d times", ran.Load())
	}
}

// startedBy writes into a job's record that worker runs it, and queues it, as if the worker had died since.
func (r *jobRig) startedBy(worker, item string, edit func(*job.Record)) *job.Record {
	r.TB.Helper()
	rec, store := r.prepare(item)
	if edit != nil {
		edit(rec)
	}
	r.must(rec.Start(worker, time.Now().UTC()))
	r.must(store.Put(r.TB.Context(), rec))
	r.must(store.Enqueue(r.TB.Context(), rec))
	return rec
}

// A worker that dies while it runs a job, also after it has stored a large result and before the record: the job runs
// again, that is an interruption and no failed attempt, and one result is visible.
func TestJobOfALostWorkerRunsAgain(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	rec := r.startedBy("lost", `"x"`, nil)
	store := r.stored()
	r.must(store.PutPart(t.Context(), rec.ID, &job.Body{Series: "1-lost"}, true, 0, []byte("the lost worker's")))
	end, _ := r.work(1, r.Echo)
	rec = r.until(rec.ID, job.Succeeded)
	if rec.Attempt != 1 || rec.Interruptions != 1 || len(rec.Attempts) != 2 || rec.Attempts[0].Outcome != "interrupted" {
		t.Errorf("got %+v", rec)
	}
	if got := r.result(rec); got != `"x"` {
		t.Errorf("the result is %s", got)
	}
	if n := end.Jobs.Interruptions()[records.Count{Route: r.route.Name}]; n != 1 {
		t.Errorf("%d interruptions are counted", n)
	}
}

// A job whose worker lives and has given it up, because the broker was away for too long, was not interrupted.
func TestJobGivenUpByItsWorkerWasNotInterrupted(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	r.work(1, r.Echo)
	end, _ := r.NewWorkerEnd(1, lanetest.TestRoute("another"))
	rec := r.until(r.startedBy(end.ID(), `"x"`, nil).ID, job.Succeeded)
	if rec.Attempt != 1 || rec.Interruptions != 0 || len(rec.Attempts) != 2 || rec.Attempts[0].Outcome != "returned" {
		t.Errorf("got %+v", rec)
	}
}

// Workers that hold the same message at the same time: one of them runs the job.
func TestJobDeliveredTwice(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	handle, ran := counting(r.Echo)
	leased := func() (lease.Delivery, func()) {
		end := r.newWorkerWith(r.Dial, r.Local, r.Shared)
		end.Serve(map[string]int{r.route.Name: 1})
		stop := lanetest.Background(t, end.Run)
		in := end.Intake([]*inference.Route{r.route})
		got, err := in.Lease(t.Context(), 1)
		if err != nil || len(got) != 1 {
			t.Fatalf("leased %d, %v", len(got), err)
		}
		return got[0], func() {
			in.Close()
			stop()
		}
	}
	rec := r.accept(r.record(), `"x"`)
	first, stopFirst := leased()
	second, stopSecond := leased() // when the first one's lease has run out
	third, stopThird := leased()
	var claiming sync.WaitGroup
	for _, d := range []lease.Delivery{first, second, third} {
		claiming.Go(func() {
			ctx, claim, err := d.Claim(t.Context())
			if err == nil {
				handle(ctx, claim)
			} else if !errors.Is(err, lease.ErrGone) {
				t.Errorf("claim: %v", err)
			}
		})
	}
	claiming.Wait()
	rec = r.until(rec.ID, job.Succeeded)
	if ran.Load() != 1 || rec.Interruptions != 0 || len(rec.Attempts) != 1 {
		t.Errorf("it ran %d times: %+v", ran.Load(), rec.Attempts)
	}
	stopFirst()
	stopSecond()
	stopThird()
}

// newWorkerWith makes a worker with short leases.
func (r *jobRig) newWorkerWith(dial link.Dial, local *calls.Local, shared records.Shared) *lanetest.Worker {
	r.TB.Helper()
	w, err := lanetest.NewWorker(dial, local, runner.Config{
		Shared: shared, Bodies: r.Budget("bodies of worker " + time.Now().String()), Log: r.Log, AckWait: shortLease,
	})
	r.must(err)
	return w
}

// The message of a job that runs is lost, and put back: the worker that gets it leaves the job to the worker that has it.
func TestLostLeaseIsNoLostWorker(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	hold, claimed, proceed := lanetest.Hold(r.Rig)
	handle, ran := counting(hold)
	r.work(3, handle)
	r.work(3, handle)
	release := sync.OnceFunc(func() { close(proceed) })
	t.Cleanup(release)
	rec, store := r.accept(r.record(), `"x"`), r.stored()
	lanetest.Await(t, claimed, "claim")
	for range 3 {
		r.must(store.Unqueue(t.Context(), rec))
		r.must(store.Enqueue(t.Context(), rec))
		behind := r.accept(r.record(), `"behind it"`)
		if got := lanetest.Await(t, claimed, "claim"); got.Request().ID != string(behind.ID) {
			t.Errorf("%s was claimed, want %s", got.Request().ID, behind.ID)
		}
	}
	release()
	rec = r.until(rec.ID, job.Succeeded)
	if ran.Load() != 4 || rec.Interruptions != 0 || len(rec.Attempts) != 1 {
		t.Errorf("four jobs ran %d times: %+v", ran.Load(), rec.Attempts)
	}
}

// A worker that is cut off, or hangs, while the model server goes on: another one has the job when the lease is over,
// and of the two ends the second worker's counts. The isolated one aborts its call by itself.
func TestJobWorkerIsolated(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"cut", "stalled", "paused"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			r := newJobRig(t, lanetest.OverTCP)
			way := lanetest.NewSeverable(t, r.Server.Addr())
			began, ended, late := make(chan struct{}), make(chan error, 1), make(chan struct{})
			r.workVia(link.Dial{URL: way.URL()}, 1, func(ctx context.Context, c lease.Claim) {
				if string(c.Request().Items[0]) != `"x"` { // it is back
					r.Echo(ctx, c)
					return
				}
				close(began)
				if how == "paused" { // it notices nothing, and answers when it goes on
					<-late
					ended <- nil
					_ = c.Answer(ctx, r.Result([]byte(`"late"`))) // too late
					return
				}
				<-ctx.Done()
				ended <- context.Cause(ctx)
				c.Drop()
			})
			rec := r.accept(r.record(), `"x"`)
			lanetest.Await(t, began, "first attempt")
			if how == "cut" {
				way.Lose()
			} else {
				way.Stall()
			}
			r.work(1, r.Echo)
			rec = r.until(rec.ID, job.Succeeded)
			if rec.Attempt != 1 || rec.Interruptions != 1 || len(rec.Attempts) != 2 {
				t.Errorf("got %+v", rec)
			}
			way.Restore()
			close(late)
			if err := lanetest.Await(t, ended, "end of the first attempt"); how != "paused" && err == nil {
				t.Error("the isolated worker's attempt was not aborted")
			}
			r.until(r.accept(r.record(), `"behind it"`).ID, job.Succeeded)
			again, err := r.jobs.Get(t.Context(), rec.ID)
			if err != nil || again.Revision != rec.Revision || r.result(again) != `"x"` {
				t.Errorf("the record changed after its end: %+v, %v", again, err)
			}
		})
	}
}

// A job that was interrupted twice runs alone: no other job runs in its process at that time, none is lost by that, and
// after five more interruptions it has failed and does no more harm.
func TestInterruptedJobRunsAlone(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	suspect := r.startedBy("lost", `"suspect"`, func(rec *job.Record) { rec.Interruptions = 1 })
	var ids []job.ID
	for range 20 {
		ids = append(ids, r.accept(r.record(), `"x"`).ID)
	}
	var running, most atomic.Int64
	var together atomic.Bool
	r.work(6, func(ctx context.Context, c lease.Claim) {
		most.Store(max(most.Load(), running.Add(1)))
		if string(c.Request().Items[0]) == `"suspect"` {
			for range 20 { // long enough for others to come in, if they could
				together.Store(together.Load() || running.Load() > 1)
				<-time.After(10 * time.Millisecond)
			}
		}
		together.Store(together.Load() || string(c.Request().Items[0]) == `"suspect"` && running.Load() > 1)
		<-time.After(20 * time.Millisecond)
		running.Add(-1)
		r.Echo(ctx, c)
	})
	for _, id := range ids {
		r.until(id, job.Succeeded)
	}
	rec := r.until(suspect.ID, job.Succeeded)
	if rec.Interruptions != 2 || together.Load() {
		t.Errorf("it had company: %t; %d interruptions", together.Load(), rec.Interruptions)
	}
	if most.Load() < 2 {
		t.Error("no jobs ran side by side, so nothing was tested")
	}

	poison := r.startedBy("lost", `"poison"`, func(rec *job.Record) { rec.Interruptions, rec.AloneInterruptions = 6, 4 })
	rec = r.until(poison.ID, job.Failed)
	if rec.Reason != job.ReasonPoison || rec.Error == nil || rec.Interruptions != 7 {
		t.Errorf("got %+v", rec)
	}
	r.until(r.accept(r.record(), `"after it"`).ID, job.Succeeded)
}

// A message that names no job is dropped. A record that cannot be read delays no other job.
func TestUnreadableJobDelaysNoOther(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	store := r.stored()
	unknown, broken := r.record(), r.record()
	r.must(store.Enqueue(t.Context(), unknown))
	r.must(store.PutText(t.Context(), broken, "{not a record"))
	r.must(store.Enqueue(t.Context(), broken))
	handle, ran := counting(r.Echo)
	r.work(1, handle)
	r.until(r.accept(r.record(), `"x"`).ID, job.Succeeded)
	if !lanetest.Eventually(func() bool { queued, err := store.Queued(t.Context(), unknown); return err == nil && !queued }) {
		t.Error("a message without a job stays in the queue")
	}
	if queued, err := store.Queued(t.Context(), broken); err != nil || !queued {
		t.Errorf("a job whose record cannot be read was given up: %t, %v", queued, err)
	}
	if _, err := r.jobs.Get(t.Context(), broken.ID); err == nil || fault.CodeOf(err) == fault.NotFound {
		t.Errorf("its record is told to be %v", err)
	}
	if ran.Load() != 1 {
		t.Errorf("%d ran", ran.Load())
	}
}
