package sweeper

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"headrace/broker/records"
)

const (
	// depthEvery is how often the work queues are measured.
	depthEvery = time.Second
	// depthLanes is how many of them at a time; others have their turn the next time.
	depthLanes = 64
	// rateOver is the time over which the rate of starts is taken.
	rateOver = time.Minute
)

// laneDepth is what was measured of a work queue that jobs wait in.
type laneDepth struct {
	oldest    time.Time // when the job that is next was queued; zero when none waits
	delivered uint64    // number in the stream up to which jobs were given to workers
	head      uint64    // number of the job that is next, when it was last looked for
	starts    []starts  // the latest rateOver, oldest first
	at        time.Time
	short     shortage
}

// starts is how many jobs workers have been given in all.
type starts struct {
	at time.Time
	n  uint64
}

// rate is how many jobs a second workers were given.
func (d *laneDepth) rate() float64 {
	if len(d.starts) < 2 {
		return 0
	}
	first, last := d.starts[0], d.starts[len(d.starts)-1]
	if last.n <= first.n || !last.at.After(first.at) {
		return 0 // none, or a consumer that was made again
	}
	return float64(last.n-first.n) / last.at.Sub(first.at).Seconds()
}

// note adds a measurement.
func (d *laneDepth) note(now time.Time, delivered, started uint64, oldest time.Time) {
	if n := len(d.starts); n > 0 && d.starts[n-1].n > started {
		d.starts = nil
	}
	d.starts = append(d.starts, starts{now, started})
	for len(d.starts) > 2 && now.Sub(d.starts[0].at) > rateOver {
		d.starts = d.starts[1:]
	}
	d.at, d.delivered, d.oldest = now, delivered, oldest
}

// gauge measures the work queues that jobs wait in, and has their jobs looked at when they hold less than they should.
type gauge struct {
	schedule *schedule
	log      *slog.Logger

	mu     sync.Mutex
	depths map[records.LaneName]laneDepth
}

func newGauge(s *schedule, log *slog.Logger) *gauge {
	return &gauge{schedule: s, log: log, depths: make(map[records.LaneName]laneDepth)}
}

// run looks at the work queues until ctx ends.
func (g *gauge) run(ctx context.Context, q queues) {
	tick := time.NewTicker(depthEvery)
	defer tick.Stop()
	for turn := 0; ; turn++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, lane := range g.toMeasure(turn) {
			if err := g.measure(ctx, q, lane); err != nil && ctx.Err() == nil {
				g.log.Debug("measuring a queue", "subject", lane, "error", err)
			}
		}
	}
}

// toMeasure gives the lanes that jobs wait in, and forgets what is known of others for a while.
func (g *gauge) toMeasure(turn int) []records.LaneName {
	counts := g.schedule.lanesNow()
	g.mu.Lock()
	defer g.mu.Unlock()
	for lane, depth := range g.depths {
		if counts[lane].waiting() == 0 && time.Since(depth.at) > rateOver {
			delete(g.depths, lane)
		}
	}
	lanes := make([]records.LaneName, 0, len(counts))
	for lane, n := range counts {
		if n.waiting() > 0 {
			lanes = append(lanes, lane)
		}
	}
	slices.Sort(lanes)
	if len(lanes) > depthLanes {
		from := turn * depthLanes % len(lanes)
		lanes = append(lanes[from:], lanes[:from]...)[:depthLanes]
	}
	return lanes
}

func (g *gauge) measure(ctx context.Context, q queues, lane records.LaneName) error {
	ctx, cancel := context.WithTimeout(ctx, records.StorePatience)
	defer cancel()
	expected, beside := g.schedule.expected(lane), g.schedule.expectedBeside(lane)
	held, err := q.Held(ctx, lane)
	if err != nil {
		return err
	}
	// What has ended while we asked is no shortage.
	if held.All {
		expected = min(beside, g.schedule.expectedBeside(lane))
	} else {
		expected = min(expected, g.schedule.expected(lane))
	}
	head := held.Delivered + 1
	g.mu.Lock()
	if depth, ok := g.depths[lane]; ok {
		head = max(head, depth.head)
	}
	g.mu.Unlock()
	next, oldest, ok, err := q.Next(ctx, lane, held.Delivered+1, head)
	if err != nil {
		return err
	}
	if ok { // else all are with workers, or wait for their time
		head = next
	}
	if now := time.Now(); g.note(lane, held, expected-held.Jobs, head, oldest, now) {
		if n := g.schedule.doubtLane(lane, now); n > 0 {
			g.log.Warn("a queue holds less jobs than it should; looking at all of them", "subject", lane, "jobs", n)
		}
	}
	return nil
}

// note keeps a measurement and reports whether the lane's jobs are to be looked at.
func (g *gauge) note(lane records.LaneName, held records.Held, missing int, head uint64, oldest, now time.Time) (look bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	depth := g.depths[lane]
	look = depth.short.note(missing, held.Started, now)
	if oldest.IsZero() {
		oldest = depth.short.oldest(depth.oldest, held.Started)
	}
	depth.head = head
	depth.note(now, held.Delivered, held.Started, oldest)
	g.depths[lane] = depth
	return look
}

// found notes that a job was put back into a queue that did not hold it.
func (g *gauge) found(lane records.LaneName) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if depth, ok := g.depths[lane]; ok {
		depth.short.found = true
		g.depths[lane] = depth
	}
}

// depthsNow is a copy of what was measured. What it holds is not changed later.
func (g *gauge) depthsNow() map[records.LaneName]laneDepth {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.depths)
}

// short reports whether a lane's queue holds less than it should.
func (g *gauge) short(lane records.Lane) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, depth := range g.depths {
		if at, ok := name.Lane(); ok && at == lane {
			return !depth.short.since.IsZero()
		}
	}
	return false
}
