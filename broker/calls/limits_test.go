package calls_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headrace/broker/calls"
	"headrace/broker/link"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/lanetest"
)

// crowd is calls of which one runs and the others wait, until proceed is closed.
type crowd struct {
	r       *lanetest.Rig
	route   *inference.Route
	proceed chan struct{}
	calls   sync.WaitGroup
}

// newCrowd makes the first call and waits until it runs.
func newCrowd(r *lanetest.Rig, route *inference.Route) *crowd {
	r.TB.Helper()
	handle, claimed, proceed := lanetest.Hold(r)
	c := &crowd{r: r, route: route, proceed: proceed}
	r.Serve(1, handle, route)
	c.add(`"first"`)
	lanetest.Await(r.TB, claimed, "claim")
	return c
}

// add makes one more call that must succeed.
func (c *crowd) add(text string) {
	c.calls.Go(func() {
		res, err := c.r.Front.Call(c.r.TB.Context(), c.route, lanetest.Request(c.route, text))
		if err != nil {
			c.r.TB.Errorf("an accepted call failed: %v", err)
		}
		res.Release()
	})
}

// wait returns when n calls wait.
func (c *crowd) wait(n int) {
	c.r.TB.Helper()
	if !lanetest.Eventually(func() bool { return c.r.Front.State(c.route.Name).Waiting == n }) {
		c.r.TB.Fatalf("%d calls wait, want %d", c.r.Front.State(c.route.Name).Waiting, n)
	}
}

// disperse lets all calls end, and checks that the route works as before.
func (c *crowd) disperse() {
	c.r.TB.Helper()
	close(c.proceed)
	c.calls.Wait()
	for range 5 {
		c.add(`"after"`)
	}
	c.calls.Wait()
	c.wait(0)
}

func TestMaxWaiting(t *testing.T) {
	t.Parallel()
	lanetest.Each(t, func(r *lanetest.Rig) {
		route, other := lanetest.TestRoute("full"), lanetest.TestRoute("other")
		route.MaxWaiting = 5
		c := newCrowd(r, route)
		r.Serve(1, r.Echo, other)
		for range route.MaxWaiting {
			c.add(`"x"`)
		}
		c.wait(route.MaxWaiting)
		_, err := r.Front.Call(r.TB.Context(), route, lanetest.Request(route, `"x"`))
		lanetest.Full(r, err, "max_waiting")
		res, err := r.Front.Call(r.TB.Context(), other, lanetest.Request(other, `"x"`))
		if err != nil {
			r.TB.Errorf("another route: %v", err)
		}
		res.Release()
		c.disperse()
	}, lanetest.InProcess, lanetest.OverTCP, lanetest.Locally)
}

func TestMaxWaitingBytes(t *testing.T) {
	t.Parallel()
	lanetest.Each(t, func(r *lanetest.Rig) {
		route := lanetest.TestRoute("full")
		route.MaxWaitingBytes = 3 * calls.InlineRequest
		large := strings.Repeat("1", 2*calls.InlineRequest) // which waits with the front end
		c := newCrowd(r, route)
		c.add(large)
		c.wait(1)
		_, err := r.Front.Call(r.TB.Context(), route, lanetest.Request(route, large))
		lanetest.Full(r, err, "max_waiting_bytes")
		c.add(`"a small one has room"`)
		c.wait(2)
		c.disperse()
	}, lanetest.InProcess, lanetest.OverTCP, lanetest.Locally)
}

// The embedded server's memory is full: calls that come then are refused, and those that came before are served.
func TestMaxMemory(t *testing.T) {
	t.Parallel()
	for _, f := range []lanetest.Form{lanetest.InProcess, lanetest.OverTCP, lanetest.Locally} {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			r := lanetest.NewSizedRig(t, f, 2<<20)
			route := lanetest.TestRoute("memory")
			c := newCrowd(r, route)
			text := strings.Repeat("1", calls.InlineRequest*3/4)
			var refused, served atomic.Int64
			var others sync.WaitGroup
			const calls = 20
			for range calls {
				others.Go(func() {
					res, err := r.Front.Call(t.Context(), route, lanetest.Request(route, text))
					res.Release()
					if err == nil {
						served.Add(1)
						return
					}
					refused.Add(1)
					lanetest.Full(r, err, "broker.max_memory")
				})
			}
			if !lanetest.Eventually(func() bool {
				return refused.Load() > 0 && r.Front.State(route.Name).Waiting == calls-int(refused.Load())
			}) {
				t.Errorf("%d of %d calls of %d bytes were refused by a memory of 2 MiB", refused.Load(), calls, len(text))
			}
			close(c.proceed)
			others.Wait()
			c.calls.Wait()
			if served.Load() < 5 {
				t.Errorf("only %d calls were served", served.Load())
			}
			for range 5 {
				c.add(text) // one after the other there is room
				c.calls.Wait()
			}
		})
	}
}

// A front end that dies while its calls wait, in the queue and with large bodies, takes them with it: none
// runs, and those of others do.
func TestFrontEndDies(t *testing.T) {
	t.Parallel()
	r := lanetest.NewRig(t, lanetest.OverTCP)
	way := lanetest.NewSeverable(t, r.Server.Addr())
	route := lanetest.TestRoute("orphans")
	handle, claimed, proceed := lanetest.Hold(r)
	r.Serve(1, handle, route)
	front := r.NewFrontBy(link.Dial{URL: way.URL()})
	var callers sync.WaitGroup
	call := func(front *calls.FrontEnd, text string, code fault.Code) {
		callers.Go(func() {
			res, err := front.Call(t.Context(), route, lanetest.Request(route, text))
			res.Release()
			if err == nil && code == "" {
				return
			}
			if fault.CodeOf(err) != code {
				t.Errorf("%.20s: got %v, want %s", text, err, code)
			}
		})
	}
	call(r.Front, `"mine"`, "")
	lanetest.Await(t, claimed, "claim")
	for _, size := range []int{1, 10, calls.InlineRequest, 2 * calls.InlineRequest} {
		call(front, `"orphan`+strings.Repeat("x", size)+`"`, fault.NoWorkers)
	}
	if !lanetest.Eventually(func() bool { return front.State(route.Name).Waiting == 4 }) {
		t.Fatal("the calls do not wait")
	}
	call(r.Front, `"mine too"`, "")
	if !lanetest.Eventually(func() bool { return r.Front.State(route.Name).Waiting == 1 }) {
		t.Fatal("the last call does not wait")
	}
	way.Cut()
	close(proceed)
	callers.Wait()
	call(r.Front, `"mine again"`, "")
	callers.Wait()
	for range 2 {
		if got := lanetest.Await(t, claimed, "claim"); !strings.HasPrefix(string(got.Request().Items[0]), `"mine`) {
			t.Errorf("%.20s ran though its front end had died", got.Request().Items[0])
		}
	}
}

// Workers are replaced one after the other while calls come in: not one call fails.
func TestRollingWorkers(t *testing.T) {
	t.Parallel()
	lanetest.Each(t, func(r *lanetest.Rig) {
		t := r.TB
		route, second := lanetest.TestRoute("rolling"), lanetest.TestRoute("rolling-too")
		worker := func() (stop func()) { return r.Serve(2, r.Echo, route, second) }
		old := worker()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		over := make(chan struct{})
		var callers sync.WaitGroup
		var answered atomic.Int64
		for i := range 8 {
			text := `"x"`
			if i == 0 {
				text = `"` + strings.Repeat("x", 2*calls.InlineRequest) + `"`
			}
			to := route
			if i%2 == 1 {
				to = second
			}
			callers.Go(func() {
				for {
					select {
					case <-over:
						return
					default:
					}
					res, err := r.Front.Call(ctx, to, lanetest.Request(to, text))
					if err != nil {
						t.Errorf("a call failed: %v", err)
						return
					}
					res.Release()
					answered.Add(1)
				}
			})
		}
		for range 3 {
			before := answered.Load()
			next := worker()
			if !lanetest.Eventually(func() bool { return r.Front.State(route.Name).Workers == 2 && r.Front.State(second.Name).Workers == 2 }) {
				t.Error("the new worker is not seen")
			}
			old()
			old = next
			if !lanetest.Eventually(func() bool { return r.Front.State(route.Name).Workers == 1 && r.Front.State(second.Name).Workers == 1 }) {
				t.Error("the worker that has left is still seen")
			}
			if !lanetest.Eventually(func() bool { return answered.Load() >= before+50 }) {
				t.Error("nothing is answered any more")
			}
		}
		close(over)
		callers.Wait()
		t.Logf("%d calls were answered by workers that came and went", answered.Load())
	}, lanetest.InProcess, lanetest.OverTCP, lanetest.Locally)
}
