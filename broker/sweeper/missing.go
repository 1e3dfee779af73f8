package sweeper

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"headrace/broker/records"
	"headrace/internal/job"
)

const (
	// checksApart is the time between two checks of places in the queue: many that fall due together must not keep others
	// from being seen to.
	checksApart = 200 * time.Microsecond
	// missingAfter is how long a work queue must hold less than it should before its jobs are looked at.
	missingAfter = 10 * time.Second
	// missingAgain is the pause before they are looked at again. It doubles, up to missingSeldom, while nothing is found: on a
	// busy lane there is always a job that has just ended.
	missingAgain  = 20 * time.Second
	missingSeldom = 30 * time.Minute
	// missesAllowed is how often a job's record is looked for in vain, verifyAfter apart, before the job is forgotten.
	missesAllowed = 5
	// wakesTold is how often workers are told to pull from a lane.
	wakesTold = 4
)

// pacer hands out times that are at least checksApart.
type pacer struct{ last time.Time }

// next is the first time that is free, not before at.
func (p *pacer) next(at time.Time) time.Time {
	if earliest := p.last.Add(checksApart); at.Before(earliest) {
		at = earliest
	}
	p.last = at
	return at
}

// shortage is how long a work queue has held less messages than it should.
type shortage struct {
	since   time.Time // zero: it holds enough
	started uint64    // jobs given to workers when that began
	again   time.Time // not before then are its jobs looked at
	pause   time.Duration
	found   bool // since they were looked at, a job was put back
}

// note takes a measurement, how many messages are missing, and reports whether the lane's jobs are to be looked at.
func (s *shortage) note(missing int, started uint64, now time.Time) (look bool) {
	if missing <= 0 {
		s.since = time.Time{}
		return false
	}
	if s.since.IsZero() {
		s.since, s.started = now, started
	}
	if now.Sub(s.since) < missingAfter || now.Before(s.again) {
		return false
	}
	if s.pause == 0 || s.found {
		s.pause = missingAgain
	} else {
		s.pause = min(2*s.pause, missingSeldom)
	}
	s.again, s.found = now.Add(s.pause), false
	return true
}

// oldest is since when the next job of a lane waits whose queue holds none, although it should; zero when that is not known
// or jobs are being given to workers. before is when the job that was next at the last look was queued.
func (s *shortage) oldest(before time.Time, started uint64) time.Time {
	if s.since.IsZero() || s.started != started {
		return time.Time{}
	}
	if before.IsZero() || before.After(s.since) {
		return s.since
	}
	return before
}

// doubt has every job of a shard checked that is known from an earlier connection: its record may have been lost since.
func (s *Sweeper) doubt(shard string, now time.Time) {
	s.check(now.Add(verifyAfter), now, func(p *pendingJob) bool { return p.phase.waiting() && records.ShardOf(string(p.id)) == shard })
}

// doubtLane has every job of a lane checked that should be in the work queue.
func (s *Sweeper) doubtLane(lane string, now time.Time) (n int) {
	return s.check(now, now, func(p *pendingJob) bool { return p.phase != phaseLater && *p.lane == lane })
}

// check has the jobs that are chosen checked from a time on, one after the other, the oldest record first.
func (s *Sweeper) check(from, now time.Time, chosen func(*pendingJob) bool) int {
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
func (s *Sweeper) missed(id job.ID, now time.Time) {
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

// wakeRunning has workers pull from the lane of a job that has been running for long: should its worker die, another one must
// be there to be given the job.
func (s *Sweeper) wakeRunning(id job.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pending[id]
	if p == nil || p.phase != phaseRunning {
		return
	}
	if lane, ok := records.ParseLane(*p.lane); ok {
		s.wakes[lane.Lane] = wakesTold
	}
}

// toWake takes the lanes that workers are to be told to pull from. It must be called with mu held.
func (s *Sweeper) toWake() (lanes []records.Lane) {
	for lane := range s.wakes {
		lanes = append(lanes, lane)
		if s.wakes[lane]--; s.wakes[lane] == 0 {
			delete(s.wakes, lane)
		}
	}
	return lanes
}

// putBack notes that a job was missing in its queue. It must be called without mu held.
func (s *Sweeper) putBack(id job.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.pending[id]; p != nil {
		if depth := s.depths[*p.lane]; depth != nil {
			depth.short.found = true
		}
	}
}

// expected is how many messages a lane's queue should hold.
func (s *Sweeper) expected(lane string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[lane].inQueue()
}

// expectedBeside is how many messages all queues of a lane's stream should hold.
func (s *Sweeper) expectedBeside(lane string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	shard := lane[strings.LastIndexByte(lane, '.'):]
	for subject, count := range s.counts {
		if strings.HasSuffix(subject, shard) {
			n += count.inQueue()
		}
	}
	return n
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
func (s *Sweeper) Short(lane records.Lane) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for subject, depth := range s.depths {
		if at, ok := records.ParseLane(subject); ok && at.Lane == lane {
			return !depth.short.since.IsZero()
		}
	}
	return false
}
