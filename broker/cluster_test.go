package broker_test

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"headrace/broker/link"
)

// slow is how long after its place in the queue a job on a healthy, idle cluster may start.
const slow = time.Second

// busy is the same where other tests run beside it; a lost message takes a job 30 s.
const busy = 10 * time.Second

func TestBothLanesRunOnThreeServers(t *testing.T) {
	t.Parallel()
	b := newBoth(t, 6)
	length := 3 * time.Second
	if os.Getenv("CLUSTER") != "" {
		length = 20 * time.Second
	}
	called, placed := b.run(40, length, 10*time.Second, nil)
	all := b.ends(placed, 45*time.Second)
	t.Logf("%d calls: %s", len(called), spread(times(called)))
	t.Logf("%d jobs: accepted %s; started %s", len(placed), spread(times(placed)), spread(waits(all)))
	took := times(called)
	slices.Sort(took)
	n := len(took)
	if n == 0 {
		t.Fatalf("no call is answered on a healthy cluster:\n%s", failures(called))
	}
	if took[n/2] > 5*modelTime {
		t.Skip("the machine is too busy to tell")
	}
	if text := failures(append(called, placed...)); text != "" {
		t.Errorf("failures on a healthy cluster:\n%s", text)
	}
	late := 0
	for _, one := range all {
		if one.record == nil || one.wait > busy {
			late++
		}
	}
	if late > 0 {
		t.Errorf("%d of %d jobs started more than %s late, or not at all", late, len(all), busy)
	}
	if took[n-1] > 2*slow {
		t.Errorf("a call took %s", took[n-1])
	}
}

func TestRunningLanesNeedOneServerLessAndNoBrokerRole(t *testing.T) {
	t.Parallel()
	b := newBoth(t, 2)
	b.stopBroker()
	for _, node := range b.cluster.Nodes {
		node.Blink()
	}
	b.works(t, 5*time.Second)
	b.cluster.Leads(link.LaneOf(b.routes[0]).Stream).Kill()
	b.works(t, 20*time.Second)
}

// works sees that each route answers calls and runs jobs, within a time.
func (b *both) works(tb testing.TB, within time.Duration) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), within)
	defer cancel()
	for _, route := range b.routes {
		again(ctx, tb, func() error { return b.call(b.fronts[0], route, within).err })
		var placed asked
		again(ctx, tb, func() error {
			placed = b.place(b.desks[0], route)
			return placed.err
		})
		if placed.err == nil && b.ends([]asked{placed}, within)[0].record == nil {
			tb.Errorf("job %s does not end", placed.id)
		}
	}
}

// again does what callers do who are told to try again.
func again(ctx context.Context, tb testing.TB, do func() error) {
	tb.Helper()
	err := do()
	for err != nil && ctx.Err() == nil {
		tb.Logf("trying again: %v", err)
		link.PauseFor(ctx, 100*time.Millisecond)
		err = do()
	}
	if err != nil {
		tb.Error(err)
	}
}

func TestCallsOutliveTheOnlyServerOfTheirStream(t *testing.T) {
	t.Parallel()
	b := bothWith(t, 1, 1)
	route := b.routes[0]
	again(t.Context(), t, func() error { return b.call(b.fronts[0], route, 10*time.Second).err })
	b.cluster.Leads(link.LaneOf(route).Stream).Kill()
	began := time.Now()
	again(t.Context(), t, func() error { return b.call(b.fronts[0], route, 20*time.Second).err })
	t.Logf("answered after %s", time.Since(began).Round(time.Millisecond))
}
