package batch

import "time"

// The constants of the slot learner.
const (
	slotsGain  = 1.15 // doubling the calls in flight must raise goodput by this factor
	slotsKeep  = 0.95 // fewer calls in flight may lose this much
	slotsTime  = 2 * time.Second
	slotsQuick = 200 * time.Millisecond // of fast calls, of which there are many in it
	slotsPause = 30 * time.Second
)

// Slots learns how many calls in flight a replica wants. It doubles them while that raises goodput and what waits
// fills them, then looks for the smallest number that is as good: a server that computes stays at one, a server that
// waits for something else goes to the size of its thread pool. From time to time it tries again. It is not safe for
// concurrent use.
type Slots struct {
	most  int
	width int // calls in flight now
	low   int // while narrowing: known to be too few
	high  int // known to be enough
	phase slotPhase
	base  float64 // goodput at high

	skip  int // calls to let pass that began under another width
	calls int
	rows  int
	took  time.Duration // of all calls together
	slack int           // calls that found the slots not filled
	began time.Time

	next   time.Time // of the next trial
	pause  time.Duration
	trials int
}

type slotPhase uint8

const (
	slotSteady slotPhase = iota
	slotWiden            // width is twice high
	slotNarrow           // width is between low and high
)

// NewSlots starts with a width, learned before or 1, and never goes above most.
func NewSlots(width, most int) *Slots {
	most = max(most, 1)
	width = min(max(width, 1), most)
	return &Slots{most: most, width: width, high: width, pause: slotsPause}
}

// Width is how many calls may be in flight.
func (s *Slots) Width() int { return s.width }

// Trial says that another width is tried, or that calls begun under one are still in flight. How long calls take then
// says nothing about their cost, so Learner.Record must not be told of them.
func (s *Slots) Trial() bool { return s.phase != slotSteady || s.skip > 0 }

// Ahead is how many calls should wait beside those in flight, so that it shows whether more slots would be filled.
func (s *Slots) Ahead(now time.Time) int {
	switch {
	case s.phase != slotSteady:
		return s.width
	case s.high < s.most && !now.Before(s.next):
		return 1
	}
	return 0
}

// Learned is the width to store: not one on trial.
func (s *Slots) Learned() int { return s.high }

// Done adds a call that ended well, of so many rows. filled says that something waits for the slot that frees;
// settled that no size is on trial, whose effect would be taken for that of the width.
func (s *Slots) Done(rows int, took time.Duration, filled, settled bool, now time.Time) {
	switch {
	case s.skip > 0:
		s.skip--
		s.begin(now)
		return
	case s.began.IsZero() || !settled:
		s.begin(now)
		return
	case !filled:
		s.slack++
		if s.phase != slotSteady && s.slack > 2*s.width {
			s.narrow(now) // what waits does not fill so many
			return
		}
		if s.phase == slotSteady {
			s.begin(now)
			return
		}
	}
	s.calls++
	s.rows += rows
	s.took += took
	span := now.Sub(s.began)
	if s.calls < 2*s.width || span < slotsTime && (s.calls < 16*s.width || span < slotsQuick) {
		return
	}
	// Slots that are always filled answer width/took calls a second. Counting answers in the window would be less
	// exact: calls that begin together end together.
	s.judge(float64(s.width)*float64(s.rows)/max(s.took.Seconds(), 1e-9), now)
}

func (s *Slots) begin(now time.Time) { s.began, s.calls, s.rows, s.took, s.slack = now, 0, 0, 0, 0 }

// set changes the width; calls in flight under the old one are not counted.
func (s *Slots) set(width int, phase slotPhase, now time.Time) {
	s.skip = s.width
	s.width, s.phase = width, phase
	s.begin(now)
}

// judge looks at a full window.
func (s *Slots) judge(goodput float64, now time.Time) {
	switch s.phase {
	case slotSteady:
		s.base = goodput
		s.begin(now)
		if now.Before(s.next) {
			return
		}
		s.trials++
		if s.trials%2 == 0 && s.high > 1 { // fewer may do by now
			s.low = s.high / 2
			s.set((s.low+s.high)/2, slotNarrow, now)
			return
		}
		if s.high == s.most {
			s.rest(now)
			return
		}
		s.set(min(2*s.high, s.most), slotWiden, now)
	case slotWiden:
		// The last step up to most may be short of a doubling.
		if need := 1 + (slotsGain-1)*float64(s.width-s.high)/float64(s.high); goodput >= need*s.base {
			s.low, s.high, s.base = s.high, s.width, goodput
			s.pause = slotsPause
			if s.width < s.most {
				s.set(min(2*s.high, s.most), slotWiden, now)
				return
			}
		}
		s.narrow(now)
	case slotNarrow:
		if goodput >= slotsKeep*s.base {
			s.high = s.width
		} else {
			s.low = s.width
		}
		s.narrow(now)
	}
}

// narrow tries the middle between too few and enough, or ends.
func (s *Slots) narrow(now time.Time) {
	if s.high-s.low > 1 && s.low > 0 && (s.phase != slotNarrow || s.slack <= 2*s.width) {
		s.set((s.low+s.high)/2, slotNarrow, now)
		return
	}
	s.set(s.high, slotSteady, now)
	s.low = 0
	s.rest(now)
}

func (s *Slots) rest(now time.Time) {
	s.next = now.Add(s.pause)
	s.pause = min(2*s.pause, pauseMost)
}
