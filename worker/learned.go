package worker

import (
	"time"

	"headrace/internal/inference"
	"headrace/worker/batch"
)

// Learned is what was learned of one model server, in a form that is stored.
type Learned struct {
	Slots  int                     `json:"slots,omitempty"` // 0: they are given
	Routes map[string]RouteLearned `json:"routes,omitempty"`
}

// RouteLearned is what was learned of one route.
type RouteLearned struct {
	Cost  batch.Snapshot   `json:"cost"`
	Proof batch.ProofState `json:"proof"`
}

// rowless is after how many requests in a row that cannot be part of a probe none is waited for.
const rowless = 8

// learned is what is known of one route. It belongs to its desk.
type learned struct {
	batch   inference.Batch
	learner *batch.Learner
	proof   *batch.Proof
	lengths [rowless]int // of the longest rows of late; 0 = of a request that shares no calls
	seen    int
	single  int // requests in a row that cannot be part of a probe
	calls   Batches
}

// Batches counts the calls of one route.
type Batches struct {
	Calls     uint64 // to the model server
	Shared    uint64 // of these, by several requests
	Requests  uint64 // in all
	Items     uint64
	Isolating uint64 // calls made to find what failed a shared one
}

func newLearned(r *inference.Route, known RouteLearned) *learned {
	mode := batch.Mode(r.Batch.Mode)
	if mode == "" {
		mode = batch.Off
	}
	return &learned{
		batch: r.Batch,
		learner: batch.NewLearner(batch.Limits{
			MaxRows: r.Batch.MaxItems, MaxBytes: r.Batch.MaxBytes, GatherMax: r.Batch.GatherMax, LatencyMax: r.Batch.LatencyMax,
		}, known.Cost),
		proof: batch.NewProof(mode, known.Proof),
	}
}

// saw takes note of a request that was claimed.
func (l *learned) saw(r *request) {
	length := 0
	if r.merges && !r.alone {
		length = max(r.item.Length, 1)
	}
	l.lengths[l.seen%rowless] = length
	l.seen++
	if l.single++; probes(r) {
		l.single = 0
	}
}

// want is how many requests one slot can use.
func (l *learned) want(now time.Time) int {
	if !l.batch.Shares() {
		return 1
	}
	if !l.proof.May() {
		if l.seen == 0 || l.single >= rowless || !l.proof.Due(now) {
			return 1
		}
		return batch.ProbeMembers
	}
	most := 1
	for _, length := range l.lengths {
		if length > 0 {
			most = max(most, l.learner.Size(length, now))
		}
	}
	return most
}
