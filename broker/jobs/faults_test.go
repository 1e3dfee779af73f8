package jobs_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"headrace/broker/jobs"
	"headrace/broker/records"
	"headrace/internal/brokertest"
	"headrace/internal/fault"
	"headrace/internal/job"
)

// atDesk runs a test in a bubble, with a desk over a store that works.
func atDesk(t *testing.T, test func(t *testing.T, desk *jobs.Desk, f *brokertest.Fake)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := new(brokertest.Fake)
		desk, serve, err := jobs.Over(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		f.Events(desk.Event)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			serve(ctx)
			close(ended)
		}()
		synctest.Wait()
		test(t, desk, f)
		cancel()
		<-ended
	})
}

// breaks makes one call of an operation fail.
func breaks(f *brokertest.Fake, operation string, how brokertest.Broken, err error) {
	f.Break(func(does string, _ job.ID) (brokertest.Broken, error) {
		if does != operation {
			return brokertest.Works, nil
		}
		f.Break(nil)
		return how, err
	})
}

// accept asks for the job "a".
func accept(t *testing.T, desk *jobs.Desk) (*job.Record, bool, error) {
	t.Helper()
	r := brokertest.Record("jobs")
	r.ID = "a"
	return desk.Accept(t.Context(), r, []byte(`"x"`), brokertest.Request("jobs", `"x"`))
}

// A write of an accept fails, when it was made and when it was not: the caller is told to try again, and then gets one job.
func TestAcceptThatFailsCanBeRepeated(t *testing.T) {
	t.Parallel()
	for _, operation := range []string{"put body", "put", "enqueue", "settle"} {
		for name, how := range map[string]brokertest.Broken{"not done": brokertest.NotDone, "done": brokertest.Done} {
			t.Run(operation+" "+name, func(t *testing.T) {
				t.Parallel()
				atDesk(t, func(t *testing.T, desk *jobs.Desk, f *brokertest.Fake) {
					t.Helper()
					breaks(f, operation, how, nil)
					if _, _, err := accept(t, desk); fault.CodeOf(err) != fault.NoWorkers || fault.From(err).RetryAfter <= 0 {
						t.Errorf("got %v, want no_workers that says when to try again", err)
					}
					r, _, err := accept(t, desk)
					if err != nil || r.State != job.Queued || r.Run != 1 {
						t.Errorf("again: %+v, %v", r, err)
					}
					if now := f.Now("a"); now.State != job.Queued || now.Starts != 0 {
						t.Errorf("the record is %+v", now)
					}
				})
			})
		}
	}
}

// A full queue refuses a job, whose record is withdrawn. When even that fails the caller is refused all the same, and gets the
// job that was left when it tries again.
func TestJobRefusedByAFullQueueIsWithdrawn(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]brokertest.Broken{"withdrawn": brokertest.Works, "not withdrawn": brokertest.NotDone, "withdrawn without an answer": brokertest.Done} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			atDesk(t, func(t *testing.T, desk *jobs.Desk, f *brokertest.Fake) {
				t.Helper()
				var puts atomic.Int64
				f.Break(func(operation string, _ job.ID) (brokertest.Broken, error) {
					switch operation {
					case "enqueue":
						return brokertest.NotDone, records.ErrFull
					case "put":
						if puts.Add(1) == 2 {
							return how, nil
						}
					}
					return brokertest.Works, nil
				})
				if _, _, err := accept(t, desk); fault.CodeOf(err) != fault.QueueFull || fault.From(err).RetryAfter <= 0 {
					t.Errorf("got %v, want queue_full that says when to try again", err)
				}
				if was := f.Now("a").Withdrawn(); was != (how != brokertest.NotDone) {
					t.Errorf("withdrawn: %t", was)
				}
				f.Break(nil)
				r, fresh, err := accept(t, desk)
				if err != nil || r.State != job.Queued || fresh != (how != brokertest.NotDone) {
					t.Errorf("again: %+v, fresh %t, %v", r, fresh, err)
				}
			})
		})
	}
}

// A cancel that fails can be repeated; what only hurries it may fail.
func TestCancelThatFailsCanBeRepeated(t *testing.T) {
	t.Parallel()
	for _, operation := range []string{"get", "put", "settle", "unqueue", "tell cancel"} {
		for name, how := range map[string]brokertest.Broken{"not done": brokertest.NotDone, "done": brokertest.Done} {
			t.Run(operation+" "+name, func(t *testing.T) {
				t.Parallel()
				atDesk(t, func(t *testing.T, desk *jobs.Desk, f *brokertest.Fake) {
					t.Helper()
					if _, _, err := accept(t, desk); err != nil {
						t.Fatal(err)
					}
					want := job.Cancelled
					if operation == "tell cancel" {
						want = job.Cancelling
						r := f.Now("a")
						if err := r.Start("w", time.Now()); err != nil {
							t.Fatal(err)
						}
						if err := f.Put(t.Context(), r, time.Now()); err != nil {
							t.Fatal(err)
						}
					}
					breaks(f, operation, how, nil)
					hint := operation == "unqueue" || operation == "tell cancel"
					if _, err := desk.Cancel(t.Context(), "a"); (err == nil) != hint {
						t.Errorf("cancelling: %v", err)
					}
					if r, err := desk.Cancel(t.Context(), "a"); err != nil || r.State != want {
						t.Errorf("again: %+v, %v", r, err)
					}
				})
			})
		}
	}
}

// A retry that comes second, however far the first one's run is by then, is told of a conflict: the input that the first one
// replaced, or that went with the second run's success, is not missed.
func TestRetryThatComesSecondIsAConflict(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"body", "put body"} {
		for name, ended := range map[string]bool{"while the new run waits": false, "after the new run": true} {
			t.Run(name+", before its "+at, func(t *testing.T) {
				t.Parallel()
				atDesk(t, func(t *testing.T, desk *jobs.Desk, f *brokertest.Fake) {
					t.Helper()
					if _, _, err := accept(t, desk); err != nil {
						t.Fatal(err)
					}
					move(t, f, func(r *job.Record, now time.Time) error {
						r.Input.Parts = 1 // it is stored apart
						return errors.Join(r.Start("w", now), r.Fail(fault.New(fault.UpstreamError, "no"), 0, now))
					})
					f.Break(func(does string, _ job.ID) (brokertest.Broken, error) {
						if does != at {
							return brokertest.Works, nil
						}
						f.Break(nil)
						if _, err := desk.Retry(t.Context(), "a"); err != nil {
							t.Errorf("the first retry: %v", err)
						}
						if ended {
							move(t, f, func(r *job.Record, now time.Time) error {
								return errors.Join(r.Start("w", now), r.Succeed(&job.Body{Inline: []byte("1")}, 0, now))
							})
						}
						if at == "body" {
							return brokertest.NotDone, records.ErrNoBody
						}
						return brokertest.Works, nil
					})
					if _, err := desk.Retry(t.Context(), "a"); fault.CodeOf(err) != fault.Conflict {
						t.Errorf("got %v, want conflict", err)
					}
					if r := f.Now("a"); r.Run != 2 {
						t.Errorf("the job is in run %d", r.Run)
					}
				})
			})
		}
	}
}

// move changes the record of the job "a" as a worker does.
func move(t *testing.T, f *brokertest.Fake, change func(r *job.Record, now time.Time) error) {
	t.Helper()
	r := f.Now("a")
	if err := change(r, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := f.Put(t.Context(), r, time.Now()); err != nil {
		t.Fatal(err)
	}
}

// A caller that waits costs no reads while nothing happens, is woken by the end, and learns of it within two seconds when its
// event was dropped.
func TestWaitingCostsNoReads(t *testing.T) {
	t.Parallel()
	for name, dropped := range map[string]bool{"event": false, "dropped event": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			atDesk(t, func(t *testing.T, desk *jobs.Desk, f *brokertest.Fake) {
				t.Helper()
				if _, _, err := accept(t, desk); err != nil {
					t.Fatal(err)
				}
				ended := make(chan *job.Record, 1)
				go func() {
					r, err := desk.WaitEnd(t.Context(), "a")
					if err != nil {
						t.Error(err)
					}
					ended <- r
				}()
				time.Sleep(30 * time.Minute) //nolint:forbidigo // the bubble's time
				if n := f.Calls("get"); n != 1 {
					t.Errorf("%d reads in half an hour", n)
				}
				r, began := f.Now("a"), time.Now()
				r.Cancel(began)
				if dropped {
					f.LoseEvents()
				}
				if err := f.Put(t.Context(), r, began); err != nil {
					t.Fatal(err)
				}
				if r := <-ended; r.State != job.Cancelled || time.Since(began) > 2*time.Second {
					t.Errorf("after %s: %s", time.Since(began), r.State)
				}
			})
		})
	}
}

// The streams are looked up until all exist: then, and not before, the desk is ready, and a reason that lasts is given.
func TestDeskIsReadyWhenTheStreamsExist(t *testing.T) {
	t.Parallel()
	atDesk(t, func(t *testing.T, desk *jobs.Desk, _ *brokertest.Fake) {
		t.Helper()
		if err := desk.Ready(); err != nil {
			t.Error(err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		f := new(brokertest.Fake)
		f.Break(func(operation string, _ job.ID) (brokertest.Broken, error) {
			if operation == "open" {
				return brokertest.NotDone, nil
			}
			return brokertest.Works, nil
		})
		desk, serve, err := jobs.Over(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			serve(ctx)
			close(ended)
		}()
		time.Sleep(time.Minute) //nolint:forbidigo // the bubble's time
		if n := f.Calls("open"); desk.Ready() == nil || n > 61 {
			t.Errorf("ready: %v, after %d tries", desk.Ready(), n)
		}
		f.Break(nil)
		time.Sleep(2 * time.Second) //nolint:forbidigo // the bubble's time
		if err := desk.Ready(); err != nil {
			t.Error(err)
		}
		cancel()
		<-ended
	})
}
