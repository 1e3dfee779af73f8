package batch

import (
	"math"
	"time"
)

// Limits bounds the calls of one route.
type Limits struct {
	MaxRows    int           // in one call; at least 1
	MaxBytes   int64         // of the rows of one call; a single request may be larger
	GatherMax  time.Duration // how long a free slot may wait for company; 0 = never
	LatencyMax time.Duration // how long a merged call may be expected to take; 0 = no bound
}

// The constants of the size controller.
const (
	kneeShare   = 0.92 // the smallest size with this share of the best goodput is the size: beyond it only latency grows
	climbGain   = 1.03 // at first, sizes double while goodput rises by this factor
	fitWeight   = 2    // measurements that the fit counts for in a size's goodput
	trialCalls  = 4    // of a trial
	trialMost   = 10   // calls after which a trial that is not filled ends
	trialEvery  = 200  // full calls between trials, or trialPause
	trialPause  = time.Minute
	pauseMost   = 10 * time.Minute // between trials where merging does not pay
	hurryTrials = 12               // without a pause, after the server changed
	thinPause   = 5 * time.Second  // after a trial that what waits did not fill
	shrinkHold  = 30 * time.Second
)

// search is the state of the size in one class of lengths.
type search struct {
	step    int // the size's
	top     int // the largest step tried
	climbed bool
	thin    bool // the last trial was not filled
	hurry   int  // trials to make without a pause, after the server changed
	trial   int  // step on trial; -1: none
	good    int  // calls of the trial that were full
	calls   int  // calls of the trial
	since   int  // full calls since the last trial
	trials  int
	last    time.Time
	pause   time.Duration
}

// Learner knows what calls of one route to one replica cost, and how large they should be. It is not safe for
// concurrent use.
type Learner struct {
	limits Limits
	table  table
	sizes  [classes]search

	cap      int // after failures; 0: none
	capUntil time.Time

	bad, rows float64 // rows found bad, and rows in all, of late
}

// NewLearner starts from what a snapshot knows; the zero Snapshot knows nothing.
func NewLearner(limits Limits, s Snapshot) *Learner {
	limits.MaxRows = max(limits.MaxRows, 1)
	l := &Learner{limits: limits}
	for i := range l.sizes {
		l.sizes[i] = search{trial: -1, pause: trialPause}
	}
	l.restore(s)
	return l
}

// Cost is what calls cost, as far as is known.
func (l *Learner) Cost() Cost { return l.table.cost }

// measured reports whether calls of rows of about a length were measured often enough to be relied on.
func (l *Learner) measured(length int) bool {
	for step := range steps {
		if c := &l.table.cells[classOf(length)][step]; c.n >= enough && float64(length) <= 2*c.length {
			return true
		}
	}
	return false
}

// Limits are those the learner was made with.
func (l *Learner) Limits() Limits { return l.limits }

// Size is how many rows of at most a length the next call should have at most: the learned size, or one on trial.
func (l *Learner) Size(length int, now time.Time) int {
	s := &l.sizes[classOf(length)]
	step := s.step
	if s.trial >= 0 {
		step = s.trial
	}
	return l.bound(1<<step, length, now)
}

// bound applies what no size may exceed.
func (l *Learner) bound(rows, length int, now time.Time) int {
	rows = min(rows, l.limits.MaxRows)
	if l.cap > 0 {
		for !now.Before(l.capUntil) && l.cap < l.limits.MaxRows {
			l.cap *= 2
			l.capUntil = l.capUntil.Add(shrinkHold)
		}
		if l.cap >= l.limits.MaxRows {
			l.cap = 0
		} else {
			rows = min(rows, l.cap)
		}
	}
	c := l.table.cost
	if l.limits.LatencyMax > 0 && c.Known() {
		spare := l.limits.LatencyMax.Seconds() - c.Fixed
		if m := c.marginal(length); m > 0 && float64(rows)*m > spare {
			rows = int(spare / m)
		}
	}
	return max(rows, 1)
}

// Record adds a call that succeeded: its load, how long the model server took, and how many rows that could have
// been in the call were left waiting when it was formed.
func (l *Learner) Record(load Load, took time.Duration, left int, now time.Time) {
	class := classOf(load.Length)
	s := &l.sizes[class]
	size := l.Size(load.Length, now)
	full := left > 0 && load.Rows*4 >= size*3 || load.Rows >= size
	l.table.record(load, took)
	if l.table.moved {
		l.table.moved = false
		for i := range l.sizes {
			l.sizes[i].hurry = hurryTrials
		}
	}
	l.rows += float64(load.Rows)
	l.fade()
	if s.trial >= 0 {
		s.calls++
		if stepOf(load.Rows) == min(s.trial, stepOf(size)) {
			s.good++
		}
		if s.good < trialCalls && s.calls < trialMost {
			return
		}
		l.conclude(s, class, now)
	}
	s.step = l.knee(class, s.step)
	if !full {
		return
	}
	s.since++
	l.plan(s, class, load.Length, now)
}

// conclude ends a trial.
func (l *Learner) conclude(s *search, class int, now time.Time) {
	tried := s.trial
	filled := s.good >= trialCalls
	s.trial, s.since, s.last = -1, 0, now
	if s.thin = !filled; filled {
		s.top = max(s.top, tried)
	}
	if !s.climbed && filled && tried > 0 {
		s.climbed = l.goodput(class, tried) < climbGain*l.goodput(class, tried-1)
	}
	s.step = l.knee(class, s.step)
	if s.climbed && s.step == 0 {
		s.pause = min(2*s.pause, pauseMost)
	} else {
		s.pause = trialPause
	}
}

// plan begins a trial when one is due: at first one size after the other, later the neighbours in turn. Where one
// step up did not pay the next is tried as well, in case the server is odd.
func (l *Learner) plan(s *search, class, length int, now time.Time) {
	if s.last.IsZero() {
		s.last = now
	}
	if l.table.cells[class][s.step].n < enough {
		return
	}
	var next int
	switch {
	case l.cap > 0:
		return
	case !s.climbed:
		if next = s.top + 1; s.thin && now.Sub(s.last) < thinPause {
			return
		}
	case s.hurry == 0 && (s.since < trialEvery && now.Sub(s.last) < s.pause || s.step == 0 && now.Sub(s.last) < s.pause):
		return
	default:
		s.trials++
		s.hurry = max(s.hurry-1, 0)
		switch {
		case s.trials%2 == 0 && s.step > 0:
			next = s.step - 1
		case s.trials%4 == 3:
			next = s.step + 2
		default:
			next = s.step + 1
		}
	}
	if next >= steps || l.bound(1<<next, length, now) <= 1<<s.step && next > s.step {
		s.climbed, s.last, s.since = true, now, 0
		return
	}
	s.trial, s.good, s.calls = next, 0, 0
}

// knee is the smallest step with nearly the best goodput.
func (l *Learner) knee(class, current int) int {
	best := 0.0
	for step := range steps {
		best = max(best, l.goodput(class, step))
	}
	for step := range steps {
		if g := l.goodput(class, step); g > 0 && g >= kneeShare*best {
			return step
		}
	}
	return current
}

// goodput is how many rows a second calls of one size answer; 0 when too little is known. What isolating bad rows
// will cost is counted in: the larger the call, the more often one of its rows is bad.
func (l *Learner) goodput(class, step int) float64 {
	c := &l.table.cells[class][step]
	if c.n < enough {
		return 0
	}
	rows := c.rows
	took := rows / c.middle
	if n := float64(min(c.n, window)); l.table.cost.Known() { // the fit steadies what was measured seldom
		took = (n*took + fitWeight*l.table.cost.of(Load{int(rows + 0.5), int(c.length + 0.5)})) / (n + fitWeight)
	}
	if p := l.Poison(); p > 0 && step > 0 {
		failing := 1 - math.Pow(1-p, rows)
		again := 0.0
		for part := rows / 2; part > 2; part /= 2 {
			again += 2 * l.table.cost.of(Load{int(part), int(c.length)})
		}
		again += min(rows, 4) * l.table.cost.of(Load{1, int(c.length)})
		took += failing * again
	}
	return rows / took
}

// fadeRows is how many rows of late the share of bad ones is taken over.
const fadeRows = 4096

func (l *Learner) fade() {
	if l.rows > fadeRows {
		l.bad, l.rows = l.bad/2, l.rows/2
	}
}

// Bad adds rows that failed alone after their call had failed with others.
func (l *Learner) Bad(rows int) {
	l.bad += float64(rows)
	l.rows += float64(rows)
	l.fade()
}

// Poison is the share of rows of late that are bad.
func (l *Learner) Poison() float64 {
	if l.rows < 1 {
		return 0
	}
	return l.bad / l.rows
}

// Shrink halves the size of all calls, of which the last had rows, and keeps it from growing for half a minute:
// the model server could not cope, or isolation took too much of its time.
func (l *Learner) Shrink(rows int, now time.Time) {
	if l.cap > 0 {
		rows = min(rows, l.cap)
	}
	l.cap, l.capUntil = max(rows/2, 1), now.Add(shrinkHold)
	for i := range l.sizes {
		l.sizes[i].trial = -1
	}
}

// Settled says that no size is on trial, so that something else may be tried.
func (l *Learner) Settled() bool {
	for i := range l.sizes {
		if s := &l.sizes[i]; s.trial >= 0 {
			return false
		}
	}
	return true
}

// Pays says whether merging rows of a length is faster than not, as far as it was tried; known is false before.
func (l *Learner) Pays(length int) (pays, known bool) {
	s := &l.sizes[classOf(length)]
	return s.step > 0, s.step > 0 || s.climbed
}
