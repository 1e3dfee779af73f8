package runner_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/broker/runner"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/job"
	"headrace/internal/lanetest"
	"headrace/internal/lease"
)

// longLease outlives a broker that is away for a moment.
const longLease = 12 * time.Second

// awayRig is a rig whose only worker reaches the broker over a way that can be lost. It has run a large job before, so it
// knows the streams of that job's shard.
type awayRig struct {
	*jobRig

	way   *lanetest.Severable
	end   *lanetest.Worker
	shard string
	used  atomic.Pointer[func(operation string)] // told of each use that the worker makes of the store
}

func newAwayRig(t *testing.T, lasts time.Duration) *awayRig {
	t.Helper()
	r := &awayRig{jobRig: newJobRig(t, lanetest.OverTCP)}
	r.way = lanetest.NewSeverable(t, r.Server.Addr())
	end, err := lanetest.NewWorker(link.Dial{URL: r.way.URL()}, nil, runner.Config{
		Bodies: r.Budget("bodies of the worker"), Log: r.Log, AckWait: lasts,
		Timer: func(operation string, _ time.Duration) {
			if used := r.used.Load(); used != nil {
				(*used)(operation)
			}
		},
	})
	r.must(err)
	r.end = end
	end.Serve(map[string]int{r.route.Name: 1})
	lanetest.Background(t, end.Run)
	stop, _ := r.begin(r.Echo)
	rec := r.until(r.accept(r.record(), large('w')).ID, job.Succeeded)
	r.shard = records.ShardOf(string(rec.ID))
	stop()
	return r
}

// begin runs what the worker leases.
func (r *awayRig) begin(handle func(context.Context, lease.Claim)) (stop func(), ran *atomic.Int64) {
	counted, ran := counting(handle)
	return lanetest.Background(r.TB, func(ctx context.Context) error {
		r.Lease(ctx, r.end.Intake([]*inference.Route{r.route}), 1, counted)
		return nil
	}), ran
}

// inShard is a record of a shard.
func (r *jobRig) inShard(shard string) *job.Record {
	r.TB.Helper()
	for {
		if rec := r.record(); records.ShardOf(string(rec.ID)) == shard {
			return rec
		}
	}
}

// large is an item that is stored apart from its record.
func large(letter byte) string { return `"` + strings.Repeat(string(letter), 200<<10) + `"` }

// lose takes the broker away from the worker, and returns when it knows.
func (r *awayRig) lose() {
	r.way.Lose()
	if !lanetest.Eventually(func() bool { return r.end.Ready() != nil }) {
		r.TB.Error("the worker does not notice that the broker is away")
	}
}

// unharmed checks that a job has its result and how its attempts ended.
func (r *awayRig) unharmed(rec *job.Record, item string, outcomes ...string) {
	r.TB.Helper()
	var got []string
	for _, a := range rec.Attempts {
		got = append(got, a.Outcome)
	}
	if rec.Attempt != 1 || rec.Interruptions != 0 || !slices.Equal(got, outcomes) {
		r.TB.Errorf("attempt %d with %d interruptions: %v, want %v", rec.Attempt, rec.Interruptions, got, outcomes)
	}
	if text := r.result(rec); text != item {
		r.TB.Errorf("%d bytes came back as %d", len(item), len(text))
	}
}

// The broker is lost after a job was started and before its large input is read: the worker reads it when the broker is
// back, and gives the job back when that takes longer than its lease. Neither is an attempt that failed.
func TestJobInputWhileTheBrokerIsAway(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		lease    time.Duration
		back     func(r *awayRig, operation string) bool // the broker comes back now
		outcomes []string
	}{
		{"for a moment", longLease, func(_ *awayRig, operation string) bool { return operation == "body" }, []string{"succeeded"}},
		{"for longer than the lease", shortLease, func(r *awayRig, _ string) bool {
			return len(r.end.Jobs.LeasesLost()) > 0
		}, []string{"returned", "succeeded"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newAwayRig(t, c.lease)
			var once, again sync.Once
			var lost atomic.Bool
			used := func(operation string) {
				if operation == "write" { // of the start
					once.Do(func() {
						r.lose()
						lost.Store(true)
					})
				}
				if lost.Load() && c.back(r, operation) {
					again.Do(r.way.Restore)
				}
			}
			r.used.Store(&used)
			_, ran := r.begin(r.Echo)
			r.unharmed(r.until(r.accept(r.inShard(r.shard), large('x')).ID, job.Succeeded), large('x'), c.outcomes...)
			if ran.Load() != 1 {
				t.Errorf("it ran %d times", ran.Load())
			}
		})
	}
}

// The broker is lost before a large result is stored, or after it was stored and before that is acknowledged: the worker
// stores it when the broker is back. The model server is not asked again.
func TestJobResultWhileTheBrokerIsAway(t *testing.T) {
	t.Parallel()
	for _, stored := range []bool{false, true} {
		t.Run(fmt.Sprintf("stored %t", stored), func(t *testing.T) {
			t.Parallel()
			r := newAwayRig(t, longLease)
			var again sync.Once
			answering := make(chan struct{}, 10)
			_, ran := r.begin(func(ctx context.Context, c lease.Claim) {
				if stored {
					r.way.Deafen()
				} else {
					r.lose()
					used := func(operation string) {
						if operation == "body" {
							again.Do(r.way.Restore)
						}
					}
					r.used.Store(&used)
				}
				answering <- struct{}{}
				if err := c.Answer(ctx, r.Result([]byte(large('y')))); err != nil {
					r.TB.Errorf("answer: %v", err)
				}
			})
			rec, store := r.inShard(r.shard), r.stored()
			before, err := store.Bodies(t.Context(), rec.ID)
			r.must(err)
			r.accept(rec, `"x"`)
			lanetest.Await(t, answering, "answer")
			if stored {
				if !lanetest.Eventually(func() bool {
					n, err := store.Bodies(t.Context(), rec.ID)
					return err == nil && n > before
				}) {
					t.Fatal("the result is not stored")
				}
				r.lose()
				r.way.Restore()
			}
			r.unharmed(r.until(rec.ID, job.Succeeded), large('y'), "succeeded")
			if ran.Load() != 1 {
				t.Errorf("it ran %d times", ran.Load())
			}
		})
	}
}

// A worker that stops while it cannot read a job's input hands the job back: no attempt has failed.
func TestJobInputUnreadAtTheEnd(t *testing.T) {
	t.Parallel()
	r := newAwayRig(t, longLease)
	ctx, stop := context.WithCancelCause(t.Context())
	var once sync.Once
	used := func(operation string) {
		switch operation {
		case "write": // of the start
			once.Do(r.lose)
		case "body":
			stop(fault.New(fault.ShuttingDown, "the worker stops"))
			r.way.Restore()
		}
	}
	r.used.Store(&used)
	in := r.end.Intake([]*inference.Route{r.route})
	defer in.Close()
	rec := r.accept(r.inShard(r.shard), large('x'))
	got, err := in.Lease(t.Context(), 1)
	r.must(err)
	if _, _, err := got[0].Claim(ctx); fault.CodeOf(err) != fault.ShuttingDown {
		t.Errorf("got %v", err)
	}
	back := r.until(rec.ID, job.Queued)
	if back.Attempt != 0 || len(back.Attempts) != 1 || back.Attempts[0].Outcome != "returned" {
		t.Errorf("got %+v", back)
	}
}
