package learned

import (
	"maps"
	"time"

	"headrace/internal/inference"
	"headrace/worker/batch"
)

// rowless is after how many requests in a row that cannot be part of a probe none is waited for.
const rowless = 8

// Route is what is known of one route.
type Route struct {
	Learner *batch.Learner
	Proof   *batch.Proof

	of      *inference.Route
	lengths [rowless]int // of the longest rows of late; 0 = of a request that shares no calls
	seen    int
	single  int                // requests in a row that cannot be part of a probe
	counts  inference.Batching // its counters only
}

func newRoute(r *inference.Route, known StoredRoute) *Route {
	mode := batch.Mode(r.Batch.Mode)
	if mode == "" {
		mode = batch.Off
	}
	if known.Type != r.Type {
		known = StoredRoute{}
	}
	return &Route{
		of: r,
		Learner: batch.NewLearner(batch.Limits{
			MaxRows: r.Batch.MaxItems, MaxBytes: r.Batch.MaxBytes, GatherMax: r.Batch.GatherMax, LatencyMax: r.Batch.LatencyMax,
		}, known.Cost),
		Proof: batch.NewProof(mode, known.Proof),
	}
}

// holds says that what is known of a route holds for next as well: it shares calls within the same limits, and asks the same model
// in the same way.
func (r *Route) holds(next *inference.Route) bool {
	of := r.of
	return of.Batch == next.Batch && of.Type == next.Type && of.Provider == next.Provider && of.Model == next.Model &&
		of.Format == next.Format && maps.Equal(of.Headers, next.Headers) && equal(of.Vendor, next.Vendor) && equal(of.Output, next.Output)
}

func equal[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }

// Saw takes note of a request that was claimed, and of the length of its longest row: 0 for one that shares no calls.
func (r *Route) Saw(length int) {
	r.lengths[r.seen%rowless] = length
	r.seen++
	r.single++
}

// SawProbe takes note that the request that was seen last can be part of a probe.
func (r *Route) SawProbe() { r.single = 0 }

// want is how many requests one slot can use.
func (r *Route) want(now time.Time) int {
	if !r.of.Batch.Shares() {
		return 1
	}
	if !r.Proof.May() {
		if r.seen == 0 || r.single >= rowless || !r.Proof.Due(now) {
			return 1
		}
		return batch.ProbeMembers
	}
	return r.size(now)
}

// open says that it is not known yet whether sharing calls pays, and can be found out with what is asked.
func (r *Route) open() bool {
	if !r.of.Batch.Shares() || r.seen == 0 || r.single >= rowless {
		return false
	}
	if !r.Proof.May() {
		stage := r.Proof.State().Stage
		return stage == batch.Unproven || stage == batch.Probing
	}
	for _, length := range r.lengths {
		if length == 0 {
			continue
		}
		_, known := r.Learner.Pays(length)
		return !known
	}
	return false
}

// size is how many rows the next call may have, of the lengths seen of late.
func (r *Route) size(now time.Time) int {
	most := 1
	for _, length := range r.lengths {
		if length > 0 {
			most = max(most, r.Learner.Size(length, now))
		}
	}
	return most
}

// State is what to show.
func (r *Route) State(route string, now time.Time) inference.Batching {
	s := r.counts
	s.Route, s.Mode, s.Stage, s.Size = route, r.of.Batch.Mode, string(batch.Off), 1
	if s.Mode == "" {
		s.Mode = inference.BatchOff
	}
	if r.of.Batch.Shares() {
		s.Stage = string(r.of.Batch.Mode)
	}
	if r.of.Batch.Mode == inference.BatchAuto {
		p := r.Proof.State()
		s.Stage, s.Reason = string(p.Stage), p.Reason
	}
	if r.Proof.May() {
		s.Size = r.size(now)
	}
	length, n := 0, 0
	for _, seen := range r.lengths {
		if seen > 0 {
			length, n = length+seen, n+1
		}
	}
	if n == 0 {
		return s
	}
	length /= n
	if pays, known := r.Learner.Pays(length); known {
		s.Pays = &pays
	}
	if c := r.Learner.Cost(); c.Known() {
		s.CallMS = 1000 * c.Fixed
		s.ItemMS = 1000 * (c.Of(batch.Load{Rows: 1, Length: length}).Seconds() - c.Fixed)
	}
	return s
}

// Count adds a call that was answered.
func (r *Route) Count(requests, rows int) {
	r.counts.Calls++
	r.counts.Requests += uint64(requests)
	r.counts.Items += uint64(rows)
}

func (r *Route) store() StoredRoute {
	stored := StoredRoute{Type: r.of.Type, Cost: r.Learner.Snapshot()}
	if p := r.Proof.State(); p.Stage == batch.Refuted && !p.Again.IsZero() {
		stored.Proof = p
	}
	return stored
}
