package sweeper_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/broker/sweeper"
	"headrace/internal/brokertest"
	"headrace/internal/job"
)

// sweep runs a test in a bubble, with a sweeper over a store that has these jobs.
func sweep(t *testing.T, test func(t *testing.T, f *brokertest.Fake), jobs ...func(now time.Time) *job.Record) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := new(brokertest.Fake)
		for _, makeJob := range jobs {
			r := makeJob(time.Now())
			if err := f.Put(t.Context(), r, time.Now()); err != nil {
				t.Fatal(err)
			}
			if r.State == job.Queued || r.State == job.Running {
				if err := f.Enqueue(t.Context(), r); err != nil {
					t.Fatal(err)
				}
			}
		}
		s, err := sweeper.New(link.Dial{URL: "nats://nowhere"}, nil, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Over(ctx, f) }()
		synctest.Wait()
		test(t, f)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// later lets time pass, and what is due then be done.
func later(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // the bubble's time
	synctest.Wait()
}

func queued(now time.Time) *job.Record {
	r := brokertest.Record("jobs")
	r.ID = "a"
	r.Accept(now)
	return r
}

func scheduled(in time.Duration) func(time.Time) *job.Record {
	return func(now time.Time) *job.Record {
		r := brokertest.Record("jobs")
		at := now.Add(in)
		r.ID, r.RunAt = "a", &at
		r.Accept(now)
		return r
	}
}

func running(now time.Time) *job.Record {
	r := queued(now)
	if err := r.Start("w", now); err != nil {
		panic(err) //nolint:forbidigo // a queued job can be started
	}
	return r
}

func retrying(now time.Time) *job.Record {
	r := running(now)
	at := now.Add(time.Minute)
	r.State, r.NextAttemptAt = job.Retrying, &at
	return r
}

// Scheduled and retried jobs are queued at their time: not before, soon after, and with few operations until then.
func TestDueJobsAreQueuedAtTheirTime(t *testing.T) {
	t.Parallel()
	for name, makeJob := range map[string]func(time.Time) *job.Record{"scheduled": scheduled(time.Minute), "retrying": retrying} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sweep(t, func(t *testing.T, f *brokertest.Fake) {
				t.Helper()
				later(time.Minute - time.Second)
				if f.Queued("a") || f.Calls("get") > 1 {
					t.Errorf("a second before its time: queued %t, %d reads", f.Queued("a"), f.Calls("get"))
				}
				later(1100 * time.Millisecond)
				if !f.Queued("a") || f.Now("a").State != job.Queued {
					t.Errorf("at its time: queued %t, %s", f.Queued("a"), f.Now("a").State)
				}
			}, makeJob)
		})
	}
}

// A job whose time is over is ended and taken out of its queue; one that was started just before is left alone.
func TestJobsExpire(t *testing.T) {
	t.Parallel()
	hasty := func(now time.Time) *job.Record {
		r := brokertest.Record("jobs")
		r.ID, r.QueueTime = "a", time.Minute
		r.Accept(now)
		return r
	}
	t.Run("in time", func(t *testing.T) {
		t.Parallel()
		sweep(t, func(t *testing.T, f *brokertest.Fake) {
			t.Helper()
			later(time.Minute + 100*time.Millisecond)
			if r := f.Now("a"); r.State != job.Expired || f.Queued("a") {
				t.Errorf("%s, queued %t", r.State, f.Queued("a"))
			}
		}, hasty)
	})
	t.Run("started just before", func(t *testing.T) {
		t.Parallel()
		sweep(t, func(t *testing.T, f *brokertest.Fake) {
			t.Helper()
			f.Break(func(operation string, id job.ID) (brokertest.Broken, error) {
				if r := f.Now(id); operation == "put" && r.State == job.Queued { // a worker comes first
					f.Break(nil)
					if err := r.Start("w", time.Now().Add(-time.Second)); err != nil {
						t.Error(err)
					}
					if err := f.Put(t.Context(), r, time.Now()); err != nil {
						t.Error(err)
					}
				}
				return brokertest.Works, nil
			})
			later(10 * time.Minute)
			if r := f.Now("a"); r.State != job.Running || !f.Queued("a") {
				t.Errorf("%s, queued %t", r.State, f.Queued("a"))
			}
		}, hasty)
	})
}

// An entry that disappears from a queue is put back, of a queued job within half a minute and of a running one within two.
func TestDisappearedEntryIsPutBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		job    func(time.Time) *job.Record
		within time.Duration
	}{"queued": {queued, 30 * time.Second}, "running": {running, 2 * time.Minute}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sweep(t, func(t *testing.T, f *brokertest.Fake) {
				t.Helper()
				later(time.Minute + time.Second) // it was checked
				f.TakeOut("a")
				later(c.within)
				if !f.Queued("a") {
					t.Error("it is still missing")
				}
				before := f.Calls("enqueue")
				later(30 * time.Minute)
				if n := f.Calls("enqueue") - before; n > 0 {
					t.Errorf("it was queued %d times more", n)
				}
			}, c.job)
		})
	}
}

// Each operation fails three times, when it was done and when it was not: the job is queued once the store works, and the sweeper
// tries about once a second until then.
func TestStoreThatFailsDelaysAJobAndNoMore(t *testing.T) {
	t.Parallel()
	for _, operation := range []string{"get", "put", "enqueue"} {
		for name, how := range map[string]brokertest.Broken{"not done": brokertest.NotDone, "done": brokertest.Done} {
			t.Run(operation+" "+name, func(t *testing.T) {
				t.Parallel()
				sweep(t, func(t *testing.T, f *brokertest.Fake) {
					t.Helper()
					var failed atomic.Int64
					f.Break(func(does string, _ job.ID) (brokertest.Broken, error) {
						if does != operation || failed.Load() == 3 {
							return brokertest.Works, nil
						}
						failed.Add(1)
						return how, nil
					})
					later(15 * time.Second)
					if r := f.Now("a"); !f.Queued("a") || r.State != job.Queued || r.Starts != 0 {
						t.Errorf("queued %t, %s", f.Queued("a"), r.State)
					}
					if n := f.Calls(operation); n > 12 {
						t.Errorf("it was tried %d times in 5 seconds", n)
					}
				}, scheduled(10*time.Second))
			})
		}
	}
}

// A store that fails for half an hour is not called in a loop, and what was due is done when it works again.
func TestBrokenStoreIsNotCalledInALoop(t *testing.T) {
	t.Parallel()
	sweep(t, func(t *testing.T, f *brokertest.Fake) {
		t.Helper()
		end := time.Now().Add(30 * time.Minute)
		f.Break(func(operation string, _ job.ID) (brokertest.Broken, error) {
			if time.Now().Before(end) && operation != "follow" {
				return brokertest.NotDone, nil
			}
			return brokertest.Works, nil
		})
		later(30 * time.Minute)
		for _, operation := range []string{"get", "put", "enqueue", "placed", "held"} {
			if n := f.Calls(operation); n > 1850 {
				t.Errorf("%s: %d times in half an hour", operation, n)
			}
		}
		later(2 * time.Second)
		if !f.Queued("a") {
			t.Error("the job is not queued")
		}
	}, scheduled(time.Second))
}

// A record that is gone is looked for five times more, ten seconds apart, and then forgotten: nothing waits.
func TestJobWhoseRecordIsGoneIsForgotten(t *testing.T) {
	t.Parallel()
	sweep(t, func(t *testing.T, f *brokertest.Fake) {
		t.Helper()
		f.Break(func(operation string, _ job.ID) (brokertest.Broken, error) {
			if operation == "get" {
				return brokertest.NotDone, records.ErrNoJob
			}
			return brokertest.Works, nil
		})
		f.TakeOut("a")
		later(2 * time.Minute)
		if n := f.Calls("get"); n != 6 {
			t.Errorf("it was looked for %d times, want 6", n)
		}
		if report := f.LastReport(); len(report.Lanes) != 0 || report.Counting {
			t.Errorf("it is still told: %+v", report)
		}
	}, queued)
}
