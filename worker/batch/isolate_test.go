package batch_test

import (
	"fmt"
	"math/bits"
	"testing"
	"time"

	"headrace/worker/batch"
)

// TestOnlyBadMembersAreBlamed isolates every pair of bad members, and each single one, in batches of 2 to 64.
func TestOnlyBadMembersAreBlamed(t *testing.T) {
	t.Parallel()
	for n := 2; n <= 64; n++ {
		for first := range n {
			for second := first; second < n; second++ {
				all := make([]int, n)
				for i := range all {
					all[i] = i
				}
				isolation, calls := batch.Isolate(all), 0
				answered, blamed := map[int]int{}, map[int]int{}
				for group := isolation.Next(); group != nil; group = isolation.Next() {
					calls++
					bad := false
					for _, m := range group {
						bad = bad || m == first || m == second
					}
					switch {
					case !bad:
						for _, m := range group {
							answered[m]++
						}
					case len(group) == 1:
						blamed[group[0]]++
					default:
						isolation.Failed(group)
					}
				}
				count := 2
				if first == second {
					count = 1
				}
				if len(blamed) != count || blamed[first] != 1 || blamed[second] != 1 || len(answered) != n-count {
					t.Fatalf("%d members, %d and %d bad: blamed %v, answered %v", n, first, second, blamed, answered)
				}
				if most := count * (2*bits.Len(uint(n)) + 2); calls > most {
					t.Fatalf("%d members, %d and %d bad: %d calls, at most %d", n, first, second, calls, most)
				}
			}
		}
	}
}

func TestFailuresAreJudgedByWhatTheySay(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		ended batch.Ended
		want  batch.Verdict
	}{
		"one, 400":                      {batch.Ended{batch.Status, 400, 1, true}, batch.Verdict{Step: batch.Tell}},
		"several, 400":                  {batch.Ended{batch.Status, 400, 8, true}, batch.Verdict{Step: batch.Halve}},
		"several, 422":                  {batch.Ended{batch.Status, 422, 2, false}, batch.Verdict{Step: batch.Halve}},
		"several, 500":                  {batch.Ended{batch.Status, 500, 8, true}, batch.Verdict{Step: batch.Halve}},
		"several, too large":            {batch.Ended{batch.Status, 413, 8, true}, batch.Verdict{Step: batch.Halve, Shrink: true}},
		"several, 429":                  {batch.Ended{batch.Status, 429, 8, true}, batch.Verdict{Step: batch.Fail}},
		"one, 429":                      {batch.Ended{batch.Status, 429, 1, true}, batch.Verdict{Step: batch.Tell}},
		"several, 503":                  {batch.Ended{batch.Status, 503, 8, true}, batch.Verdict{Step: batch.Again, Replica: true}},
		"several, 503, no other":        {batch.Ended{batch.Status, 503, 8, false}, batch.Verdict{Step: batch.Fail, Replica: true}},
		"several, 504":                  {batch.Ended{batch.Status, 504, 8, true}, batch.Verdict{Step: batch.Halve, Shrink: true, Replica: true, Hold: true}},
		"one, 504":                      {batch.Ended{batch.Status, 504, 1, true}, batch.Verdict{Step: batch.Tell, Replica: true, Hold: true}},
		"several, 502":                  {batch.Ended{batch.Status, 502, 8, true}, batch.Verdict{Step: batch.Halve, Shrink: true, Replica: true}},
		"several, wrong counts":         {batch.Ended{batch.BadShape, 0, 8, true}, batch.Verdict{Step: batch.Halve}},
		"one, wrong counts":             {batch.Ended{batch.BadShape, 0, 1, true}, batch.Verdict{Step: batch.Tell}},
		"several, no connection":        {batch.Ended{batch.Refused, 0, 8, true}, batch.Verdict{Step: batch.Again, Replica: true}},
		"one, no connection":            {batch.Ended{batch.Refused, 0, 1, true}, batch.Verdict{Step: batch.Again, Replica: true}},
		"one, no connection, no other":  {batch.Ended{batch.Refused, 0, 1, false}, batch.Verdict{Step: batch.Tell, Replica: true}},
		"several, broken connection":    {batch.Ended{batch.Broken, 0, 8, true}, batch.Verdict{Step: batch.Halve, Shrink: true, Replica: true}},
		"several, no answer in time":    {batch.Ended{batch.TimedOut, 0, 8, true}, batch.Verdict{Step: batch.Halve, Shrink: true, Replica: true, Hold: true}},
		"several, no answer, no others": {batch.Ended{batch.TimedOut, 0, 8, false}, batch.Verdict{Step: batch.Halve, Shrink: true, Replica: true, Hold: true}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := batch.Judge(tt.ended); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestIsolationTakesAtMostHalfOfAReplicasTime(t *testing.T) {
	t.Parallel()
	var s batch.Spent
	now, spent := epoch(), 0
	for range 100 { // 40 % of the time
		now = now.Add(time.Second)
		if s.Add(400*time.Millisecond, 1, now) {
			spent++
		}
	}
	if spent > 0 {
		t.Errorf("spent %d times by 40 %%", spent)
	}
	for range 100 { // 90 %
		now = now.Add(time.Second)
		if s.Add(900*time.Millisecond, 1, now) {
			spent++
		}
	}
	if spent < 3 {
		t.Errorf("spent %d times by 90 %% over 100 s", spent)
	}
}

func TestProof(t *testing.T) {
	t.Parallel()
	good := batch.Outcome{Alone: true, Merged: true, Equal: true}
	different := batch.Outcome{Alone: true, Merged: true, Reason: "different texts"}
	uncut := batch.Outcome{Alone: true, Reason: "status 400"}
	vain := batch.Outcome{}
	tests := map[string]struct {
		probes []batch.Outcome
		stage  batch.Stage
		may    bool
	}{
		"nothing yet":                {nil, batch.Unproven, false},
		"one probe":                  {[]batch.Outcome{good}, batch.Unproven, false},
		"two probes":                 {[]batch.Outcome{good, good}, batch.Proven, true},
		"two probes and a vain one":  {[]batch.Outcome{good, vain, good}, batch.Proven, true},
		"different in company":       {[]batch.Outcome{good, different}, batch.Refuted, false},
		"it cannot be cut":           {[]batch.Outcome{uncut}, batch.Refuted, false},
		"nothing is answered at all": {[]batch.Outcome{vain, vain, vain, vain, vain, vain, vain, vain}, batch.Refuted, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := batch.NewProof(batch.Auto, batch.ProofState{})
			for i, o := range tt.probes {
				if !p.Probe(epoch()) || p.Probe(epoch()) || p.May() {
					t.Fatalf("probe %d: exactly one at a time, and nothing merged", i)
				}
				p.Probed(o, epoch())
			}
			if p.State().Stage != tt.stage || p.May() != tt.may || (tt.stage == batch.Refuted) != (p.State().Reason != "") {
				t.Errorf("%+v, may %v", p.State(), p.May())
			}
			again := batch.NewProof(batch.Auto, p.State())
			if again.May() != tt.may {
				t.Error("a restart changes what is proven")
			}
		})
	}
	for mode, may := range map[batch.Mode]bool{batch.On: true, batch.Off: false} {
		if p := batch.NewProof(mode, batch.ProofState{}); p.May() != may || p.Probe(epoch()) || p.Shadow(0) {
			t.Errorf("mode %s", mode)
		}
	}
}

func TestRefutedRouteIsProbedAgainLater(t *testing.T) {
	t.Parallel()
	p := batch.NewProof(batch.Auto, batch.ProofState{})
	now := epoch()
	for _, pause := range []time.Duration{10 * time.Minute, 20 * time.Minute, 40 * time.Minute} {
		if !p.Probe(now) {
			t.Fatalf("no probe at %s", now.Sub(epoch()))
		}
		p.Probed(batch.Outcome{Alone: true}, now)
		if p.Probe(now.Add(pause - time.Second)) {
			t.Fatal("probed too early")
		}
		now = now.Add(pause)
	}
}

func TestShadowMismatchEndsMergingForGood(t *testing.T) {
	t.Parallel()
	p := batch.NewProof(batch.Auto, batch.ProofState{Stage: batch.Proven})
	if !p.Shadow(0.0005) || p.Shadow(0.002) {
		t.Error("one call in a thousand is checked")
	}
	p.Shadowed(batch.Outcome{Merged: true}) // the member failed alone: nothing is known
	if !p.May() {
		t.Fatal("a check that failed is no mismatch")
	}
	p.Shadowed(batch.Outcome{Alone: true, Merged: true, Reason: "different texts"})
	if p.May() || p.Probe(epoch().Add(1000*time.Hour)) || p.State().Reason == "" {
		t.Errorf("%+v", p.State())
	}
}

func TestHopelessItemsAreDroppedEarly(t *testing.T) {
	t.Parallel()
	l := trained(batch.Limits{MaxRows: 64})
	learner := func(string) *batch.Learner { return l }
	item := func(waited, left time.Duration) batch.Item {
		return batch.Item{Rows: 1, Length: 20, Arrival: epoch().Add(-waited), Deadline: epoch().Add(left)}
	}
	items := []batch.Item{
		item(time.Second, -1), item(time.Second, 5*time.Millisecond), item(0, 15*time.Millisecond), item(0, time.Second), {Rows: 1, Length: 20},
	}
	if s := batch.Sweep(items, learner, epoch()); fmt.Sprint(s) != "{[0] [1]}" {
		t.Errorf("%+v", s)
	}
	if s := batch.Sweep(items[:2], learner, epoch()); fmt.Sprint(s) != "{[0] []}" {
		t.Errorf("nothing else waits, so an estimate is put to the proof: %+v", s)
	}
}
