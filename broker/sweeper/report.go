package sweeper

import (
	"crypto/rand"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"headrace/broker/link"
	"headrace/broker/records"
)

// wakesTold is how often workers are told to pull from a lane.
const wakesTold = 4

// reporter tells front ends and workers what waits. It owns which queues are paused, and which lanes are to be pulled from.
type reporter struct {
	schedule *schedule
	gauge    *gauge
	full     func() error // why nothing can be written
	log      *slog.Logger
	wire     wire       // set before anything is told
	conn     connection // with wire

	telling    sync.Mutex
	id         string    // of this sweeper in its reports
	reported   uint64    // reports told; guarded by telling
	saidUntold link.Said // why the last report could not be told

	mu     sync.Mutex
	paused map[string]bool      // routes whose jobs are not to be started
	told   bool                 // paused is complete
	wakes  map[records.Lane]int // lanes that workers are to be told to pull from, and how often still
	// countedAll has the shards whose records were all read once.
	countedAll map[string]bool
}

func newReporter(s *schedule, g *gauge, full func() error, log *slog.Logger) *reporter {
	return &reporter{
		schedule: s, gauge: g, full: full, log: log, id: rand.Text()[:16],
		paused: make(map[string]bool), wakes: make(map[records.Lane]int), countedAll: make(map[string]bool),
	}
}

// pause notes whether a queue is paused.
func (r *reporter) pause(route string, is bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.paused[route] = is
	maps.DeleteFunc(r.paused, func(_ string, is bool) bool { return !is })
}

// pausesRead notes that it is known which queues are paused, and tells it.
func (r *reporter) pausesRead() {
	r.mu.Lock()
	r.told = true
	r.mu.Unlock()
	r.tell()
}

// allRead notes that all records of a shard were read.
func (r *reporter) allRead(shard string) {
	r.mu.Lock()
	news := !r.countedAll[shard]
	r.countedAll[shard] = true
	all := news && len(r.countedAll) == records.Shards
	r.mu.Unlock()
	if all {
		r.tell()
	}
}

// wake has workers pull from a lane although nothing is queued.
func (r *reporter) wake(lane records.Lane) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wakes[lane] = wakesTold
}

// toWake takes the lanes that workers are to be told to pull from. It must be called with mu held.
func (r *reporter) toWake() (lanes []records.Lane) {
	for lane := range r.wakes {
		lanes = append(lanes, lane)
		if r.wakes[lane]--; r.wakes[lane] == 0 {
			delete(r.wakes, lane)
		}
	}
	return lanes
}

// tell publishes what waits.
func (r *reporter) tell() {
	r.telling.Lock() // the parts of one report follow each other
	defer r.telling.Unlock()
	report, complete := r.report()
	if !complete {
		return // what is paused is not known yet
	}
	r.reported++
	report.From, report.Number = r.id, r.reported
	err := r.wire.Report(report)
	if r.saidUntold.News(err) && r.conn.Connected() { // a connection that is lost has its own line
		r.log.Warn("cannot tell workers and front ends what waits: jobs may not start; trying on", "lanes", len(report.Lanes), "error", err)
	}
}

// report is what waits; complete is false until it is known what is paused.
func (r *reporter) report() (report *records.Report, complete bool) {
	report = new(records.Report)
	if err := r.full(); err != nil {
		report.Full = err.Error()
	}
	r.mu.Lock() // before what waits is counted: a report that is not counting must have all that was read
	report.Counting = len(r.countedAll) < records.Shards
	report.Paused = slices.Sorted(maps.Keys(r.paused))
	if complete = r.told; complete {
		report.Wake = r.toWake()
	}
	r.mu.Unlock()
	depths := r.gauge.depthsNow()
	for name, n := range r.schedule.lanesNow() {
		lane, ok := name.Lane()
		if !ok {
			continue
		}
		told := records.LaneReport{Route: lane.Route, Priority: lane.Priority, Waiting: n.waiting(), Queued: n.queued, Running: n.running}
		if depth, ok := depths[name]; ok {
			told.Measured, told.Delivered, told.Rate = true, depth.delivered, depth.rate()
			if !depth.oldest.IsZero() {
				told.Oldest = depth.oldest.UnixMilli()
			}
		}
		report.Lanes = append(report.Lanes, told)
	}
	return report, complete
}
