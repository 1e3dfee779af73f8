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

// New returns a Desk that connects when Run is called. It validates dial. maxWaiting bounds the waiting jobs of one
// route; 0 means no bound.
func New(dial link.Dial, shared records.Shared, maxWaiting int, log *slog.Logger) (*Desk, error) {
	if err := dial.Validate(); err != nil {
		return nil, err
	}
	shared.Syncs = cmp.Or(shared.Syncs, records.NewSyncs())
	d := &door{log: log, ready: make(chan struct{})}
	if dial.Server != nil {
		d.disk = dial.Server
	}
	j := &Desk{door: d, dial: dial, shared: shared, eventBytes: maxEvents, clerk: &clerk{door: d}}
	j.acceptor = &acceptor{door: d, queues: &j.clerk.queues, maxWaiting: maxWaiting}
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

// TimeStore sets the timer that gets how long the store takes. It must be called before Run.
func (j *Desk) TimeStore(timer records.StoreTimer) { j.timer = timer }
