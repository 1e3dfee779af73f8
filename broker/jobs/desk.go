package jobs

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/job"
)

// maxEvents bounds the events of jobs that are not read yet, in bytes.
const maxEvents = 32 << 20

// Desk accepts jobs, follows them, cancels them and erases them. One Desk serves a whole api process; its methods may be
// called concurrently. Its parts share the door to the broker and own the rest of its state, each its own.
type Desk struct {
	*door     // reads jobs
	*acceptor // stores new ones
	*follower // waits for changes
	*mover    // cancels, retries, erases
	*clerk    // knows the queues

	dial   link.Dial
	shared records.Shared
	timer  records.StoreTimer

	eventBytes int // of events that were not looked at yet, at most
}

// Config is what a Desk needs.
type Config struct {
	Dial       link.Dial
	Shared     records.Shared     // what the rooms of one process have in common; the zero value shares nothing
	MaxWaiting int                // jobs of one route; 0: no bound
	Timer      records.StoreTimer // gets how long the store takes; nil: no times are taken
	Log        *slog.Logger
}

// New returns a Desk that connects when Run is called. It validates how to connect.
func New(cfg Config) (*Desk, error) {
	if err := cfg.Dial.Validate(); err != nil {
		return nil, err
	}
	shared := cfg.Shared
	shared.Syncs = cmp.Or(shared.Syncs, records.NewSyncs())
	d := &door{log: cfg.Log, ready: make(chan struct{})}
	if cfg.Dial.Server != nil {
		d.disk = cfg.Dial.Server
	}
	j := &Desk{door: d, dial: cfg.Dial, shared: shared, timer: cfg.Timer, eventBytes: maxEvents, clerk: &clerk{door: d}}
	j.acceptor = &acceptor{door: d, queues: &j.clerk.queues, maxWaiting: cfg.MaxWaiting}
	j.follower = &follower{door: d, recent: shared.Recent, waiters: make(map[job.ID]map[*waiter]struct{})}
	j.mover = &mover{d, j.follower}
	return j, nil
}

// Run connects, waiting for the broker as long as it takes, and serves the other methods until ctx ends.
func (j *Desk) Run(ctx context.Context) error {
	a, err := records.Open(ctx, j.dial, "jobs", j.log, records.Options{
		Events: link.Events{Back: j.reconnected}, Timer: j.timer, Shared: j.shared, Full: j.clerk.queues.diskFull,
	})
	if err != nil {
		return link.Stopped(ctx, err)
	}
	defer a.Close()
	j.broker = broker{store: a.Store, journal: a.Journal, queue: a.Queues, wire: a.Wire, conn: a}
	events, err := a.Wire.Events(j.eventBytes, j.note)
	if err != nil {
		return fmt.Errorf("broker: jobs: %w", err)
	}
	if err := a.Wire.Reports(j.reported); err != nil {
		return fmt.Errorf("broker: jobs: %w", err)
	}
	j.serve(ctx, events)
	return nil
}

// serve opens the desk until ctx ends.
func (j *Desk) serve(ctx context.Context, events dropping) {
	close(j.ready)
	var reaching sync.WaitGroup
	reaching.Go(func() { j.reach(ctx) })
	reaching.Go(func() { j.missEvents(ctx, events) })
	j.tellPlaced(ctx)
	reaching.Wait()
	j.wakeAll()
}

// reported takes a report of a sweeper, or why it cannot be read.
func (j *Desk) reported(report *records.Report, err error) {
	if err != nil {
		j.log.Warn("unreadable report of queues", "error", err)
		return
	}
	j.clerk.queues.note(report)
}

// reconnected forgets what is known of the connection that was lost, and wakes all waiters, because events may have been
// lost with it.
func (j *Desk) reconnected() {
	j.shared.Recent.Clear()
	j.shared.Syncs.Forget()
	j.placements.Forget()
	j.wakeAll()
}
