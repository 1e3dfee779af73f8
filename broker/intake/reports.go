package intake

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/internal/inference"
)

// Reports is the latest report of each worker, as one front end has it. The zero value has none.
type Reports struct {
	mu      sync.Mutex
	workers map[string]reported
}

// reported is one worker's report and when it came.
type reported struct {
	at    time.Time
	pools []PoolReport
}

// Note takes a report in, and drops those of workers that have gone silent.
func (r *Reports) Note(msg *nats.Msg) error {
	var told Report
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
		if now.Sub(old.at) > PresenceLost {
			delete(r.workers, worker)
		}
	}
	r.workers[told.Worker] = reported{now, told.Pools}
	return nil
}

// Of merges what live workers say of a route's replicas: calls add up, and one that any worker reaches is up.
func (r *Reports) Of(route string) []inference.Replica {
	r.mu.Lock()
	defer r.mu.Unlock()
	var merged []inference.Replica
	at := make(map[string]int)
	for _, told := range r.workers {
		if time.Since(told.at) > PresenceLost {
			continue
		}
		for _, pool := range told.pools {
			if !pool.Serves(route) {
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

// Batching is what each live worker has learned of a route.
func (r *Reports) Batching(route string) []inference.Batching {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []inference.Batching
	for _, worker := range slices.Sorted(maps.Keys(r.workers)) {
		told := r.workers[worker]
		if time.Since(told.at) > PresenceLost {
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

// joinedReplica is what two workers say of the same replica: the better state, the calls of both, the fewer failures.
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
