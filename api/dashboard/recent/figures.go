package recent

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"headrace/internal/fault"
)

const (
	// Seconds is how many points of a second are remembered: 10 minutes.
	Seconds = 600
	// Minutes is how many points of a minute are remembered: 24 hours.
	Minutes = 1440

	// Times are counted in steps of a quarter of an octave from fastest on, so that a quantile is right to 19 %.
	perOctave = 4
	steps     = 20 * perOctave
	fastest   = 100 * time.Microsecond

	maxCodes = 32
	// part is what one call to a model server counts, divided by the requests that shared it.
	part = 1 << 20
)

// Gauges are what is measured, not counted.
type Gauges struct {
	Waiting int // calls that no worker has claimed
	Jobs    int // jobs that wait
	Workers int // of all routes together, each worker once for each of its routes
}

// Point has the figures of one second or one minute, or of several.
type Point struct {
	At      time.Time // its beginning; zero = nothing was counted
	Length  time.Duration
	Gauges  Gauges // the largest of each
	codes   [maxCodes]uint32
	times   [steps]uint32
	ran     uint64 // calls of which Batch is known
	sharing uint64 // the sum of part/Batch over them
	waited  uint64 // microseconds that calls have waited, together
	// unclaimed is the sum of Gauges.Waiting over the seconds.
	unclaimed uint64
}

// Calls is how many were answered, good or not.
func (p *Point) Calls() int {
	n := 0
	for _, c := range p.codes {
		n += int(c)
	}
	return n
}

// Code is how many calls ended with a code; "" is a good end.
func (p *Point) Code(c fault.Code) int { return int(p.codes[indexOf(c)]) }

// Failed is how many calls ended with an error of Headrace or of a model server: callers' own mistakes are none.
func (p *Point) Failed() int {
	return p.Calls() - p.Code("") - p.Code(fault.Invalid) - p.Code(fault.RateLimited)
}

// Rate is calls a second.
func (p *Point) Rate() float64 {
	if p.Length <= 0 {
		return 0
	}
	return float64(p.Calls()) / p.Length.Seconds()
}

// Waiting is how many calls waited at a time on average: by the times that answered calls have waited, or, where that is
// more, by how many no worker had claimed.
func (p *Point) Waiting() float64 {
	if p.Length <= 0 {
		return 0
	}
	return max(float64(p.waited)/float64(p.Length.Microseconds()), float64(p.unclaimed)/p.Length.Seconds())
}

// Batch is how many requests shared a call to a model server on average; 0 when none is known.
func (p *Point) Batch() float64 {
	if p.sharing == 0 {
		return 0
	}
	return float64(p.ran) * part / float64(p.sharing)
}

// Quantile is the time within which a part q of the calls was answered; 0 without calls.
func (p *Point) Quantile(q float64) time.Duration {
	all := uint64(0)
	for _, n := range p.times {
		all += uint64(n)
	}
	if all == 0 {
		return 0
	}
	rank, seen := uint64(math.Ceil(q*float64(all))), uint64(0)
	for i, n := range p.times {
		if seen += uint64(n); seen >= max(rank, 1) {
			return time.Duration(float64(fastest) * math.Exp2((float64(i)+0.5)/perOctave))
		}
	}
	return 0
}

// Sum is several points in one. Points without figures add nothing.
func Sum(points []Point) Point {
	var sum Point
	for i := range points {
		sum.add(&points[i])
	}
	return sum
}

func (p *Point) add(o *Point) {
	if o.At.IsZero() {
		return
	}
	if p.At.IsZero() {
		p.At = o.At
	}
	p.Length += o.Length
	p.ran += o.ran
	p.sharing += o.sharing
	p.waited += o.waited
	p.unclaimed += o.unclaimed
	for i, n := range o.codes {
		p.codes[i] += n
	}
	for i, n := range o.times {
		p.times[i] += n
	}
	p.Gauges.Waiting = max(p.Gauges.Waiting, o.Gauges.Waiting)
	p.Gauges.Jobs = max(p.Gauges.Jobs, o.Gauges.Jobs)
	p.Gauges.Workers = max(p.Gauges.Workers, o.Gauges.Workers)
}

// indexOf is where a code is counted: 0 is a good end.
func indexOf(c fault.Code) int {
	if c == "" {
		return 0
	}
	for i, known := range fault.Codes() {
		if known == c {
			return i + 1
		}
	}
	return maxCodes - 1
}

// stepOf is where a time is counted.
func stepOf(took time.Duration) int {
	if took <= fastest {
		return 0
	}
	return min(int(perOctave*math.Log2(float64(took)/float64(fastest))), steps-1)
}

// counters count the second that runs. They are written by every call, each with a few additions.
type counters struct {
	codes   [maxCodes]atomic.Uint32
	times   [steps]atomic.Uint32
	ran     atomic.Uint64
	sharing atomic.Uint64
	waited  atomic.Uint64
}

func (n *counters) add(c *Call) {
	if c.Code == "" {
		n.codes[0].Add(1)
	} else {
		n.codes[indexOf(c.Code)].Add(1)
	}
	n.times[stepOf(c.Took)].Add(1)
	n.waited.Add(uint64(max(c.Queue.Microseconds(), 0)))
	if c.Batch > 0 {
		n.ran.Add(1)
		n.sharing.Add(part / uint64(c.Batch))
	}
}

// take empties the counters into a point.
func (n *counters) take() Point {
	p := Point{ran: n.ran.Swap(0), sharing: n.sharing.Swap(0), waited: n.waited.Swap(0)}
	for i := range n.codes {
		p.codes[i] = n.codes[i].Swap(0)
	}
	for i := range n.times {
		p.times[i] = n.times[i].Swap(0)
	}
	return p
}

// figures are the points.
type figures struct {
	mu      sync.Mutex
	seconds [Seconds]Point // at[unix second % Seconds]
	minutes [Minutes]Point
}

// put notes the second that ended at now.
func (f *figures) put(p *Point, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.unclaimed = uint64(max(p.Gauges.Waiting, 0))
	p.At, p.Length = now.Add(-time.Second).Truncate(time.Second), time.Second
	place(f.seconds[:], p, time.Second)
	place(f.minutes[:], p, time.Minute)
}

// place adds a second's point to that of its time, which is new where the one of a turn before stands.
func place(ring []Point, p *Point, step time.Duration) {
	at := p.At.Truncate(step)
	here := &ring[at.Unix()/int64(step/time.Second)%int64(len(ring))]
	if !here.At.Equal(at) {
		*here = Point{At: at}
	}
	here.add(p)
}

// last gives the points of the ring up to now, the oldest first. Where nothing was noted, At alone is set.
func (f *figures) last(ring []Point, step time.Duration, now time.Time) []Point {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]Point, len(ring))
	end := now.Add(-time.Second).Truncate(step)
	for i := range out {
		at := end.Add(-time.Duration(len(ring)-1-i) * step)
		if here := &ring[at.Unix()/int64(step/time.Second)%int64(len(ring))]; here.At.Equal(at) {
			out[i] = *here
		}
		out[i].At = at
	}
	return out
}
