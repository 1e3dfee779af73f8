package broker_test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"headrace/broker/calls"
	"headrace/broker/jobs"
	"headrace/broker/sweeper"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/job"
	"headrace/internal/lanetest"
	"headrace/internal/lease"
	"headrace/internal/natstest"
)

// both is both lanes on a cluster of three servers: a broker role, front ends and workers.
type both struct {
	*lanetest.Rig

	cluster *natstest.Cluster
	routes  []*inference.Route
	fronts  []*calls.FrontEnd
	desks   []*jobs.Desk

	stopBroker func()
}

// broker runs a broker role, until stopBroker is called.
func (b *both) broker() {
	b.TB.Helper()
	sweeper, err := sweeper.New(b.Dial, nil, nil, b.Log)
	if err != nil {
		b.TB.Fatal(err)
	}
	stopKeeper, stopSweeper := b.Keep(), lanetest.Background(b.TB, sweeper.Run)
	b.stopBroker = func() {
		stopKeeper()
		stopSweeper()
	}
}

// modelTime is how long the model servers of these tests take.
const modelTime = 20 * time.Millisecond

// newBoth has two front ends and two workers of eight slots, which serve all routes.
func newBoth(tb testing.TB, routes int) *both {
	tb.Helper()
	b := bothWith(tb, 3, routes)
	b.works(tb, 20*time.Second) // which makes streams and consumers
	return b
}

// bothWith is newBoth with a number of copies of each stream.
func bothWith(tb testing.TB, copies, routes int) *both {
	tb.Helper()
	c := natstest.StartCluster(tb, 3)
	b := &both{Rig: lanetest.NewClusterRig(tb, c, copies), cluster: c}
	b.broker()
	b.fronts = []*calls.FrontEnd{b.Front, b.NewFront()}
	for range b.fronts {
		desk, err := jobs.New(jobs.Config{Dial: b.Dial, Log: b.Log})
		if err != nil {
			tb.Fatal(err)
		}
		lanetest.Background(tb, desk.Run)
		b.desks = append(b.desks, desk)
	}
	for n := range routes {
		b.routes = append(b.routes, lanetest.TestRoute(fmt.Sprintf("route%d", n)))
	}
	var stops []func()
	for range 2 {
		stops = append(stops, b.Serve(8, b.answer, b.routes...))
	}
	tb.Cleanup(func() { // together: each waits for its last pulls
		var stopping sync.WaitGroup
		for _, stop := range stops {
			stopping.Go(stop)
		}
		stopping.Wait()
	})
	for _, desk := range b.desks {
		if !lanetest.Eventually(func() bool { return desk.Ready() == nil }) {
			tb.Fatal(desk.Ready())
		}
	}
	return b
}

// answer is a model server that echoes, in modelTime.
func (b *both) answer(ctx context.Context, c lease.Claim) {
	items := make([][]byte, len(c.Request().Items))
	for i, item := range c.Request().Items {
		items[i] = slices.Clone(item)
	}
	select {
	case <-time.After(modelTime):
		if err := c.Answer(ctx, b.Result(items...)); err != nil {
			b.TB.Logf("answer: %v", err)
		}
	case <-ctx.Done():
		c.Drop()
	}
}

// asked is one call or one accepted job, as its caller saw it.
type asked struct {
	at   time.Duration // since the load began
	took time.Duration // until the answer, or until the job was accepted
	err  error
	id   job.ID // of a job that was accepted
	desk *jobs.Desk
}

// ended is what became of an accepted job.
type ended struct {
	asked

	record *job.Record // nil when it has not ended
	wait   time.Duration
}

// run makes calls and places jobs for a time, perSecond of each, and does not wait for answers before it makes the next ones.
// during runs beside it.
func (b *both) run(perSecond int, length, timeout time.Duration, during func()) (called, placed []asked) {
	b.TB.Helper()
	var mu sync.Mutex
	var asking sync.WaitGroup
	if during != nil {
		asking.Go(during)
	}
	began := time.Now()
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for n := 0; time.Since(began) < length; n++ {
		<-tick.C
		at, route, side := time.Since(began), b.routes[n%len(b.routes)], n/len(b.routes)%len(b.fronts)
		asking.Go(func() {
			one := b.call(b.fronts[side], route, timeout)
			one.at = at
			mu.Lock()
			defer mu.Unlock()
			called = append(called, one)
		})
		asking.Go(func() {
			one := b.place(b.desks[side], route)
			one.at = at
			mu.Lock()
			defer mu.Unlock()
			placed = append(placed, one)
		})
	}
	asking.Wait()
	return called, placed
}

func (b *both) call(front *calls.FrontEnd, route *inference.Route, timeout time.Duration) asked {
	ctx, cancel := context.WithTimeout(b.TB.Context(), timeout)
	defer cancel()
	began := time.Now()
	result, err := front.Call(ctx, route, lanetest.Request(route, `"hello"`))
	result.Release()
	return asked{took: time.Since(began), err: err}
}

func (b *both) place(desk *jobs.Desk, route *inference.Route) asked {
	began := time.Now()
	r, _, err := desk.Accept(b.TB.Context(), record(route), []byte(`"hello"`), lanetest.Request(route, `"hello"`))
	one := asked{took: time.Since(began), err: err, desk: desk}
	if err == nil {
		one.id = r.ID
	}
	return one
}

// record is a job's record as a front end makes it.
func record(route *inference.Route) *job.Record {
	return &job.Record{
		ID: job.NewID(time.Now()), Route: route.Name, Provider: route.Provider, Type: route.Type, Priority: job.Standard,
		Total: time.Hour, ResultTTL: time.Hour, Retry: job.Retry{MaxAttempts: 3}, Store: job.StoreBoth,
		Fingerprint: "f", Durability: "replicated",
	}
}

// ends waits until all accepted jobs have ended, for patience altogether.
func (b *both) ends(placed []asked, patience time.Duration) (all []ended) {
	b.TB.Helper()
	ctx, cancel := context.WithTimeout(b.TB.Context(), patience)
	defer cancel()
	for _, one := range placed {
		if one.err != nil {
			continue
		}
		e := ended{asked: one}
		for ctx.Err() == nil {
			r, err := one.desk.Wait(ctx, one.id, func(r *job.Record) bool { return r.State.Terminal() })
			if err == nil && r.State.Terminal() {
				e.record = r
				if r.StartedAt != nil && r.QueuedAt != nil {
					e.wait = r.StartedAt.Sub(*r.QueuedAt)
				}
				break
			}
			if fault.CodeOf(err) != fault.NoWorkers {
				break
			}
		}
		all = append(all, e)
	}
	return all
}

// spread is what a run's times look like.
func spread(times []time.Duration) string {
	if len(times) == 0 {
		return "none"
	}
	slices.Sort(times)
	at := func(share float64) time.Duration {
		return times[int(share*float64(len(times)-1))].Round(time.Millisecond)
	}
	return fmt.Sprintf("p50 %s, p99 %s, max %s", at(0.5), at(0.99), at(1))
}

// times are those of calls that were answered.
func times(all []asked) (took []time.Duration) {
	for _, one := range all {
		if one.err == nil {
			took = append(took, one.took)
		}
	}
	return took
}

// waits are those of jobs that have ended, from their place in the queue to their first start.
func waits(all []ended) (took []time.Duration) {
	for _, one := range all {
		if one.record != nil {
			took = append(took, one.wait)
		}
	}
	return took
}

// ids are those of jobs.
var ids = regexp.MustCompile(`job[ _/]+[a-z0-9_]*`)

// failures counts errors by their text.
func failures(all []asked) string {
	count := make(map[string]int)
	for _, one := range all {
		if one.err != nil {
			count[ids.ReplaceAllString(one.err.Error(), "job ...")]++
		}
	}
	var lines []string
	for text, n := range count {
		lines = append(lines, fmt.Sprintf("%d x %.150s", n, text))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
