package sweeper

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/job"
)

const (
	// verifyAfter is the age at which a queued job's place in the work queue is checked: by then the front end that accepted it
	// has put it there, or is gone.
	verifyAfter = 10 * time.Second
	// verifyRunning is how often it is checked that a running job's message is still in the work queue: without it no other
	// worker would get the job if its worker died.
	verifyRunning = 2 * records.AckWait
	// sweepAgain is the pause after something could not be done.
	sweepAgain = time.Second
	// sweepHands is how many jobs are seen to at a time.
	sweepHands = 8
)

// Sweeper does what is due about jobs that no worker runs: it queues scheduled and retried ones when their time comes, ends
// those whose time is over, and repairs accepts that were cut off between record and queue.
type Sweeper struct {
	broker // set by Run

	dial  link.Dial
	syncs *records.Syncs
	disk  Disk // nil: the server is elsewhere
	log   *slog.Logger

	schedule *schedule
	gauge    *gauge
	reporter *reporter
	cleaner  *cleaner
}

// Disk is the disk of an embedded server in this process.
type Disk interface {
	// DiskFull is why nothing can be written; nil while there is room.
	DiskFull() error
	// Syncs reports whether the server syncs what is asked for, and nothing else before it acknowledges.
	Syncs() bool
}

// New validates dial. syncs is what this process knows to be on disk, and disk that of the embedded server; both may
// be nil.
func New(dial link.Dial, syncs *records.Syncs, disk Disk, log *slog.Logger) (*Sweeper, error) {
	if err := dial.Validate(); err != nil {
		return nil, err
	}
	s := &Sweeper{dial: dial, syncs: syncs, disk: disk, log: log, schedule: newSchedule(time.Now(), log)}
	s.gauge = newGauge(s.schedule, log)
	s.reporter = newReporter(s.schedule, s.gauge, s.full, log)
	s.cleaner = &cleaner{schedule: s.schedule, full: s.full, log: log}
	return s, nil
}

// full is why nothing can be written; nil while there is room, or when that is not known.
func (s *Sweeper) full() error {
	if s.disk == nil {
		return nil
	}
	return s.disk.DiskFull()
}

// Run sweeps until ctx ends.
func (s *Sweeper) Run(ctx context.Context) error {
	a, err := records.Open(ctx, s.dial, "sweeper", s.log, records.Options{
		Shared: records.Shared{Syncs: s.syncs}, Full: func() bool { return s.full() != nil },
	})
	if err != nil {
		return link.Stopped(ctx, err)
	}
	defer a.Close()
	return s.serve(ctx, broker{store: a.Store, queues: a.Queues, journal: a.Journal, wire: a.Wire, conn: a})
}

// serve sweeps what a broker has, until ctx ends.
func (s *Sweeper) serve(ctx context.Context, b broker) error {
	s.broker = b
	s.reporter.wire, s.reporter.conn = b.wire, b.conn
	var running sync.WaitGroup
	defer running.Wait()
	for shard := range records.Shards {
		running.Go(func() { s.follow(ctx, strconv.Itoa(shard)) })
	}
	if err := b.wire.Placed(s.placed); err != nil {
		return fmt.Errorf("broker: sweeper: %w", err)
	}
	if err := b.wire.Asked(s.reporter.tell); err != nil {
		return fmt.Errorf("broker: sweeper: %w", err)
	}
	h := &hands{store: b.store, schedule: s.schedule, gauge: s.gauge, reporter: s.reporter, log: s.log, work: make(chan job.ID)}
	for range sweepHands {
		running.Go(func() { h.run(ctx) })
	}
	for shard := range records.Shards {
		running.Go(func() { s.cleaner.prune(ctx, b.journal, strconv.Itoa(shard)) })
	}
	running.Go(func() { s.gauge.run(ctx, b.queues) })
	running.Go(func() { s.cleaner.clear(ctx, b.queues, b.store) })
	running.Go(func() { link.Every(ctx, records.QueuesEvery, s.reporter.tell) })
	h.dispatch(ctx)
	return nil
}

// follow learns of every record there is and of every one that is written, headers only.
func (s *Sweeper) follow(ctx context.Context, shard string) {
	var said link.Said
	for ctx.Err() == nil {
		err := s.journal.Follow(ctx, shard, s)
		if ctx.Err() == nil && s.conn.News(err) && said.News(err) {
			s.log.Warn("following the jobs' records", "shard", shard, "error", err)
		}
		link.PauseFor(ctx, sweepAgain)
	}
}

// Begin is part of records.Reader.
func (s *Sweeper) Begin(shard string) { s.schedule.doubt(shard, time.Now()) }

// Left is part of records.Reader.
func (s *Sweeper) Left(shard string, entries uint64) {
	if entries == 0 {
		s.reporter.allRead(shard)
	}
}

// Record is part of records.Reader.
func (s *Sweeper) Record(n *records.News) {
	before := s.schedule.learn(n, time.Now())
	if s.disk != nil && s.disk.Syncs() && before != 0 && before < n.Revision { // else it was told before
		s.cleaner.replaced(n.Shard, before, n.Revision)
	}
	if n.State.Terminal() {
		s.cleaner.ended(n.Shard, n.Revision)
	}
}

// Paused is part of records.Reader.
func (s *Sweeper) Paused(route string, paused bool) { s.reporter.pause(route, paused) }

// PausesRead is part of records.Reader.
func (s *Sweeper) PausesRead() { s.reporter.pausesRead() }

// placed takes what front ends say they have queued.
func (s *Sweeper) placed(all []records.Placement, err error) {
	if err != nil {
		s.log.Warn("an announcement of queued jobs cannot be read", "error", err)
	}
	s.schedule.placed(all)
}

// Waiting is how many jobs wait, by route and priority.
func (s *Sweeper) Waiting() map[records.Lane]int {
	lanes := make(map[records.Lane]int)
	for name, n := range s.schedule.lanesNow() {
		if lane, ok := name.Lane(); ok && n.waiting() > 0 {
			lanes[lane] = n.waiting()
		}
	}
	return lanes
}

// Finished is how many jobs have ended since the sweeper was made, by state.
func (s *Sweeper) Finished() map[job.State]uint64 { return s.schedule.finishedNow() }

// Oldest is when the job that is next was queued, by route and priority.
func (s *Sweeper) Oldest() map[records.Lane]time.Time {
	counts, oldest := s.schedule.lanesNow(), make(map[records.Lane]time.Time)
	for name, depth := range s.gauge.depthsNow() {
		if lane, ok := name.Lane(); ok && !depth.oldest.IsZero() && counts[name].waiting() > 0 {
			oldest[lane] = depth.oldest
		}
	}
	return oldest
}

// Checked reports whether no job's place in the queue is to be checked.
func (s *Sweeper) Checked() bool { return s.schedule.checked() }

// Short reports whether a lane's queue holds less than it should.
func (s *Sweeper) Short(lane records.Lane) bool { return s.gauge.short(lane) }
