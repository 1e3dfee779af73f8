package learned_test

import (
	"testing"
	"time"

	"headrace/internal/inference"
	"headrace/worker/batch"
	"headrace/worker/learned"
)

func route(mode inference.BatchMode) *inference.Route {
	return &inference.Route{
		Name: "a", Type: inference.Completions,
		Batch: inference.Batch{Mode: mode, MaxItems: 64, MaxBytes: 1 << 20, GatherMax: time.Millisecond},
	}
}

// taught is a server whose route has seen calls of 12 ms and 1 ms a row.
func taught(r *inference.Route) *learned.Server {
	s := learned.NewServer(learned.Stored{}, 2, 0)
	s.Serve([]*inference.Route{r}, learned.Stored{})
	now := time.Now()
	for rows := range 32 {
		now = now.Add(time.Second)
		s.Route("a").Learner.Record(batch.Load{Rows: rows + 1, Length: 8}, time.Duration(13+rows)*time.Millisecond, 0, now)
	}
	return s
}

func TestWhatIsStoredIsKnownToTheNextServer(t *testing.T) {
	t.Parallel()
	r := route(inference.BatchOn)
	stored := taught(r).Store()
	next := learned.NewServer(stored, 2, 0)
	next.Serve([]*inference.Route{r}, stored)
	if c := next.Route("a").Learner.Cost(); !c.Known() {
		t.Errorf("the cost is %+v", c)
	}
	if next.Width() != 2 || next.Slots() != 0 {
		t.Errorf("%d slots were given, and %d learned", next.Width(), next.Slots())
	}
}

func TestARouteOfAnotherTypeIsLearnedAgain(t *testing.T) {
	t.Parallel()
	stored := taught(route(inference.BatchOn)).Store()
	r := route(inference.BatchOn)
	r.Type = inference.Embeddings
	next := learned.NewServer(stored, 2, 0)
	next.Serve([]*inference.Route{r}, stored)
	if c := next.Route("a").Learner.Cost(); c.Known() {
		t.Errorf("the cost %+v was taken over", c)
	}
}

func TestOnlyOtherLimitsMakeARouteForget(t *testing.T) {
	t.Parallel()
	r := route(inference.BatchOn)
	s := taught(r)
	s.Serve([]*inference.Route{r}, learned.Stored{})
	if !s.Route("a").Learner.Cost().Known() {
		t.Error("a table with the same route made it forget")
	}
	other := *r
	other.Batch.MaxItems = 8
	s.Serve([]*inference.Route{&other}, learned.Stored{})
	if s.Route("a").Learner.Cost().Known() {
		t.Error("it remembers costs of other limits")
	}
}

// A proof is made again by each process; the pause after a refutation is kept.
func TestOfProofsOnlyRefutationsAreStored(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		outcome batch.Outcome
		stage   batch.Stage
	}{
		"alike":     {batch.Outcome{Alone: true, Merged: true, Equal: true}, ""},
		"different": {batch.Outcome{Alone: true, Merged: true}, batch.Refuted},
	} {
		s := taught(route(inference.BatchAuto))
		proof, now := s.Route("a").Proof, time.Now()
		for range 8 {
			if proof.Probe(now) {
				proof.Probed(c.outcome, now)
			}
		}
		if got := s.Store().Routes["a"].Proof.Stage; got != c.stage {
			t.Errorf("%s: the stage %q was stored, not %q (it is %q)", name, got, c.stage, proof.State().Stage)
		}
	}
}

func TestSlotsThatAreLearnedBeginAsStored(t *testing.T) {
	t.Parallel()
	s := learned.NewServer(learned.Stored{Slots: 8}, 2, 64)
	if s.Width() < 8 || s.Slots() != 8 {
		t.Errorf("it begins with %d slots, of which %d are learned", s.Width(), s.Slots())
	}
}

func TestWhatSharingGivesIsFoundOutBeforeSlotsAreTried(t *testing.T) {
	t.Parallel()
	const took = 100 * time.Millisecond
	for mode, waits := range map[inference.BatchMode]bool{inference.BatchAuto: true, inference.BatchOff: false} {
		s := learned.NewServer(learned.Stored{}, 1, 4)
		s.Serve([]*inference.Route{route(mode)}, learned.Stored{})
		s.Route("a").Saw(8)
		s.Route("a").SawProbe()
		now := time.Now()
		for range 39 { // just before the time for it is over
			now = now.Add(took)
			s.Done(1, took, true, now)
		}
		if got := s.Width(); (got == 1) != waits {
			t.Errorf("%s: %d slots are tried", mode, got)
		}
		for range 40 { // a proof that never comes is not waited for
			now = now.Add(took)
			s.Done(1, took, true, now)
		}
		if s.Width() < 2 {
			t.Errorf("%s: more slots are never tried", mode)
		}
	}
}

// A reload takes out a route whose requests could be shared, and were not proven to be yet.
func TestARouteThatWasRemovedSteersNoSlots(t *testing.T) {
	t.Parallel()
	const took = 100 * time.Millisecond
	for removed, want := range map[bool]int{false: batch.ProbeMembers, true: 1} {
		s := learned.NewServer(learned.Stored{}, 1, 4)
		stays := route(inference.BatchOff)
		stays.Name = "b"
		routes := []*inference.Route{stays, route(inference.BatchAuto)}
		s.Serve(routes, learned.Stored{})
		s.Route("a").Saw(8)
		s.Route("a").SawProbe()
		if removed {
			s.Serve(routes[:1], learned.Stored{})
		}
		now := time.Now()
		if got := s.Want(now); got != want {
			t.Errorf("removed %v: a slot wants %d requests, not %d", removed, got, want)
		}
		for range 39 { // as long as the proof of a route that is served is waited for
			now = now.Add(took)
			s.Done(1, took, true, now)
		}
		if tried := s.Width() > 1; tried != removed {
			t.Errorf("removed %v: %d slots are tried", removed, s.Width())
		}
		if s.Route("a") == nil {
			t.Error("a call that still runs finds nothing of its route")
		}
	}
}

// A proof holds for the model that it was made with. A reload may make the route ask another one of the same server.
func TestARouteOfAnotherModelIsProvenAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*inference.Route)
		keeps  bool
	}{
		"nothing":      {func(*inference.Route) {}, true},
		"timeout":      {func(r *inference.Route) { r.Timeout = time.Hour }, true},
		"equal header": {func(r *inference.Route) { r.Headers = map[string]string{"X-Model": "one"} }, true},
		"header":       {func(r *inference.Route) { r.Headers = map[string]string{"X-Model": "two"} }, false},
		"model":        {func(r *inference.Route) { r.Model = "two" }, false},
		"provider":     {func(r *inference.Route) { r.Provider = "two" }, false},
		"type":         {func(r *inference.Route) { r.Type = inference.Embeddings }, false},
		"format":       {func(r *inference.Route) { r.Format = inference.FormatInputs }, false},
	} {
		was := route(inference.BatchAuto)
		was.Headers = map[string]string{"X-Model": "one"}
		s := taught(was)
		proof, now := s.Route("a").Proof, time.Now()
		for range 2 {
			if proof.Probe(now) {
				proof.Probed(batch.Outcome{Alone: true, Merged: true, Equal: true}, now)
			}
		}
		next := *was
		c.change(&next)
		s.Serve([]*inference.Route{&next}, learned.Stored{})
		if r := s.Route("a"); r.Proof.May() != c.keeps || r.Learner.Cost().Known() != c.keeps {
			t.Errorf("another %s: may share %v, knows the cost %v, want %v", name, r.Proof.May(), r.Learner.Cost().Known(), c.keeps)
		}
		if got := s.Store().Routes["a"].Type; got != next.Type {
			t.Errorf("another %s: it is stored as %v, not %v", name, got, next.Type)
		}
	}
}
