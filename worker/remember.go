package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"time"

	"headrace/worker/learned"
)

// Memory keeps what was learned from one process to the next. Keys name model servers and hold no secrets.
type Memory interface {
	// Load is what was saved last; nil when nothing was, or it cannot be read.
	Load() map[string]learned.Stored
	Save(learned map[string]learned.Stored) error
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
		p.desk.learn(func(s *learned.Server) { w.learned[p.desk.name] = s.Store() })
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
		n := 0
		p.desk.learn(func(s *learned.Server) { n = s.Slots() })
		if n > 0 {
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

// memoryName is the name of a model server in a Memory.
func memoryName(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:16])
}
