package calls_test

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"headrace/broker/calls"
	"headrace/broker/link"
	"headrace/broker/parcel"
	"headrace/internal/budget"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/lanetest"
	"headrace/internal/lease"
)

// Callers leave at every moment of a call; whatever was held for them is given back. The rig checks that.

// A caller that leaves while its call waits for a slot is forgotten, and its call never runs.
func TestGoneBeforeTheClaim(t *testing.T) {
	t.Parallel()
	lanetest.Each(t, func(r *lanetest.Rig) {
		t := r.TB
		route := lanetest.TestRoute("gone")
		handle, claimed, proceed := lanetest.Hold(r)
		r.Serve(1, handle, route)
		var callers sync.WaitGroup
		callers.Go(func() {
			res, err := r.Front.Call(t.Context(), route, lanetest.Request(route, `"first"`))
			if err != nil {
				t.Errorf("the first call: %v", err)
			}
			res.Release()
		})
		lanetest.Await(t, claimed, "claim")
		ctx, leave := context.WithCancel(t.Context())
		for _, text := range []string{`"small"`, `"` + strings.Repeat("x", calls.InlineRequest) + `"`} {
			callers.Go(func() {
				if _, err := r.Front.Call(ctx, route, lanetest.Request(route, text)); fault.CodeOf(err) != fault.Deadline {
					t.Errorf("got %v, want deadline", err)
				}
			})
		}
		if !lanetest.Eventually(func() bool { return r.Front.State(route.Name).Waiting == 2 }) {
			t.Fatal("the calls do not wait")
		}
		leave()
		if !lanetest.Eventually(func() bool { return r.Front.State(route.Name).Waiting == 0 }) {
			t.Error("callers that have gone still count as waiting")
		}
		close(proceed)
		callers.Wait()
		res, err := r.Front.Call(t.Context(), route, lanetest.Request(route, `"last"`))
		if err != nil {
			t.Fatalf("afterwards: %v", err)
		}
		res.Release()
		if c := lanetest.Await(t, claimed, "claim"); string(c.Request().Items[0]) != `"last"` {
			t.Errorf("%.20s ran though its caller had gone", c.Request().Items[0])
		}
	}, lanetest.InProcess, lanetest.OverTCP, lanetest.Locally)
}

// A handler that does not notice and answers a caller that has gone gets rid of its answer all the same.
func TestGoneBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	for _, size := range []int{10, 3 * calls.InlineReply} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			t.Parallel()
			lanetest.Each(t, func(r *lanetest.Rig) {
				t := r.TB
				route := lanetest.TestRoute("gone")
				claimed, answered := make(chan struct{}), make(chan struct{})
				r.Serve(1, func(ctx context.Context, c lease.Claim) {
					defer close(answered)
					close(claimed)
					<-ctx.Done()
					if err := c.Answer(ctx, r.Result(bytes.Repeat([]byte("1"), size))); err != nil {
						t.Errorf("answer: %v", err)
					}
				}, route)
				ctx, leave := context.WithCancel(t.Context())
				go func() {
					<-claimed
					leave()
				}()
				if _, err := r.Front.Call(ctx, route, lanetest.Request(route, `"x"`)); fault.CodeOf(err) != fault.Deadline {
					t.Errorf("a cancelled call ended with %v", err)
				}
				lanetest.Await(t, answered, "answer")
			}, lanetest.InProcess, lanetest.OverTCP, lanetest.Locally)
		})
	}
}

// Callers that leave at the moment of the answer, some before it and some after, leave nothing behind.
func TestGoneWithTheAnswer(t *testing.T) {
	t.Parallel()
	for _, size := range []int{10, 3 * calls.InlineReply} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			t.Parallel()
			lanetest.Each(t, func(r *lanetest.Rig) {
				t := r.TB
				route := lanetest.TestRoute("gone")
				const callers = 150
				var leaving [callers]chan struct{}
				for i := range leaving {
					leaving[i] = make(chan struct{})
				}
				r.Serve(8, func(ctx context.Context, c lease.Claim) {
					i, err := strconv.Atoi(string(c.Request().Items[0]))
					if err != nil {
						t.Error(err)
					}
					res := r.Result(bytes.Repeat([]byte("1"), size))
					switch i % 3 {
					case 0:
						go close(leaving[i])
					case 1:
						defer close(leaving[i])
					}
					if err := c.Answer(ctx, res); err != nil {
						t.Errorf("answer: %v", err)
					}
				}, route)
				var all sync.WaitGroup
				var whole atomic.Int64
				for i := range callers {
					all.Go(func() {
						ctx, leave := context.WithCancel(t.Context())
						defer leave()
						go func() {
							select {
							case <-leaving[i]:
							case <-ctx.Done():
							}
							leave()
						}()
						res, err := r.Front.Call(ctx, route, lanetest.Request(route, strconv.Itoa(i)))
						if err == nil && res.Size() == int64(size) {
							whole.Add(1)
						}
						res.Release()
					})
				}
				all.Wait()
				if whole.Load() < callers/3 {
					t.Errorf("%d of %d callers got their answers, though every third waited for it", whole.Load(), callers)
				}
			}, lanetest.InProcess, lanetest.OverTCP, lanetest.Locally)
		})
	}
}

// A caller that leaves while the worker fetches its large body leaves nothing behind.
func TestGoneWhileTheBodyTravels(t *testing.T) {
	t.Parallel()
	lanetest.Each(t, func(r *lanetest.Rig) {
		t := r.TB
		route := lanetest.TestRoute("body")
		end, _ := r.NewWorkerEnd(1, route)
		in := end.Intake([]*inference.Route{route})
		defer in.Close()
		ctx, leave := context.WithCancel(t.Context())
		called := make(chan error, 1)
		go func() {
			_, err := r.Front.Call(ctx, route, lanetest.Request(route, `"`+strings.Repeat("x", 40*parcel.PieceSize)+`"`))
			called <- err
		}()
		got, err := in.Lease(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		go leave()
		switch claimCtx, claim, err := got[0].Claim(t.Context()); {
		case err == nil: // the whole body was here first
			<-claimCtx.Done()
			claim.Drop()
		case claim != nil || claimCtx != nil:
			t.Errorf("a claim that failed with %v was handed out", err)
		}
		if err := <-called; fault.CodeOf(err) == fault.Internal || err == nil {
			t.Errorf("got %v", err)
		}
		r.Account("calls of the worker", func() int64 { return int64(end.Held()) })
	}, lanetest.OverTCP, lanetest.Locally)
}

// A caller may keep its answer for as long as it likes, even after its time is over.
func TestAnswerOutlivesItsCall(t *testing.T) {
	t.Parallel()
	lanetest.Each(t, func(r *lanetest.Rig) {
		t := r.TB
		route := lanetest.TestRoute("kept")
		r.Serve(1, r.Echo, route)
		for _, size := range []int{1, 2 * calls.InlineReply, 2 * calls.InlineRequest} {
			ctx, leave := context.WithCancel(t.Context())
			text := `"` + strings.Repeat("x", size) + `"`
			res, err := r.Front.Call(ctx, route, lanetest.Request(route, text))
			leave()
			if err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			again, err := r.Front.Call(t.Context(), route, lanetest.Request(route, `"y"`))
			if err != nil {
				t.Fatal(err)
			}
			if string(res.Items[0]) != text || string(again.Items[0]) != `"y"` {
				t.Errorf("%d bytes: the answer has changed", size)
			}
			again.Release()
			res.Release()
			res.Release() // twice does no harm
		}
	}, lanetest.InProcess, lanetest.OverTCP, lanetest.Locally)
}

// The first connection of a front end may be lost and come back while it still makes the second one.
func TestConnectionIsBackEarly(t *testing.T) {
	t.Parallel()
	front, err := calls.NewFrontEnd(link.Dial{URL: "nats://127.0.0.1:1"}, nil, budget.New(1), lanetest.TestLog(t))
	if err != nil {
		t.Fatal(err)
	}
	front.ConnectionBack()
	if front.Ready() == nil {
		t.Error("a front end without a connection is ready")
	}
}
