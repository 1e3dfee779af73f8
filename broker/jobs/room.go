package jobs

import (
	"context"
	"sync"
	"time"

	"headrace/broker/records"
	"headrace/internal/fault"
	"headrace/internal/job"
)

// fullFrom is the share of a stream's limits from which on no job is accepted, so that accepted jobs can always be finished.
const fullFrom = 0.8

// limits reports whether there is room for new jobs. It reads what is used of a shard's streams at most once a second.
type limits struct {
	mu    sync.Mutex
	known map[string]used // by shard
}

type used struct {
	asked time.Time
	share float64
}

func (m *limits) check(ctx context.Context, streams room, id job.ID) error {
	shard := records.ShardOf(string(id))
	m.mu.Lock()
	now := m.known[shard]
	m.mu.Unlock()
	if time.Since(now.asked) > time.Second {
		was := now
		share, err := streams.Used(ctx, id)
		if now = (used{time.Now(), share}); err == nil {
			m.note(shard, now)
		} else if !was.asked.IsZero() && share <= fullFrom { // the write finds out whether the store is there
			was.asked = now.asked
			m.note(shard, was)
			now = was
		} else if share <= fullFrom {
			f := fault.Wrap(fault.NoWorkers, err, "the store for jobs cannot be reached; try again")
			f.RetryAfter = time.Second
			return f
		}
	}
	if now.share > fullFrom {
		f := fault.New(fault.QueueFull, "the store for jobs is %d %% full; try again when jobs have expired, or raise broker.max_store",
			int(fullFrom*100))
		f.RetryAfter = 10 * time.Second
		return f
	}
	return nil
}

func (m *limits) note(shard string, now used) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = make(map[string]used)
	}
	m.known[shard] = now
}
