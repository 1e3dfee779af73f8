package worker

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"headrace/internal/inference"
	"headrace/worker/batch"
	"headrace/worker/learned"
)

// A trial of a size ends with what is recorded, and nothing is recorded during one of slots, which waits for that of a size in
// turn. A shared call that began before a trial of slots and ends during it must begin none of sizes: neither would ever end.
func TestATrialOfSlotsEndsWhateverWasInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const took = 20 * time.Millisecond
		r := &inference.Route{Name: "a", Type: inference.Completions, Servers: []string{"http://one"}}
		r.Batch = inference.Batch{Mode: inference.BatchOn, MaxItems: 64, MaxBytes: 1 << 20, GatherMax: time.Millisecond}
		d := newDesk(spec{slots: 4, learn: true, routes: []*inference.Route{r}}, learned.Stored{}, func() float64 { return 0.5 }, func(time.Duration) {})
		d.claiming = 1 // something always waits
		one := batch.Load{Rows: 1, Length: 8}
		begin := func(merges bool) *load {
			d.busy++
			l := &load{trial: d.known.Trial(), requests: []*request{{merges: merges, item: batch.Item{Key: batch.Key{Route: "a"}}}}}
			l.batch.Load, l.batch.Left = one, 1
			return l
		}
		// What is known of costs is one call short of a trial.
		learner, other := d.known.Route("a").Learner, batch.NewLearner(batch.Limits{MaxRows: 64, MaxBytes: 1 << 20, GatherMax: time.Millisecond}, batch.Snapshot{})
		for other.Record(one, took, 1, time.Now()); other.Settled(); other.Record(one, took, 1, time.Now()) {
			learner.Record(one, took, 1, time.Now())
		}
		trial := func(want bool) {
			t.Helper()
			for range 20_000 {
				if d.known.Trial() == want {
					return
				}
				l := begin(false)
				time.Sleep(took / time.Duration(d.known.Width())) //nolint:forbidigo // the bubble's clock
				d.answered(l, took)
			}
			t.Fatalf("after 20,000 calls a trial of slots is on: %v", !want)
		}
		shared := begin(true)
		trial(true)
		d.answered(shared, took)
		trial(false)
		d.answered(begin(true), took)
		if learner.Settled() {
			t.Error("the next call begins no trial of sizes, so the one before could not have either")
		}
	})
}

// What a slot gathers was chosen while rows did not depend on each other; it goes out by what is known when it is sent.
func TestWhatWasGatheredIsSentAloneAfterARefutation(t *testing.T) {
	t.Parallel()
	for refuted, want := range map[bool]int{false: 2, true: 1} {
		r := &inference.Route{Name: "a", Type: inference.Completions, Servers: []string{"http://one"}}
		r.Batch = inference.Batch{Mode: inference.BatchAuto, MaxItems: 64, MaxBytes: 1 << 20, GatherMax: time.Millisecond}
		d := newDesk(spec{slots: 1, routes: []*inference.Route{r}}, learned.Stored{}, func() float64 { return 0.5 }, func(time.Duration) {})
		route, now := d.known.Route("a"), time.Now()
		for range 2 {
			if route.Proof.Probe(now) {
				route.Proof.Probed(batch.Outcome{Alone: true, Merged: true, Equal: true}, now)
			}
		}
		g := &pending{batch: batch.Batch{Members: []int{0, 1}, Load: batch.Load{Rows: 2, Length: 8}}, began: now, rows: 2, until: now}
		for range 2 {
			one := &request{ctx: t.Context(), merges: true, item: batch.Item{Key: batch.Key{Route: "a"}, Rows: 1, Length: 8, Bytes: 8, Arrival: now}}
			g.requests, g.items = append(g.requests, one), append(g.items, one.itemFor(route))
		}
		d.waiting, d.pending = slices.Clone(g.requests), g
		if refuted {
			route.Proof.Shadowed(batch.Outcome{Alone: true, Merged: true, Reason: "different texts"})
		}
		l := d.next()
		if l == nil || len(l.requests) != want || len(d.waiting) != 2-want {
			t.Errorf("refuted %v: %+v goes out and %d wait, want %d of 2", refuted, l, len(d.waiting), want)
		}
	}
}
