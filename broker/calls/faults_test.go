package calls_test

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/lanetest"
	"headrace/internal/lease"
)

func TestLargeRepliesDoNotDisturbSmallCalls(t *testing.T) {
	t.Parallel()
	lanetest.Each(t, func(r *lanetest.Rig) {
		t := r.TB
		big, small := lanetest.TestRoute("big"), lanetest.TestRoute("small")
		size, bearable := 20<<20, time.Second
		if lanetest.RaceDetector {
			size, bearable = 2<<20, 5*time.Second
		}
		payload := bytes.Repeat([]byte("0123456789abcdef"), size/16)
		var given atomic.Int64
		r.Account("large answers", given.Load)
		r.Serve(32, func(ctx context.Context, c lease.Claim) {
			res := &inference.Result{Items: [][]byte{payload}}
			given.Add(1)
			res.OnRelease(func() { given.Add(-1) })
			if err := c.Answer(ctx, res); err != nil {
				t.Errorf("answer: %v", err)
			}
		}, big)
		r.Serve(4, r.Echo, small)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
		defer cancel()
		warm, err := r.Front.Call(ctx, small, lanetest.Request(small, `"y"`)) // streams and consumers come with the first call
		if err != nil {
			t.Fatal(err)
		}
		warm.Release()
		var large sync.WaitGroup
		var left atomic.Int64
		left.Store(32)
		for range 32 {
			large.Go(func() {
				defer left.Add(-1)
				res, err := r.Front.Call(ctx, big, lanetest.Request(big, `"x"`))
				if err != nil {
					t.Errorf("large: %v", err)
					return
				}
				if len(res.Items) != 1 || !bytes.Equal(res.Items[0], payload) {
					t.Errorf("large: the reply is not whole: %d items", len(res.Items))
				}
				res.Release()
			})
		}
		worst, made := time.Duration(0), 0
		for left.Load() > 0 {
			began := time.Now()
			res, err := r.Front.Call(ctx, small, lanetest.Request(small, `"y"`))
			if err != nil {
				t.Fatalf("small: %v", err)
			}
			res.Release()
			worst, made = max(worst, time.Since(began)), made+1
		}
		large.Wait()
		t.Logf("%d small calls beside 32 replies of %d bytes, the slowest took %s", made, size, worst)
		if worst > bearable {
			t.Errorf("a small call took %s", worst)
		}
	}, lanetest.OverTCP, lanetest.Locally)
}

func TestLargeBodyReachesItsWorker(t *testing.T) {
	t.Parallel()
	lanetest.Each(t, func(r *lanetest.Rig) {
		t := r.TB
		route := lanetest.TestRoute("body")
		text := `"` + strings.Repeat("x", 30<<20) + `"`
		r.Serve(1, func(ctx context.Context, c lease.Claim) {
			got := strconv.Itoa(len(c.Request().Items[0]))
			if err := c.Answer(ctx, &inference.Result{Items: [][]byte{[]byte(got)}}); err != nil {
				t.Errorf("answer: %v", err)
			}
		}, route)
		res, err := r.Front.Call(t.Context(), route, lanetest.Request(route, text))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Release()
		if got := string(res.Items[0]); got != strconv.Itoa(len(text)) {
			t.Errorf("the worker got %s bytes, want %d", got, len(text))
		}
	}, lanetest.OverTCP, lanetest.Locally)
}

func TestDeadlineBeforeAndAfterTheClaim(t *testing.T) {
	t.Parallel()
	lanetest.Each(t, func(r *lanetest.Rig) {
		t := r.TB
		route := lanetest.TestRoute("slow")
		handle, claimed, _ := lanetest.Hold(r)
		r.Serve(1, handle, route)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		running := make(chan error, 1)
		go func() {
			_, err := r.Front.Call(ctx, route, lanetest.Request(route, `"first"`))
			running <- err
		}()
		lanetest.Await(t, claimed, "claim")
		waitCtx, cancelWait := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancelWait()
		if _, err := r.Front.Call(waitCtx, route, lanetest.Request(route, `"second"`)); fault.CodeOf(err) != fault.Deadline {
			t.Errorf("waiting: got %v, want deadline", err)
		}
		if err := lanetest.Await(t, running, "answer"); fault.CodeOf(err) != fault.UpstreamTimeout {
			t.Errorf("running: got %v, want upstream_timeout", err)
		}
		select {
		case c := <-claimed:
			t.Errorf("the second call ran though its caller had gone: %s", c.Request().Items[0])
		case <-time.After(500 * time.Millisecond):
		}
	}, lanetest.InProcess, lanetest.Locally)
}

// A worker that dies between lease and claim costs two seconds, not the request.
func TestLeaseLost(t *testing.T) {
	t.Parallel()
	lanetest.Each(t, func(r *lanetest.Rig) {
		t := r.TB
		route := lanetest.TestRoute("leased")
		end, _ := r.NewWorkerEnd(1, route)
		done := make(chan error, 1)
		go func() {
			res, err := r.Front.Call(t.Context(), route, lanetest.Request(route, `"x"`))
			res.Release()
			done <- err
		}()
		in := end.Intake([]*inference.Route{route})
		defer in.Close()
		if _, err := in.Lease(t.Context(), 1); err != nil { // and never claimed
			t.Fatal(err)
		}
		r.Serve(1, r.Echo, route)
		if err := lanetest.Await(t, done, "answer of the other worker"); err != nil {
			t.Errorf("the call failed: %v", err)
		}
	}, lanetest.InProcess, lanetest.Locally)
}

// Routes that share one slot take turns, and nothing is lost though messages arrive at the same time.
func TestRoutesShareSlots(t *testing.T) {
	t.Parallel()
	lanetest.Each(t, func(r *lanetest.Rig) {
		t := r.TB
		var routes []*inference.Route
		for i := range 5 {
			routes = append(routes, lanetest.TestRoute(fmt.Sprint("shared-", i)))
		}
		var running, most atomic.Int64
		for range 3 {
			r.Serve(1, func(ctx context.Context, c lease.Claim) {
				n := running.Add(1)
				for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
				}
				defer running.Add(-1)
				r.Echo(ctx, c)
			}, routes...)
		}
		var callers sync.WaitGroup
		for i := range 500 {
			callers.Go(func() {
				route := routes[i%len(routes)]
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				res, err := r.Front.Call(ctx, route, lanetest.Request(route, `"x"`))
				if err != nil {
					t.Errorf("call %d: %v", i, err)
				}
				res.Release()
			})
		}
		callers.Wait()
		if most.Load() > 3 {
			t.Errorf("%d calls ran at a time in 3 slots", most.Load())
		}
	}, lanetest.InProcess, lanetest.Locally)
}

// A worker whose process dies with a claimed call is noticed within seconds.
func TestWorkerDies(t *testing.T) {
	t.Parallel()
	lanetest.Each(t, func(r *lanetest.Rig) {
		t := r.TB
		route := lanetest.TestRoute("dying")
		claimed, dead := make(chan lease.Claim, 1), make(chan struct{})
		defer close(dead)
		end, kill := r.NewWorkerEnd(1, route)
		in := end.Intake([]*inference.Route{route})
		lanetest.Background(t, func(ctx context.Context) error {
			r.Lease(ctx, in, 1, func(_ context.Context, c lease.Claim) {
				claimed <- c
				<-dead
				c.Drop()
			})
			return nil
		})
		done := make(chan error, 1)
		go func() {
			_, err := r.Front.Call(t.Context(), route, lanetest.Request(route, `"x"`))
			done <- err
		}()
		lanetest.Await(t, claimed, "claim")
		kill()
		if err := lanetest.Await(t, done, "answer"); fault.CodeOf(err) != fault.UpstreamUnavailable {
			t.Errorf("got %v, want upstream_unavailable", err)
		}
	}, lanetest.OverTCP, lanetest.Locally)
}
