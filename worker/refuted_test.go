package worker_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/worker"
)

// Another model takes the place of one whose rows did not depend on each other. The check of one shared call finds out while a
// second one is in flight: the answers of neither reach callers, who get those that they would have got alone.
func TestCallsInFlightAreNotHandedOutAfterARefutation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var dependent, check atomic.Bool
		var companies atomic.Int64
		model := &texts{fixed: 12 * time.Millisecond, row: time.Millisecond, slow: 30 * time.Millisecond}
		model.reply = func(inputs []string) (provider.Reply, error) {
			if !dependent.Load() || len(inputs) == 1 {
				return predict(inputs)
			}
			companies.Add(1)
			check.Store(false) // the first shared call is checked, the next one is not
			var others []string
			for _, in := range inputs {
				others = append(others, in+" in company")
			}
			return predict(others)
		}
		s := openWith(t, model, limits(inference.BatchAuto), 2, worker.Deps{Random: func() float64 {
			if check.Load() {
				return 0
			}
			return 0.5
		}})
		// Requests of other parameters go into a call of their own.
		ask := func(i int) *call {
			c := &call{from: s.calls, route: "a", ctx: t.Context(), result: make(chan string, 1), request: prompt(fmt.Sprint("text ", i))}
			c.request.Params = []byte(`{"temperature": 0}`)
			if i%2 == 0 {
				c.request.Params = []byte(`{"temperature": 1}`)
			}
			s.calls.put(c)
			return c
		}
		for range 100 {
			var asked []*call
			for i := range 24 {
				asked = append(asked, ask(i))
			}
			for i, c := range asked {
				s.check(c, fmt.Sprint("text ", i))
			}
		}
		dependent.Store(true)
		// The slots become free one after the other, so that the second shared call begins when the first one has been answered and
		// is checked.
		holds := []*call{s.hold(), s.ask(t.Context(), "slow hold")}
		synctest.Wait()
		var asked []*call
		for i := range 24 {
			asked = append(asked, ask(i))
		}
		synctest.Wait()
		check.Store(true)
		s.check(holds[0], "hold")
		s.check(holds[1], "slow hold")
		for i, c := range asked {
			s.check(c, fmt.Sprint("text ", i))
		}
		if n := companies.Load(); n != 2 {
			t.Errorf("%d shared calls, want 2", n)
		}
		s.stop()
	})
}
