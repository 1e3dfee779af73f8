package worker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/worker"
)

// bench is a worker over a queue in memory and one model server.
type bench struct {
	t      *testing.T
	calls  *calls
	model  *model
	worker *worker.Worker
	stop   func() // drains, and waits for the end
}

func start(t *testing.T, table *inference.Table, grace time.Duration) *bench {
	t.Helper()
	b := &bench{t: t, calls: newCalls(), model: &model{took: time.Second}}
	var err error
	b.worker, err = worker.New(worker.Config{Grace: grace}, worker.Deps{
		Queue: b.calls, Providers: map[string]provider.Provider{"fake": b.model},
		Dial: func(r *inference.Route) (worker.Upstream, error) {
			if r.Servers[0] == "http://broken" {
				return nil, errors.New("no such address")
			}
			return b.model, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := b.worker.Run(ctx, table); err != nil {
			t.Error(err)
		}
	}()
	b.stop = func() {
		cancel()
		<-done
	}
	synctest.Wait()
	return b
}

func (b *bench) want(c *call, how string) {
	b.t.Helper()
	synctest.Wait()
	select {
	case got := <-c.result:
		if got != how {
			b.t.Errorf("the call ended with %q, want %q", got, how)
		}
	default:
		b.t.Errorf("the call has not ended; want %q", how)
	}
}

func (b *bench) left() {
	b.t.Helper()
	if b.calls.leased != 0 || b.calls.open != 0 || b.model.inFlight != 0 {
		b.t.Errorf("%d leased, %d intakes, %d calls are left", b.calls.leased, b.calls.open, b.model.inFlight)
	}
	for _, p := range b.worker.State() {
		if p.Busy != 0 {
			b.t.Errorf("%d slots of %s are busy", p.Busy, p.Server)
		}
	}
}

// A model server never gets more calls at a time than it has slots, whatever the route, and no surplus is leased.
func TestSlots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := start(t, inference.NewTable(route("a", 3, "http://one"), route("b", 2, "http://one")), time.Minute)
		var all []*call
		for i := range 20 {
			all = append(all, b.calls.add(t.Context(), []string{"a", "b"}[i%2]))
		}
		for second := range 7 {
			time.Sleep(900 * time.Millisecond) //nolint:forbidigo // the bubble's clock
			synctest.Wait()
			// A slot is free before its answer goes out, so what is leased is counted at rest.
			if leased, want := b.calls.now(), min(3, 20-3*second); leased != want {
				t.Errorf("after %d s %d calls are leased, want %d", second, leased, want)
			}
			time.Sleep(100 * time.Millisecond) //nolint:forbidigo // the bubble's clock
		}
		synctest.Wait()
		if b.model.most != 3 || b.model.ran != 20 {
			t.Errorf("%d calls at a time, %d ran", b.model.most, b.model.ran)
		}
		synctest.Wait()
		for _, c := range all {
			b.want(c, "answered")
		}
		b.stop()
		b.left()
		if b.calls.served != nil || !b.calls.settled {
			t.Error("the worker did not say that it leaves, or did not wait for what only it would run")
		}
	})
}

// What ends a call, and what it does to its slot.
func TestEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := start(t, inference.NewTable(route("a", 1, "http://one")), time.Minute)
		first := b.calls.add(t.Context(), "a") // its second is what the server usually takes
		time.Sleep(1500 * time.Millisecond)    //nolint:forbidigo // the bubble's clock
		b.want(first, "answered")

		refused := &call{from: b.calls, route: "a", ctx: t.Context(), gone: true, result: make(chan string, 1)}
		b.calls.put(refused)
		synctest.Wait()
		b.want(refused, "not claimed")

		b.model.answers(time.Second, fault.New(fault.UpstreamUnavailable, "refused"))
		failed := b.calls.add(t.Context(), "a")
		time.Sleep(1100 * time.Millisecond) //nolint:forbidigo // the bubble's clock
		b.want(failed, "upstream_unavailable")
		b.model.answers(time.Second, nil)

		ctx, leave := context.WithCancel(t.Context())
		left, next := b.calls.add(ctx, "a"), b.calls.add(t.Context(), "a")
		time.Sleep(400 * time.Millisecond) //nolint:forbidigo // the bubble's clock
		leave()
		synctest.Wait()
		b.want(left, "dropped")
		if ran := b.model.calls(); ran != 3 {
			t.Errorf("%d calls ran; the slot should wait for what is left of the server's second", ran)
		}
		time.Sleep(700 * time.Millisecond) //nolint:forbidigo // the bubble's clock
		if ran := b.model.calls(); ran != 4 {
			t.Errorf("%d calls ran; the slot should be free again", ran)
		}
		time.Sleep(time.Second) //nolint:forbidigo // the bubble's clock
		b.want(next, "answered")

		b.model.answers(time.Minute, nil)
		slow := b.calls.add(t.Context(), "a")
		time.Sleep(5500 * time.Millisecond) //nolint:forbidigo // the bubble's clock
		b.want(slow, "upstream_timeout")
		b.model.answers(time.Second, nil)
		after := b.calls.add(t.Context(), "a")
		time.Sleep(1600 * time.Millisecond) //nolint:forbidigo // the bubble's clock
		b.want(after, "answered")
		b.stop()
		b.left()
	})
}

// Draining lets running calls end, and cuts them off when the grace is over.
func TestDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := start(t, inference.NewTable(route("a", 2, "http://one")), 3*time.Second)
		running := b.calls.add(t.Context(), "a")
		b.model.answers(time.Second, nil)
		synctest.Wait()
		b.model.answers(time.Hour, nil)
		stuck := b.calls.add(t.Context(), "a")
		synctest.Wait()
		waits := b.calls.add(t.Context(), "a")
		began := time.Now()
		b.stop()
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("draining took %s", took)
		}
		b.want(running, "answered")
		b.want(stuck, "shutting_down")
		if len(waits.result) != 0 {
			t.Error("a call was leased while the worker drained")
		}
		if err := b.worker.Apply(nil, inference.NewTable(route("b", 1, "http://two"))); err != nil {
			t.Error(err)
		}
		b.left()
	})
}

// Tables change while calls run: nothing is lost, and a table that cannot be served changes nothing.
func TestApply(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first := inference.NewTable(route("a", 1, "http://one"))
		b := start(t, first, time.Minute)
		running := b.calls.add(t.Context(), "a")
		synctest.Wait()
		broken := inference.NewTable(route("a", 1, "http://one"), route("x", 1, "http://broken"))
		if err := b.worker.Apply(first, broken); err == nil {
			t.Error("a server that cannot be dialled is served")
		}
		moved := inference.NewTable(route("a", 1, "http://two"), route("b", 1, "http://one"))
		if err := b.worker.Apply(first, moved); err != nil {
			t.Fatal(err)
		}
		next, other := b.calls.add(t.Context(), "a"), b.calls.add(t.Context(), "b")
		time.Sleep(2500 * time.Millisecond) //nolint:forbidigo // the bubble's clock
		for _, c := range []*call{running, next, other} {
			b.want(c, "answered")
		}
		if err := b.worker.Apply(moved, inference.NewTable()); err != nil {
			t.Fatal(err)
		}
		unknown := b.calls.add(t.Context(), "a")
		time.Sleep(time.Minute) //nolint:forbidigo // the bubble's clock
		if len(unknown.result) != 0 || len(b.worker.Pools()) != 0 {
			t.Error("a removed route is served")
		}
		b.stop()
		b.left()
	})
}

func TestApplyBeforeRun(t *testing.T) {
	t.Parallel()
	w, err := worker.New(worker.Config{}, worker.Deps{
		Queue: newCalls(), Providers: map[string]provider.Provider{"fake": new(model)},
		Dial: func(*inference.Route) (worker.Upstream, error) { return new(model), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Apply(nil, inference.NewTable()); !errors.Is(err, worker.ErrNotStarted) {
		t.Errorf("got %v", err)
	}
	if _, err := worker.New(worker.Config{}, worker.Deps{}); err == nil {
		t.Error("a worker without anything is valid")
	}
	if _, err := worker.New(worker.Config{Grace: -1}, worker.Deps{Queue: newCalls(), Providers: map[string]provider.Provider{"fake": new(model)}, Dial: func(*inference.Route) (worker.Upstream, error) { return new(model), nil }}); err == nil {
		t.Error("a negative grace is valid")
	}
}

// Many calls, failures, leaving callers and changing tables: every call ends once, and no slot is lost.
func TestStress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		names := []string{"a", "b", "c", "d"}
		tableOf := func() *inference.Table {
			var routes []*inference.Route
			for i, name := range names {
				routes = append(routes, route(name, 1+random.IntN(3), fmt.Sprintf("http://server-%d", (i+random.IntN(2))%3)))
			}
			return inference.NewTable(routes...)
		}
		table := tableOf()
		b := start(t, table, time.Minute)
		b.model.answers(10*time.Millisecond, nil)
		var all []*call
		var leaving sync.WaitGroup
		for i := range 2000 {
			ctx, leave := context.WithCancel(t.Context())
			all = append(all, b.calls.add(ctx, names[random.IntN(len(names))]))
			if i%7 == 0 {
				pause := time.Duration(random.IntN(30)) * time.Millisecond
				leaving.Go(func() {
					time.Sleep(pause) //nolint:forbidigo // the bubble's clock
					leave()
				})
			} else {
				context.AfterFunc(t.Context(), leave)
			}
			if i%50 == 0 {
				next := tableOf()
				if err := b.worker.Apply(table, next); err != nil {
					t.Fatal(err)
				}
				table = next
				b.model.answers(10*time.Millisecond, nil)
				if random.IntN(3) == 0 {
					b.model.answers(10*time.Millisecond, fault.New(fault.UpstreamError, "no"))
				}
			}
			time.Sleep(2 * time.Millisecond) //nolint:forbidigo // the bubble's clock
		}
		leaving.Wait()
		time.Sleep(time.Minute) //nolint:forbidigo // the bubble's clock
		synctest.Wait()
		for i, c := range all {
			if len(c.result) != 1 {
				t.Errorf("call %d has ended %d times", i, len(c.result))
			}
		}
		b.stop()
		b.left()
		if b.model.released == 0 {
			t.Error("no reply was released")
		}
	})
}

// A call that has ended before its turn makes room for the next one, even if nothing else happens.
func TestCallsThatEndBeforeTheirTurnMakeRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := start(t, inference.NewTable(route("a", 1, "http://one")), time.Minute)
		for range 50 {
			c := &call{from: b.calls, route: "a", ctx: t.Context(), left: true, result: make(chan string, 1)}
			b.calls.put(c)
			b.want(c, "dropped")
			if t.Failed() {
				break
			}
		}
		last := b.calls.add(t.Context(), "a")
		time.Sleep(2 * time.Second) //nolint:forbidigo // the bubble's clock
		b.want(last, "answered")
		b.stop()
		b.left()
	})
}
