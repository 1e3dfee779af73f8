package broker

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headrace/internal/inference"
	"headrace/internal/job"
)

// Limit sets how many consumers one stream has room for. It must be called before the keeper runs.
func (s *CallStreams) Limit(n int) { s.lanes = n }

// Yielding gives the consumers that make room for n others, and how long to wait when there are none.
func Yielding(infos []*jetstream.ConsumerInfo, n int, now time.Time) ([]string, time.Duration) {
	holders := make([]holder, 0, len(infos))
	for _, info := range infos {
		holders = append(holders, holderOf(info))
	}
	return yielding(holders, n, now)
}

// The times of a turn.
const (
	LaneTurn = laneTurn
	IdleTurn = idleTurn
	HeldTurn = heldTurn
)

// ShardOf is the shard of a route.
func ShardOf(route string) int { return shardOf(route) }

// CallLane names a route's stream and durable.
func CallLane(route *inference.Route) (stream, durable string) {
	l := laneOf(route)
	return l.stream, l.consumer
}

// JobLaneNames names the stream and the durable of a route's jobs.
func JobLaneNames(route *inference.Route, p job.Priority) (stream, durable string) {
	l := jobLaneOf(route, p)
	return l.stream, l.consumer
}

// Checked reports whether no job's place in the queue is to be checked.
func (s *Sweeper) Checked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pending {
		if p.verify {
			return false
		}
	}
	return true
}

// Short reports whether a lane's queue holds less than it should.
func (s *Sweeper) Short(lane JobLane) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for subject, depth := range s.depths {
		if at, ok := parseLane(subject); ok && at.JobLane == lane {
			return !depth.short.since.IsZero()
		}
	}
	return false
}

// Shortage is how long a work queue has held less than it should.
type Shortage struct{ s shortage }

// Note takes a measurement.
func (s *Shortage) Note(missing int, started uint64, now time.Time) bool {
	return s.s.note(missing, started, now)
}

// Oldest is since when the next job waits.
func (s *Shortage) Oldest(before time.Time, started uint64) time.Time {
	return s.s.oldest(before, started)
}
