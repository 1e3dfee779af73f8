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

// room reports whether the streams have room for new jobs. It reads each stream's state at most once a second.
type room struct {
	store *records.Store

	mu    sync.Mutex
	known map[string]roomState
}

type roomState struct {
	asked time.Time
	full  bool
}

func newRoom(s *records.Store) *room { return &room{store: s, known: make(map[string]roomState)} }

func (m *room) check(ctx context.Context, id job.ID) error {
	shard := records.ShardOf(string(id))
	for _, name := range []string{records.RecordStream + shard, records.DataStream + shard} {
		m.mu.Lock()
		state := m.known[name]
		m.mu.Unlock()
		if time.Since(state.asked) > time.Second {
			var err error
			if state, err = m.ask(ctx, name); err != nil {
				f := fault.Wrap(fault.NoWorkers, err, "the store for jobs cannot be reached; try again")
				f.RetryAfter = time.Second
				return f
			}
		}
		if state.full {
			f := fault.New(fault.QueueFull, "the store for jobs is %d %% full; try again when jobs have expired, or raise broker.max_store",
				int(fullFrom*100))
			f.RetryAfter = 10 * time.Second
			return f
		}
	}
	return nil
}

func (m *room) ask(ctx context.Context, name string) (roomState, error) {
	ctx, cancel := context.WithTimeout(ctx, records.StorePatience)
	defer cancel()
	stream, err := m.store.Stream(ctx, name)
	if err != nil {
		return roomState{}, err
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return roomState{}, err
	}
	state := roomState{asked: time.Now()}
	state.full = info.Config.MaxBytes > 0 && float64(info.State.Bytes) > fullFrom*float64(info.Config.MaxBytes) ||
		info.Config.MaxMsgs > 0 && float64(info.State.Msgs) > fullFrom*float64(info.Config.MaxMsgs)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known[name] = state
	return state, nil
}
