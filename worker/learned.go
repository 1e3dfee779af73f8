package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
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
	Type  inference.Type   `json:"type"`
	Cost  batch.Snapshot   `json:"cost"`
	Proof batch.ProofState `json:"proof"`
}

// Memory keeps what was learned from one process to the next. Keys name model servers and hold no secrets.
type Memory interface {
	// Load is what was saved last; nil when nothing was, or it cannot be read.
	Load() map[string]Learned
	Save(learned map[string]Learned) error
}

// saveEvery is how often what was learned is saved. It is cheap to learn again.
const saveEvery = 30 * time.Second

// announceEvery is how often front ends are told of slots whose number was learned, if it has changed.
const announceEvery = 2 * time.Second

// remember saves what was learned, and announces learned slots, until ctx ends; it saves once more then.
func (w *Worker) remember(ctx context.Context) {
	save, announce := time.NewTicker(saveEvery), time.NewTicker(announceEvery)
	defer save.Stop()
	defer announce.Stop()
	for {
		select {
		case <-announce.C:
			w.announce()
		case <-save.C:
			w.save()
		case <-ctx.Done():
			w.save()
			return
		}
	}
}

func (w *Worker) save() {
	if w.deps.Memory == nil {
		return
	}
	w.mu.Lock()
	for _, p := range w.pools {
		w.learned[p.desk.name] = p.desk.snapshot()
	}
	all := maps.Clone(w.learned)
	w.mu.Unlock()
	if err := w.deps.Memory.Save(all); err != nil {
		w.deps.Logger.Warn("what was learned of model servers could not be saved; it will be learned again", "error", err)
	}
}

// announce tells front ends of the slots of each route, if they have changed.
func (w *Worker) announce() {
	w.mu.Lock()
	defer w.mu.Unlock()
	slots := maps.Clone(w.announced)
	for _, p := range w.pools {
		if n := p.desk.learnedSlots(); n > 0 {
			for _, r := range p.spec.routes {
				slots[r.Name] = n
			}
		}
	}
	if !maps.Equal(slots, w.announced) {
		w.announced = slots
		w.deps.Queue.Serve(maps.Clone(slots))
	}
}

// learnedSlots is how many slots were learned, without any on trial; 0: their number is given.
func (d *desk) learnedSlots() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.slots == nil {
		return 0
	}
	return d.slots.Learned()
}

// memoryName is the name of a model server in a Memory.
func memoryName(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:16])
}

// snapshot is what to save. A proof holds for the model that it was made with, and another one may be served at the
// same address tomorrow: so proofs are made again by each process, and only the pause after a refutation is kept.
func (d *desk) snapshot() Learned {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := Learned{Routes: make(map[string]RouteLearned, len(d.routes))}
	if d.slots != nil {
		s.Slots = d.slots.Learned()
	}
	for name, l := range d.routes {
		r := RouteLearned{Type: l.kind, Cost: l.learner.Snapshot()}
		if p := l.proof.State(); p.Stage == batch.Refuted && !p.Again.IsZero() {
			r.Proof = p
		}
		s.Routes[name] = r
	}
	return s
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
	kind    inference.Type
	counts  inference.Batching // its counters only
}

func newLearned(r *inference.Route, known RouteLearned) *learned {
	mode := batch.Mode(r.Batch.Mode)
	if mode == "" {
		mode = batch.Off
	}
	if known.Type != r.Type {
		known = RouteLearned{}
	}
	return &learned{
		batch: r.Batch, kind: r.Type,
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
	return l.size(now)
}

// size is how many rows the next call may have, of the lengths seen of late.
func (l *learned) size(now time.Time) int {
	most := 1
	for _, length := range l.lengths {
		if length > 0 {
			most = max(most, l.learner.Size(length, now))
		}
	}
	return most
}

// state is what to show.
func (l *learned) state(route string, now time.Time) inference.Batching {
	s := l.counts
	s.Route, s.Mode, s.Stage, s.Size = route, l.batch.Mode, string(batch.Off), 1
	if s.Mode == "" {
		s.Mode = inference.BatchOff
	}
	if l.batch.Shares() {
		s.Stage = string(l.batch.Mode)
	}
	if l.batch.Mode == inference.BatchAuto {
		p := l.proof.State()
		s.Stage, s.Reason = string(p.Stage), p.Reason
	}
	if l.proof.May() {
		s.Size = l.size(now)
	}
	length, n := 0, 0
	for _, seen := range l.lengths {
		if seen > 0 {
			length, n = length+seen, n+1
		}
	}
	if n == 0 {
		return s
	}
	length /= n
	if pays, known := l.learner.Pays(length); known {
		s.Pays = &pays
	}
	if c := l.learner.Cost(); c.Known() {
		s.CallMS = 1000 * c.Fixed
		s.ItemMS = 1000 * (c.Of(batch.Load{Rows: 1, Length: length}).Seconds() - c.Fixed)
	}
	return s
}

// count adds a call that was answered.
func (l *learned) count(requests, rows int) {
	l.counts.Calls++
	l.counts.Requests += uint64(requests)
	l.counts.Items += uint64(rows)
}
