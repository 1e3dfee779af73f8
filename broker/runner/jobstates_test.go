package runner_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headrace/broker/natsd"
	"headrace/broker/records"
	"headrace/internal/fault"
	"headrace/internal/job"
	"headrace/internal/lanetest"
	"headrace/internal/lease"
)

// failing fails each call of an item until it is told otherwise.
func failing(r *jobRig) (handle func(context.Context, lease.Claim), mend func()) {
	var mended atomic.Bool
	return func(ctx context.Context, c lease.Claim) {
		if mended.Load() {
			r.Echo(ctx, c)
			return
		}
		_ = c.Fail(ctx, fault.New(fault.UpstreamBadResponse, "nonsense")) // the record tells
	}, func() { mended.Store(true) }
}

// A retry that is asked for many times at once is one new run, also with an input that is stored apart.
func TestJobRetriedAtOnce(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	handle, mend := failing(r)
	counted, ran := counting(handle)
	r.Serve(2, counted, r.route)
	item := `"` + strings.Repeat("x", 200<<10) + `"`
	rec := r.until(r.accept(r.record(), item).ID, job.Failed)
	mend()
	var won, lost atomic.Int64
	var asking sync.WaitGroup
	for range 20 {
		asking.Go(func() {
			switch again, err := r.jobs.Retry(t.Context(), rec.ID); {
			case err == nil && again.Run == 2:
				won.Add(1)
			case fault.CodeOf(err) == fault.Conflict:
				lost.Add(1)
			default:
				t.Errorf("got %+v, %v", again, err)
			}
		})
	}
	asking.Wait()
	done := r.until(rec.ID, job.Succeeded)
	if won.Load() != 1 || lost.Load() != 19 || ran.Load() != 2 || done.Run != 2 || r.result(done) != item {
		t.Errorf("%d won, %d lost, %d ran: %+v", won.Load(), lost.Load(), ran.Load(), done.Attempts)
	}
	if done.Input.Series == rec.Input.Series {
		t.Error("the new run's input is kept no longer than the old one's")
	}
}

// Jobs are cancelled, retried and run at the same time, in all orders: each call is answered as the state allows, each
// job has one end, and no end is left but by a retry.
func TestJobCancelAnyTime(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	var mu sync.Mutex
	executions := make(map[string]int)
	r.work(4, func(ctx context.Context, c lease.Claim) {
		mu.Lock()
		executions[c.Request().ID]++
		mu.Unlock()
		select {
		case <-time.After(rand.N(10 * time.Millisecond)):
			r.echoAnyway(ctx, c)
		case <-ctx.Done():
			c.Drop()
		}
	})
	var asking sync.WaitGroup
	ends := make([]*job.Record, 150)
	for i := range ends {
		asking.Go(func() {
			id := r.accept(r.record(), fmt.Sprintf(`"job %d"`, i)).ID
			<-time.After(rand.N(60 * time.Millisecond))
			for range 2 {
				if rec, err := r.jobs.Cancel(t.Context(), id); err != nil || !rec.State.Terminal() && rec.State != job.Cancelling {
					t.Errorf("cancelling: %+v, %v", rec, err)
				}
			}
			if i%3 == 0 { // during the cancel, perhaps
				if _, err := r.jobs.Retry(t.Context(), id); err != nil && fault.CodeOf(err) != fault.Conflict {
					t.Errorf("retrying: %v", err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			rec, err := r.jobs.WaitEnd(ctx, id)
			if err != nil || rec.State != job.Succeeded && rec.State != job.Cancelled {
				t.Errorf("the job is %+v, %v", rec, err)
			}
			ends[i] = rec
		})
	}
	asking.Wait()
	states := make(map[job.State]int)
	for _, rec := range ends {
		if rec == nil {
			continue
		}
		states[rec.State]++
		now, err := r.jobs.Get(t.Context(), rec.ID)
		if err != nil || now.State != rec.State || now.Revision != rec.Revision {
			t.Errorf("after its end job %s is %s: %v", rec.ID, now.State, err)
		}
		mu.Lock()
		if n := executions[string(rec.ID)]; n > len(rec.Attempts) || rec.State == job.Succeeded && n == 0 {
			t.Errorf("job %s ran %d times in %d attempts", rec.ID, n, len(rec.Attempts))
		}
		mu.Unlock()
	}
	t.Logf("%v", states)
}

// echoAnyway answers a call that may have been cancelled.
func (r *jobRig) echoAnyway(ctx context.Context, c lease.Claim) {
	item := append([]byte(nil), c.Request().Items[0]...)
	if err := c.Answer(ctx, r.Result(item)); err != nil {
		r.TB.Errorf("answer: %v", err)
	}
}

// A cancel whose broadcast was lost is seen at the next heartbeat.
func TestUnheardCancelIsSeenAtTheHeartbeat(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	handle, claimed, _ := lanetest.Hold(r.Rig)
	r.work(1, handle)
	rec := r.accept(r.record(), `"x"`)
	lanetest.Await(t, claimed, "claim")
	r.must(r.stored().Change(t.Context(), rec.ID, func(r *job.Record, now time.Time) error {
		r.Cancel(now)
		return nil
	}))
	r.until(rec.ID, job.Cancelled)
}

// The time in which jobs must have started ends while workers begin with them: each has expired or runs, never both.
func TestJobExpiresAtTheClaim(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	var mu sync.Mutex
	ran := make(map[string]bool)
	var ids []job.ID
	limit := time.Now().Add(1500 * time.Millisecond)
	for range 80 {
		rec := r.record()
		rec.QueueTime = time.Until(limit)
		ids = append(ids, r.accept(rec, `"x"`).ID)
	}
	<-time.After(time.Until(limit) - 500*time.Millisecond)
	r.work(2, func(ctx context.Context, c lease.Claim) {
		mu.Lock()
		ran[c.Request().ID] = true
		mu.Unlock()
		<-time.After(10 * time.Millisecond)
		r.Echo(ctx, c)
	})
	expired := 0
	for _, id := range ids {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		rec, err := r.jobs.WaitEnd(ctx, id)
		cancel()
		mu.Lock()
		if err != nil || (rec.State == job.Succeeded) != ran[string(id)] || rec.State != job.Succeeded && rec.State != job.Expired {
			t.Errorf("job %s is %s, and ran: %t: %v", id, rec.State, ran[string(id)], err)
		}
		mu.Unlock()
		if rec.State == job.Expired {
			expired++
		}
	}
	t.Logf("%d of %d have expired", expired, len(ids))
}

// A job that is erased while it runs is cancelled, then erased.
func TestJobErasedWhileItRuns(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	handle, claimed, _ := lanetest.Hold(r.Rig)
	r.work(1, handle)
	rec := r.accept(r.record(), `"`+strings.Repeat("x", 200<<10)+`"`)
	lanetest.Await(t, claimed, "claim")
	r.must(r.jobs.Erase(t.Context(), rec.ID))
	left, err := r.jobs.Get(t.Context(), rec.ID)
	if err != nil || left.State != job.Erased || left.Input != nil {
		t.Errorf("left: %+v, %v", left, err)
	}
	r.must(r.jobs.Erase(t.Context(), rec.ID))
}

// What is stored of a job is lost or damaged: the job fails and says so, a result answers that it is gone, and no caller
// gets wrong bytes.
func TestJobBodiesDamaged(t *testing.T) {
	t.Parallel()
	big := `"` + strings.Repeat("x", 200<<10) + `"`
	for _, how := range []string{"lost", "damaged"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			r := newJobRig(t, lanetest.InProcess)
			store := r.stored()
			spoil := func(rec *job.Record, b *job.Body, output bool) {
				if how == "lost" {
					r.must(store.DropBodies(t.Context(), rec.ID))
					return
				}
				r.must(store.PutPart(t.Context(), rec.ID, b, output, 0, []byte(strings.Repeat("y", int(b.Bytes)))))
			}
			waiting := r.accept(r.record(), big)
			spoil(waiting, waiting.Input, false)
			handle, ran := counting(r.Echo)
			r.Serve(1, handle, r.route)
			rec := r.until(waiting.ID, job.Failed)
			if rec.Error.Code != string(fault.Gone) || rec.Attempt != 1 || ran.Load() != 0 {
				t.Errorf("got %+v, %d ran", rec, ran.Load())
			}
			if _, err := r.jobs.Retry(t.Context(), rec.ID); fault.CodeOf(err) != fault.Gone {
				t.Errorf("retrying: %v", err)
			}
			done := r.until(r.accept(r.record(), big).ID, job.Succeeded)
			spoil(done, done.Result, true)
			if _, err := r.jobs.Result(t.Context(), done); fault.CodeOf(err) != fault.Gone {
				t.Errorf("the result: %v", err)
			}
		})
	}
}

// Two sweepers, of which one ends just before jobs are due: each starts once, and not much later.
func TestJobSweeperEnds(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	stop := r.sweep()
	handle, ran := counting(r.Echo)
	r.Serve(4, handle, r.route)
	r.until(r.accept(r.record(), `"first"`).ID, job.Succeeded) // the streams are there
	at := time.Now().Add(1500 * time.Millisecond)
	const n = 300
	ids := make([]job.ID, n)
	var accepting sync.WaitGroup
	for i := range ids {
		accepting.Go(func() {
			rec := r.record()
			rec.RunAt = &at
			ids[i] = r.accept(rec, `"x"`).ID
		})
	}
	accepting.Wait()
	<-time.After(time.Until(at) - 5*time.Millisecond)
	stop()
	due := time.Now() // later than it should be on a machine that is slow to accept them
	for _, id := range ids {
		rec := r.until(id, job.Succeeded)
		// On a busy machine under the race detector 300 jobs take a while; without the other sweeper they would never start.
		if rec.StartedAt.Before(at) || rec.StartedAt.Sub(due) > time.Minute || rec.Attempt != 1 {
			t.Errorf("it started %s late, in attempt %d", rec.StartedAt.Sub(due), rec.Attempt)
		}
	}
	if ran.Load() != n+1 {
		t.Errorf("%d jobs ran %d times", n+1, ran.Load())
	}
}

// Urgent jobs that come behind a flood of others are run first, and the flood is not forgotten.
func TestUrgentJobsOvertakeAFlood(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	var mu sync.Mutex
	var order []string
	first, proceed := make(chan struct{}, 1), make(chan struct{})
	r.Serve(1, func(ctx context.Context, c lease.Claim) {
		mu.Lock()
		order = append(order, string(c.Request().Items[0]))
		n := len(order)
		mu.Unlock()
		if n == 1 {
			first <- struct{}{}
			<-proceed
		}
		r.Echo(ctx, c)
	}, r.route)
	var last *job.Record
	for range 60 {
		rec := r.record()
		rec.Priority = job.Batch
		last = r.accept(rec, `"batch"`)
	}
	lanetest.Await(t, first, "first job")
	const urgent = 20
	for range urgent {
		rec := r.record()
		rec.Priority = job.Interactive
		r.accept(rec, `"urgent"`)
	}
	close(proceed)
	r.until(last.ID, job.Succeeded)
	mu.Lock()
	defer mu.Unlock()
	seen, between := 0, 0
	for _, item := range order {
		if item == `"urgent"` {
			seen++
		} else if seen > 0 && seen < urgent {
			between++
		}
	}
	t.Logf("%d batch jobs ran between the urgent ones", between)
	if seen != urgent || between > urgent/2 || between == 0 {
		t.Errorf("%d urgent jobs ran, %d others between them", seen, between)
	}
}

// Workers are replaced one after the other while jobs come in: none fails, none is interrupted, none runs twice.
func TestJobsRollingWorkers(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.OverTCP)
	handle, ran := counting(r.Echo)
	worker := func() (stop func()) {
		_, stop = r.work(2, handle)
		return stop
	}
	old := worker()
	over := make(chan struct{})
	var accepted sync.Map
	var ended atomic.Int64
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				id := r.accept(r.record(), `"x"`).ID
				accepted.Store(id, true)
				rec := r.until(id, job.Succeeded)
				if rec.Attempt != 1 || rec.Interruptions != 0 {
					t.Errorf("got %+v", rec)
				}
				ended.Add(1)
			}
		})
	}
	for range 3 {
		before := ended.Load()
		next := worker()
		if !lanetest.Eventually(func() bool { return ended.Load() > before+20 }) {
			t.Error("nothing ends any more")
		}
		old()
		old = next
	}
	close(over)
	clients.Wait()
	if ran.Load() != ended.Load() {
		t.Errorf("%d jobs ran %d times", ended.Load(), ran.Load())
	}
}

// The streams fill up: jobs are refused in time, none that is refused is left behind, and everything that was accepted
// ends. When there is room again jobs are accepted.
func TestFullStoreRefusesJobsAndEndsAcceptedOnes(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string]records.Limits{
		"records": {MaxStore: 1 << 30, MaxRetained: 400}, "bytes": {MaxStore: 4 << 20}, "places": {MaxStore: 1 << 20, MaxRetained: 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &jobRig{Rig: lanetest.BareRig(t), route: lanetest.TestRoute("full")}
			r.ServeBroker(natsd.Config{MaxMemory: 64 << 20})
			r.KeepWithin(limits)
			r.Front = r.NewFront()
			r.sweep()
			r.jobs = r.newJobs()
			var accepted []job.ID
			var refused []*job.Record
			for len(refused) < 20 {
				rec := r.record()
				rec.ResultTTL = 2 * time.Second
				_, _, err := r.jobs.Accept(t.Context(), rec, []byte(`"x"`), lanetest.Request(r.route, `"x"`))
				if err == nil {
					accepted = append(accepted, rec.ID)
					continue
				}
				if f := fault.From(err); f.Code != fault.QueueFull || f.RetryAfter <= 0 {
					t.Fatal(err)
				}
				refused = append(refused, rec)
			}
			if len(accepted) < 20 || len(accepted) > 3000 {
				t.Errorf("%d were accepted", len(accepted))
			}
			for _, rec := range refused {
				if left, err := r.jobs.Get(t.Context(), rec.ID); fault.CodeOf(err) != fault.NotFound && (err != nil || left.State != job.Erased) {
					t.Errorf("a refused job is left behind: %+v, %v", left, err)
				}
			}
			r.Serve(4, r.Echo, r.route)
			for _, id := range accepted {
				r.until(id, job.Succeeded)
			}
			t.Logf("%d were accepted", len(accepted))
		})
	}
}

// What a newer version has written: members that it has added stay, and a record that only its equals understand is
// left to them.
func TestJobNewerRecords(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	rec, store := r.prepare(`"x"`)
	text := func(schema int) string {
		return fmt.Sprintf(`{"id":%q,"run":1,"route":%q,"provider":%q,"type":%q,"priority":"standard","state":"queued","deadline":"2990-01-01T00:00:00Z",`+
			`"result_ttl":3600000000000,"retry":{"max_attempts":1},"input":{"bytes":%d,"sha256":%q},"schema":%d,"edition":%d,"colour":{"of":"blue"}}`,
			rec.ID, rec.Route, rec.Provider, rec.Type, rec.Input.Bytes, rec.Input.SHA256, schema, job.Edition+1) + "\n" + string(rec.Input.Inline)
	}
	r.must(store.PutText(t.Context(), rec, text(job.Schema+1)))
	r.must(store.Enqueue(t.Context(), rec))
	handle, ran := counting(r.Echo)
	r.Serve(1, handle, r.route)
	r.until(r.accept(r.record(), `"behind it"`).ID, job.Succeeded)
	if _, err := r.jobs.Get(t.Context(), rec.ID); err == nil || ran.Load() != 1 {
		t.Errorf("a record of a newer schema is read, or was run: %v, %d ran", err, ran.Load())
	}

	rec, store = r.prepare(`"y"`)
	r.must(store.PutText(t.Context(), rec, text(job.Schema)))
	r.must(store.Enqueue(t.Context(), rec))
	done := r.until(rec.ID, job.Succeeded)
	if string(done.Unknown["colour"]) != `{"of":"blue"}` || done.Edition != job.Edition+1 || len(done.Unknown) != 1 {
		t.Errorf("the newer version's members became %s, edition %d", done.Unknown, done.Edition)
	}
}

// A disk whose syncs take longer than anybody waits: accepting is refused in bounded time with an error that may be
// repeated, callers do not pile up, and when the disk is itself again everything goes on.
func TestSlowDiskRefusesInBoundedTime(t *testing.T) {
	t.Parallel()
	if !natsd.SyncOnRequest {
		t.Skip("here the NATS server syncs by itself, and cannot be held up")
	}
	r := &jobRig{Rig: lanetest.BareRig(t), route: lanetest.TestRoute("slow-disk")}
	var slow atomic.Bool
	mended := make(chan struct{})
	r.Flush = func(f *os.File) error {
		if slow.Load() {
			<-mended
		}
		return f.Sync()
	}
	release := sync.OnceFunc(func() { close(mended) })
	r.ServeBroker(natsd.Config{MaxMemory: 64 << 20, Durability: natsd.Power})
	t.Cleanup(release) // before the server ends
	r.Keep()
	r.Front = r.NewFront()
	r.sweep()
	r.jobs = r.newJobs()
	first := r.accept(r.record(), `"before"`)
	slow.Store(true)
	began := time.Now()
	recs := make([]*job.Record, 50)
	var asking sync.WaitGroup
	for i := range recs {
		asking.Go(func() {
			recs[i] = r.record()
			_, _, err := r.jobs.Accept(t.Context(), recs[i], []byte(`"x"`), lanetest.Request(r.route, `"x"`))
			if f := fault.From(err); f == nil || f.Code != fault.NoWorkers || f.RetryAfter <= 0 {
				t.Errorf("a job on a disk that does not answer: %v", err)
			}
		})
	}
	asking.Wait()
	if took := time.Since(began); took > 4*records.StorePatience {
		t.Errorf("the refusals took %s", took)
	}
	slow.Store(false)
	release()
	r.Serve(2, r.Echo, r.route)
	r.until(first.ID, job.Succeeded)
	for _, rec := range recs { // asking again gets the same job, whether it was stored or not
		if !lanetest.Eventually(func() bool {
			_, _, err := r.jobs.Accept(t.Context(), copyOf(rec), []byte(`"x"`), lanetest.Request(r.route, `"x"`))
			return err == nil
		}) {
			t.Fatalf("job %s is not accepted any more", rec.ID)
		}
		if done := r.until(rec.ID, job.Succeeded); done.Attempt != 1 {
			t.Errorf("got %+v", done)
		}
	}
}
