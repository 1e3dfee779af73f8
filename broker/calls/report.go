package calls

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
	"headrace/internal/inference"
)

// maxReport bounds what one worker says of its model servers, in bytes; what does not fit is left out.
const maxReport = 256 << 10

// PoolReport is what a worker knows of the replicas of one model server.
type PoolReport struct {
	Routes   []string            `json:"routes"`
	Replicas []inference.Replica `json:"replicas"` // addresses without what may be secret in them
	// Batching is what was learned of the routes.
	Batching []inference.Batching `json:"batching,omitempty"`
}

// report is what a worker says every second, beside its presence.
type report struct {
	Worker string       `json:"worker"`
	Pools  []PoolReport `json:"pools"`
}

// Report sets where the worker's end learns how the replicas of its model servers fare. It must be called before
// Run.
func (w *WorkerEnd) Report(pools func() []PoolReport) { w.pools = pools }

// reportNow tells all front ends.
func (w *WorkerEnd) reportNow() {
	if w.pools == nil {
		return
	}
	r := report{Worker: w.id, Pools: w.pools()}
	text, err := json.Marshal(r)
	for err == nil && len(text) > maxReport && len(r.Pools) > 0 {
		r.Pools = r.Pools[:len(r.Pools)/2]
		text, err = json.Marshal(r)
	}
	if err != nil {
		w.log.Warn("telling how replicas fare", "error", err)
		return
	}
	if err := w.link.NC.Publish(link.SubjectStates, text); err != nil {
		w.log.Debug("telling how replicas fare", "error", err)
	}
}

// reports is the latest report of each worker, as one front end has it.
type reports struct {
	mu      sync.Mutex
	workers map[string]reported
}

type reported struct {
	at    time.Time
	pools []PoolReport
}

func (r *reports) note(msg *nats.Msg) error {
	var told report
	if err := json.Unmarshal(msg.Data, &told); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.workers == nil {
		r.workers = make(map[string]reported)
	}
	now := time.Now()
	for worker, old := range r.workers {
		if now.Sub(old.at) > presenceLost {
			delete(r.workers, worker)
		}
	}
	r.workers[told.Worker] = reported{now, told.Pools}
	return nil
}

// of merges what live workers say of a route's replicas: calls add up, and one that any worker reaches is up.
func (r *reports) of(route string) []inference.Replica {
	r.mu.Lock()
	defer r.mu.Unlock()
	var merged []inference.Replica
	at := make(map[string]int)
	for _, told := range r.workers {
		if time.Since(told.at) > presenceLost {
			continue
		}
		for _, pool := range told.pools {
			if !pool.serves(route) {
				continue
			}
			for _, replica := range pool.Replicas {
				i, known := at[replica.URL]
				if !known {
					at[replica.URL] = len(merged)
					merged = append(merged, replica)
					continue
				}
				merged[i] = joinedReplica(merged[i], replica)
			}
		}
	}
	return merged
}

// batching is what each live worker has learned of a route.
func (r *reports) batching(route string) []inference.Batching {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []inference.Batching
	for _, worker := range slices.Sorted(maps.Keys(r.workers)) {
		told := r.workers[worker]
		if time.Since(told.at) > presenceLost {
			continue
		}
		for _, pool := range told.pools {
			for _, b := range pool.Batching {
				if b.Route == route {
					all = append(all, b)
				}
			}
		}
	}
	return all
}

func (p *PoolReport) serves(route string) bool { return slices.Contains(p.Routes, route) }

func joinedReplica(a, b inference.Replica) inference.Replica {
	rank := map[string]int{"up": 3, "aside": 2, "down": 1}
	if rank[b.State] > rank[a.State] {
		a.State = b.State
	}
	if a.Format == "" {
		a.Format = b.Format
	}
	a.Busy += b.Busy
	a.Failures = min(a.Failures, b.Failures)
	return a
}
