package calls_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"headrace/broker/link"
	"headrace/internal/fault"
	"headrace/internal/flow"
	"headrace/internal/inference"
	"headrace/internal/lanetest"
	"headrace/internal/lease"
)

func everywhere() []lanetest.Form {
	return []lanetest.Form{lanetest.InProcess, lanetest.OverTCP, lanetest.Locally}
}

// streamed makes a handler that answers in pieces. do sends them; what it returns ends the stream.
func streamed(r *lanetest.Rig, do func(ctx context.Context, send func(texts ...string) error) error) func(context.Context, lease.Claim) {
	return func(ctx context.Context, c lease.Claim) {
		s, ok := c.(lease.Streaming)
		if !ok || !c.Request().Stream {
			r.TB.Errorf("the claim is not to be answered in pieces: %+v", c.Request())
			c.Drop()
			return
		}
		if err := s.Begin(ctx, &inference.Result{Dropped: []string{"seed"}, Upstream: time.Millisecond}); err != nil {
			c.Drop()
			return
		}
		err := do(ctx, func(texts ...string) error {
			var pieces []inference.Event
			for _, text := range texts {
				pieces = append(pieces, inference.Event{Text: []byte(text)})
			}
			return s.Send(ctx, pieces)
		})
		switch {
		case err == nil:
			if err := s.Complete(ctx); err != nil {
				r.TB.Errorf("complete: %v", err)
			}
		case ctx.Err() != nil:
			c.Drop()
		default:
			_ = c.Fail(ctx, fault.From(err))
		}
	}
}

// open makes a call whose answer comes in pieces.
func open(r *lanetest.Rig, ctx context.Context, route *inference.Route) *inference.Result {
	r.TB.Helper()
	req := lanetest.Request(route, `"x"`)
	req.Stream = true
	res, err := r.Front.Call(ctx, route, req)
	if err != nil || res.Stream == nil {
		r.TB.Fatalf("no stream: %+v, %v", res, err)
	}
	return res
}

// rest reads a stream to its end.
func rest(s inference.Stream, ctx context.Context) (texts []string, err error) {
	for {
		e, err := s.Next(ctx)
		if err != nil {
			return texts, err
		}
		texts = append(texts, string(e.Text))
	}
}

func TestPiecesArriveApart(t *testing.T) {
	t.Parallel()
	lanetest.Each(t, func(r *lanetest.Rig) {
		t := r.TB
		route := lanetest.TestRoute("stream")
		next := make(chan struct{})
		large := strings.Repeat("x", 1<<20)
		r.Serve(1, streamed(r, func(_ context.Context, send func(...string) error) error {
			for i := range 3 {
				if err := send(fmt.Sprint("a", i), fmt.Sprint("b", i)); err != nil {
					return err
				}
				<-next
			}
			return send(large, "", large)
		}), route)
		ctx, cancel := context.WithCancel(t.Context())
		res := open(r, ctx, route)
		defer res.Release()
		cancel() // it was for the beginning
		if res.Dropped[0] != "seed" || res.Upstream != time.Millisecond || res.Queue <= 0 {
			t.Errorf("the head is %+v", res)
		}
		for i := range 3 {
			for _, want := range []string{fmt.Sprint("a", i), fmt.Sprint("b", i)} {
				if e, err := res.Stream.Next(t.Context()); err != nil || string(e.Text) != want {
					t.Fatalf("%+v, %v, want %s", e, err, want)
				}
			}
			short, stop := context.WithTimeout(t.Context(), time.Millisecond)
			if e, err := res.Stream.Next(short); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("before the worker sends it: %+v, %v", e, err)
			}
			stop()
			next <- struct{}{}
		}
		if got, err := rest(res.Stream, t.Context()); !errors.Is(err, io.EOF) || len(got) != 3 || got[0] != large || got[1] != "" || got[2] != large {
			t.Errorf("%d pieces, %v", len(got), err)
		}
	}, everywhere()...)
}

// TestASlowReaderStopsItsWorker: what is on the way to it is never more than the window and a chunk.
func TestASlowReaderStopsItsWorker(t *testing.T) {
	t.Parallel()
	lanetest.Each(t, func(r *lanetest.Rig) {
		t := r.TB
		route := lanetest.TestRoute("slow")
		const size, pieces = 1 << 10, 1000
		var sent atomic.Int64
		r.Serve(1, streamed(r, func(_ context.Context, send func(...string) error) error {
			for range pieces {
				if err := send(strings.Repeat("x", size)); err != nil {
					return err
				}
				sent.Add(size)
			}
			return nil
		}), route)
		res := open(r, t.Context(), route)
		defer res.Release()
		taken := int64(0)
		for range pieces {
			if ahead := sent.Load() - taken; ahead > flow.Window {
				t.Fatalf("%d bytes are on their way", ahead)
			}
			if _, err := res.Stream.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
			taken += size + 16
		}
		if _, err := res.Stream.Next(t.Context()); !errors.Is(err, io.EOF) {
			t.Errorf("at the end: %v", err)
		}
	}, everywhere()...)
}

// TestTheWorkerHearsAtOnceThatItsCallerHasGone: whether it waits for its model server or for credit.
func TestTheWorkerHearsAtOnceThatItsCallerHasGone(t *testing.T) {
	t.Parallel()
	for _, waits := range []string{"model server", "credit"} {
		t.Run(waits, func(t *testing.T) {
			t.Parallel()
			lanetest.Each(t, func(r *lanetest.Rig) {
				t := r.TB
				route := lanetest.TestRoute("gone")
				left := make(chan time.Time, 1)
				r.Serve(1, streamed(r, func(ctx context.Context, send func(...string) error) error {
					err := send("a")
					for err == nil && waits == "credit" {
						err = send(strings.Repeat("x", 9000))
					}
					<-ctx.Done()
					if !errors.Is(context.Cause(ctx), lease.ErrGone) {
						t.Errorf("it ended with %v", context.Cause(ctx))
					}
					left <- time.Now()
					return context.Cause(ctx)
				}), route)
				res := open(r, t.Context(), route)
				if _, err := res.Stream.Next(t.Context()); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				res.Release()
				if took := lanetest.Await(t, left, "end").Sub(began); took > 100*time.Millisecond {
					t.Errorf("the worker knew after %s", took)
				}
			}, everywhere()...)
		})
	}
}

// TestABrokenStreamIsAnError: pieces that came before are read, and then no reader can take it for complete.
func TestABrokenStreamIsAnError(t *testing.T) {
	t.Parallel()
	lanetest.Each(t, func(r *lanetest.Rig) {
		t := r.TB
		route := lanetest.TestRoute("broken")
		r.Serve(1, streamed(r, func(_ context.Context, send func(...string) error) error {
			if err := send("a", "b"); err != nil {
				return err
			}
			return fault.New(fault.UpstreamUnavailable, "the model server has left")
		}), route)
		res := open(r, t.Context(), route)
		defer res.Release()
		got, err := rest(res.Stream, t.Context())
		if len(got) != 2 || fault.CodeOf(err) != fault.UpstreamUnavailable || !strings.Contains(err.Error(), "has left") {
			t.Errorf("%q, %v", got, err)
		}
	}, everywhere()...)
}

// TestALostWorkerBreaksItsStream: one that is killed says nothing.
func TestALostWorkerBreaksItsStream(t *testing.T) {
	t.Parallel()
	r := lanetest.NewRig(t, lanetest.OverTCP)
	route := lanetest.TestRoute("lost")
	way := lanetest.NewSeverable(t, r.Server.Addr())
	direct := r.Dial
	r.Dial = link.Dial{URL: way.URL()}
	r.Serve(1, streamed(r, func(ctx context.Context, send func(...string) error) error {
		if err := send("a"); err != nil {
			return err
		}
		<-ctx.Done()
		return context.Cause(ctx)
	}), route)
	r.Dial = direct
	res := open(r, t.Context(), route)
	if e, err := res.Stream.Next(t.Context()); err != nil || string(e.Text) != "a" {
		t.Fatal(err)
	}
	way.Stall()
	if got, err := rest(res.Stream, t.Context()); len(got) != 0 || fault.CodeOf(err) != fault.UpstreamUnavailable {
		t.Errorf("%q, %v", got, err)
	}
	way.Resume()
	res.Release()
}

// TestALostConnectionBreaksStreams: the front end's own.
func TestALostConnectionBreaksStreams(t *testing.T) {
	t.Parallel()
	r := lanetest.NewRig(t, lanetest.OverTCP)
	route := lanetest.TestRoute("cut")
	way := lanetest.NewSeverable(t, r.Server.Addr())
	r.Front = r.NewFrontBy(link.Dial{URL: way.URL()})
	r.Serve(1, streamed(r, func(ctx context.Context, send func(...string) error) error {
		if err := send("a"); err != nil {
			return err
		}
		<-ctx.Done()
		return context.Cause(ctx)
	}), route)
	res := open(r, t.Context(), route)
	if e, err := res.Stream.Next(t.Context()); err != nil || string(e.Text) != "a" {
		t.Fatal(err)
	}
	way.Cut()
	if got, err := rest(res.Stream, t.Context()); len(got) != 0 || fault.CodeOf(err) != fault.UpstreamUnavailable {
		t.Errorf("%q, %v", got, err)
	}
	res.Release()
}

// TestAWholeAnswerToACallForPiecesIsOne: a model that cannot stream answers as ever.
func TestAWholeAnswerToACallForPiecesIsOne(t *testing.T) {
	t.Parallel()
	lanetest.Each(t, func(r *lanetest.Rig) {
		t := r.TB
		route := lanetest.TestRoute("whole")
		r.Serve(1, r.Echo, route)
		req := lanetest.Request(route, `"x"`)
		req.Stream = true
		res, err := r.Front.Call(t.Context(), route, req)
		if err != nil || res.Stream != nil || string(res.Items[0]) != `"x"` {
			t.Errorf("%+v, %v", res, err)
		}
		res.Release()
	}, everywhere()...)
}

// TestTheCallersTimeIsForTheBeginning: an answer that has not begun by then ends, one that has goes on.
func TestTheCallersTimeIsForTheBeginning(t *testing.T) {
	t.Parallel()
	lanetest.Each(t, func(r *lanetest.Rig) {
		t := r.TB
		route := lanetest.TestRoute("time")
		const patience = 300 * time.Millisecond
		r.Serve(1, func(ctx context.Context, c lease.Claim) {
			if string(c.Request().Items[0]) == `"never"` {
				<-ctx.Done()
				_ = c.Fail(ctx, fault.From(context.Cause(ctx)))
				return
			}
			streamed(r, func(ctx context.Context, send func(...string) error) error {
				select {
				case <-time.After(2 * patience):
					return send("a")
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			})(ctx, c)
		}, route)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		res := open(r, ctx, route)
		if got, err := rest(res.Stream, t.Context()); len(got) != 1 || !errors.Is(err, io.EOF) {
			t.Errorf("%q, %v", got, err)
		}
		res.Release()
		req := lanetest.Request(route, `"never"`)
		req.Stream = true
		short, stop := context.WithTimeout(t.Context(), patience)
		defer stop()
		if _, err := r.Front.Call(short, route, req); fault.CodeOf(err) != fault.UpstreamTimeout {
			t.Errorf("got %v", err)
		}
	}, everywhere()...)
}
