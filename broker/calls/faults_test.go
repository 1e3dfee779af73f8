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

	"headrace/broker/calls"
	"headrace/internal/fault"
	"headrace/internal/inference"
)

func TestLargeRepliesDoNotDisturbSmallCalls(t *testing.T) {
	t.Parallel()
	each(t, func(r *rig) {
		t := r.tb
		big, small := testRoute("big"), testRoute("small")
		size, bearable := 20<<20, time.Second
		if raceDetector {
			size, bearable = 2<<20, 5*time.Second
		}
		payload := bytes.Repeat([]byte("0123456789abcdef"), size/16)
		var given atomic.Int64
		r.account("large answers", given.Load)
		r.serve(32, func(ctx context.Context, c *calls.Claim) {
			res := &inference.Result{Items: [][]byte{payload}}
			given.Add(1)
			res.OnRelease(func() { given.Add(-1) })
			if err := c.Answer(ctx, res); err != nil {
				t.Errorf("answer: %v", err)
			}
		}, big)
		r.serve(4, r.echo, small)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
		defer cancel()
		warm, err := r.front.Call(ctx, small, request(small, `"y"`)) // streams and consumers come with the first call
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
				res, err := r.front.Call(ctx, big, request(big, `"x"`))
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
			res, err := r.front.Call(ctx, small, request(small, `"y"`))
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
	}, overTCP, locally)
}

func TestLargeBodyReachesItsWorker(t *testing.T) {
	t.Parallel()
	each(t, func(r *rig) {
		t := r.tb
		route := testRoute("body")
		text := `"` + strings.Repeat("x", 30<<20) + `"`
		r.serve(1, func(ctx context.Context, c *calls.Claim) {
			got := strconv.Itoa(len(c.Request.Items[0]))
			if err := c.Answer(ctx, &inference.Result{Items: [][]byte{[]byte(got)}}); err != nil {
				t.Errorf("answer: %v", err)
			}
		}, route)
		res, err := r.front.Call(t.Context(), route, request(route, text))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Release()
		if got := string(res.Items[0]); got != strconv.Itoa(len(text)) {
			t.Errorf("the worker got %s bytes, want %d", got, len(text))
		}
	}, overTCP, locally)
}

func TestDeadlineBeforeAndAfterTheClaim(t *testing.T) {
	t.Parallel()
	each(t, func(r *rig) {
		t := r.tb
		route := testRoute("slow")
		handle, claimed, _ := hold(r)
		r.serve(1, handle, route)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		running := make(chan error, 1)
		go func() {
			_, err := r.front.Call(ctx, route, request(route, `"first"`))
			running <- err
		}()
		await(t, claimed, "claim")
		waitCtx, cancelWait := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancelWait()
		if _, err := r.front.Call(waitCtx, route, request(route, `"second"`)); fault.CodeOf(err) != fault.Deadline {
			t.Errorf("waiting: got %v, want deadline", err)
		}
		if err := await(t, running, "answer"); fault.CodeOf(err) != fault.UpstreamTimeout {
			t.Errorf("running: got %v, want upstream_timeout", err)
		}
		select {
		case c := <-claimed:
			t.Errorf("the second call ran though its caller had gone: %s", c.Request.Items[0])
		case <-time.After(500 * time.Millisecond):
		}
	}, inProcess, locally)
}

// A worker that dies between lease and claim costs two seconds, not the request.
func TestLeaseLost(t *testing.T) {
	t.Parallel()
	each(t, func(r *rig) {
		t := r.tb
		route := testRoute("leased")
		end, _ := r.newWorkerEnd(1, route)
		done := make(chan error, 1)
		go func() {
			res, err := r.front.Call(t.Context(), route, request(route, `"x"`))
			res.Release()
			done <- err
		}()
		in := end.Intake([]*inference.Route{route})
		defer in.Close()
		if _, err := in.Lease(t.Context(), 1); err != nil { // and never claimed
			t.Fatal(err)
		}
		r.serve(1, r.echo, route)
		if err := await(t, done, "answer of the other worker"); err != nil {
			t.Errorf("the call failed: %v", err)
		}
	}, inProcess, locally)
}

// Routes that share one slot take turns, and nothing is lost though messages arrive at the same time.
func TestRoutesShareSlots(t *testing.T) {
	t.Parallel()
	each(t, func(r *rig) {
		t := r.tb
		var routes []*inference.Route
		for i := range 5 {
			routes = append(routes, testRoute(fmt.Sprint("shared-", i)))
		}
		var running, most atomic.Int64
		for range 3 {
			r.serve(1, func(ctx context.Context, c *calls.Claim) {
				n := running.Add(1)
				for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
				}
				defer running.Add(-1)
				r.echo(ctx, c)
			}, routes...)
		}
		var callers sync.WaitGroup
		for i := range 500 {
			callers.Go(func() {
				route := routes[i%len(routes)]
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				res, err := r.front.Call(ctx, route, request(route, `"x"`))
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
	}, inProcess, locally)
}

// A worker whose process dies with a claimed call is noticed within seconds.
func TestWorkerDies(t *testing.T) {
	t.Parallel()
	each(t, func(r *rig) {
		t := r.tb
		route := testRoute("dying")
		claimed, dead := make(chan *calls.Claim, 1), make(chan struct{})
		defer close(dead)
		end, kill := r.newWorkerEnd(1, route)
		in := end.Intake([]*inference.Route{route})
		background(t, func(ctx context.Context) error {
			r.lease(ctx, in, 1, func(_ context.Context, c *calls.Claim) {
				claimed <- c
				<-dead
				c.Drop()
			})
			return nil
		})
		done := make(chan error, 1)
		go func() {
			_, err := r.front.Call(t.Context(), route, request(route, `"x"`))
			done <- err
		}()
		await(t, claimed, "claim")
		kill()
		if err := await(t, done, "answer"); fault.CodeOf(err) != fault.UpstreamUnavailable {
			t.Errorf("got %v, want upstream_unavailable", err)
		}
	}, overTCP, locally)
}
