package sweeper

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/job"
)

// schedule knows every job that has not ended: when something is due about it, and in which queue it should be. It makes no
// reads and no writes. Its methods may be called concurrently.
type schedule struct {
	log  *slog.Logger
	wake chan struct{} // rung when another job is next

	mu       sync.Mutex
	pending  map[job.ID]*pendingJob
	heap     dueHeap
	counts   laneCounts
	checks   pacer // of places in the queue
	lanes    map[records.LaneName]*records.LaneName
	finished map[job.State]uint64
	counted  map[string]time.Time // by shard: when the last end was written that is counted in finished
	began    time.Time
}

func newSchedule(now time.Time, log *slog.Logger) *schedule {
	return &schedule{
		log: log, wake: make(chan struct{}, 1), pending: make(map[job.ID]*pendingJob), counts: make(laneCounts),
		lanes: make(map[records.LaneName]*records.LaneName), finished: make(map[job.State]uint64), counted: make(map[string]time.Time), began: now,
	}
}

// learn notes what was written about a job, and returns the revision that was known before; 0 when none was.
func (s *schedule) learn(n *records.News, now time.Time) (before uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pending[n.ID]
	if p != nil {
		before = p.revision
	}
	if n.State.Terminal() {
		s.finish(n.Shard, n.State, n.At)
		s.drop(n.ID)
		return before
	}
	if p == nil {
		id := job.ID(strings.Clone(string(n.ID))) // a message's text would stay as long as a part of it
		p = &pendingJob{id: id, index: -1, lane: s.laneOf(n.Lane)}
		s.pending[id] = p
	}
	s.count(p, n.State)
	p.verify, p.revision, p.missed = n.State == job.Queued, n.Revision, 0
	p.due, p.then = n.Due, n.Due
	switch {
	case !p.phase.waiting():
		p.due = records.InstantOf(now.Add(verifyRunning))
	case p.verify:
		p.due = records.InstantOf(s.checks.next(now.Add(verifyAfter)))
		if n.Due != 0 {
			p.due = min(n.Due, p.due)
		}
	}
	s.place(p)
	return before
}

// finish counts a job that has ended since the sweeper was made, once. It must be called with mu held.
func (s *schedule) finish(shard string, state job.State, at time.Time) {
	if !at.After(s.began) || !at.After(s.counted[shard]) {
		return
	}
	s.counted[shard] = at
	if state != job.Erased {
		s.finished[state]++
	}
}

// laneOf returns the name that all jobs of a lane share. It must be called with mu held.
func (s *schedule) laneOf(lane records.LaneName) *records.LaneName {
	known := s.lanes[lane]
	if known == nil {
		name := records.LaneName(strings.Clone(string(lane)))
		known = &name
		s.lanes[name] = known
	}
	return known
}

// count counts a job by its state. It must be called with mu held.
func (s *schedule) count(p *pendingJob, state job.State) {
	if is := phaseOf(state); is != p.phase {
		s.counts.move(*p.lane, p.phase, is)
		p.phase = is
	}
}

// place puts a job where it belongs in the heap, unless a hand has it. It must be called with mu held.
func (s *schedule) place(p *pendingJob) {
	switch {
	case p.busy:
		return
	case p.index >= 0:
		heap.Fix(&s.heap, int(p.index))
	default:
		heap.Push(&s.heap, p)
	}
	if s.heap[0] == p {
		link.Ring(s.wake)
	}
}

// drop forgets a job. It must be called with mu held.
func (s *schedule) drop(id job.ID) {
	p := s.pending[id]
	if p == nil {
		return
	}
	delete(s.pending, id)
	s.count(p, job.Erased)
	if p.index >= 0 {
		heap.Remove(&s.heap, int(p.index))
	}
}

// next takes the job that is due out of the heap, or returns how long there is none.
func (s *schedule) next(now time.Time) (job.ID, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.heap) == 0 {
		return "", time.Hour
	}
	first := s.heap[0]
	if first.due == 0 {
		return "", time.Hour
	}
	if wait := first.due.In(now); wait > 0 {
		return "", wait
	}
	_ = heap.Pop(&s.heap) // it is first
	first.busy = true
	return first.id, 0
}

// done puts a job that a hand has seen to back for the next time, if it still waits.
func (s *schedule) done(id job.ID, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		s.log.Warn("seeing to a job", "job", id, "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pending[id]
	if p == nil {
		return
	}
	p.busy = false
	now := time.Now()
	switch {
	case err != nil:
		p.due = records.InstantOf(now.Add(sweepAgain))
	case p.due.Future(now): // it was written since, and learned of
	case !p.phase.waiting():
		p.due = records.InstantOf(now.Add(verifyRunning))
	case p.verify && p.then.Future(now):
		p.verify, p.due = false, p.then
	default:
		p.due = records.InstantOf(now.Add(sweepAgain)) // what was done about it is learned in a moment
	}
	s.place(p)
}

// toVerify returns the queue that a job should be in when nothing else is due about it; ok is false otherwise.
func (s *schedule) toVerify(id job.ID, now time.Time) (lane records.LaneName, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pending[id]
	if p == nil || p.phase.waiting() && !p.verify || p.then.Past(now) {
		return "", false
	}
	return *p.lane, true
}

// placed takes the check off jobs that were queued, unless their record has been written since.
func (s *schedule) placed(all []records.Placement) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, told := range all {
		p := s.pending[told.ID]
		if p == nil || !p.verify || p.busy || p.revision != told.Revision {
			continue
		}
		p.verify, p.due = false, p.then
		s.place(p)
	}
}

// doubt has every job of a shard checked that is known from an earlier connection: its record may have been lost since.
func (s *schedule) doubt(shard string, now time.Time) {
	s.check(now.Add(verifyAfter), now, func(p *pendingJob) bool { return p.phase.waiting() && records.ShardOf(string(p.id)) == shard })
}

// doubtLane has every job of a lane checked that should be in the work queue.
func (s *schedule) doubtLane(lane records.LaneName, now time.Time) (n int) {
	return s.check(now, now, func(p *pendingJob) bool { return p.phase != phaseLater && *p.lane == lane })
}

// check has the jobs that are chosen checked from a time on, one after the other, the oldest record first.
func (s *schedule) check(from, now time.Time, chosen func(*pendingJob) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var doubtful []*pendingJob
	for _, p := range s.pending {
		if !p.busy && !p.verify && !p.then.Past(now) && chosen(p) {
			doubtful = append(doubtful, p)
		}
	}
	slices.SortFunc(doubtful, func(a, b *pendingJob) int { return cmp.Compare(a.revision, b.revision) })
	for _, p := range doubtful {
		p.verify = p.phase.waiting()
		if at := records.InstantOf(s.checks.next(from)); p.due == 0 || p.due > at {
			p.due = at
		}
		s.place(p)
	}
	return len(doubtful)
}

// missed notes that a job's record was not found. A record may be there a moment later: a server that has just taken over may
// not have all yet.
func (s *schedule) missed(id job.ID, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pending[id]
	switch {
	case p == nil:
	case p.missed < missesAllowed:
		p.missed++
		p.due = records.InstantOf(now.Add(verifyAfter))
	default:
		s.log.Warn("a job's record is gone", "job", id)
		s.drop(id)
	}
}

// laneIn returns the lane of a job that has not ended, and whether the job runs; "" when the job is not known.
func (s *schedule) laneIn(id job.ID) (lane records.LaneName, runs bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pending[id]
	if p == nil {
		return "", false
	}
	return *p.lane, p.phase == phaseRunning
}

// expected is how many messages a lane's queue should hold.
func (s *schedule) expected(lane records.LaneName) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[lane].inQueue()
}

// expectedBeside is how many messages all queues of a lane's stream should hold.
func (s *schedule) expectedBeside(lane records.LaneName) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for other, count := range s.counts {
		if other.Beside(lane) {
			n += count.inQueue()
		}
	}
	return n
}

// expectedIn is how many messages all queues of a shard should hold.
func (s *schedule) expectedIn(shard int) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for lane, count := range s.counts {
		if lane.In(shard) {
			n += count.inQueue()
		}
	}
	return n
}

// lanesNow is a copy of the counts of all lanes that have jobs.
func (s *schedule) lanesNow() laneCounts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.counts)
}

func (s *schedule) finishedNow() map[job.State]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.finished)
}

// checked reports whether no job's place in the queue is to be checked.
func (s *schedule) checked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pending {
		if p.verify {
			return false
		}
	}
	return true
}
