package runner

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/intake"
	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/budget"
	"headrace/internal/fault"
	"headrace/internal/job"
	"headrace/internal/lease"
)

// Config is what a runner is made of.
type Config struct {
	Shared records.Shared
	// Bodies is the budget that inputs are reserved in before they are read.
	Bodies *budget.Bytes
	// Timer gets how long the store takes; it may be nil.
	Timer records.StoreTimer
	// AckWait is how long a job's lease lasts without a heartbeat; 0 is records.AckWait.
	AckWait time.Duration
	Log     *slog.Logger
}

// Runner runs jobs in a worker process; there is one. It knows which jobs run here, and which are about to.
type Runner struct {
	shared  records.Shared
	bodies  *budget.Bytes
	timer   records.StoreTimer
	log     *slog.Logger
	ackWait time.Duration
	beat    time.Duration // between heartbeats

	line    *intake.Line    // set by Run before anything is leased
	store   *records.Store  // likewise
	reports records.Reports // owned by noteQueues
	paused  pauses
	solo    *solo

	attempts, interruptions, leasesLost records.Counts

	over  chan struct{} // closed when Run is about to return: no lease is renewed any more
	beats sync.WaitGroup

	mu       sync.Mutex
	ended    bool // over is closed
	running  map[job.ID]*attempt
	starting map[job.ID]int // starts that are about to be written
}

var _ intake.Kind = (*Runner)(nil)

// New makes a runner, which starts nothing. An intake.End runs it.
func New(cfg Config) *Runner {
	cfg.Shared.Syncs = cmp.Or(cfg.Shared.Syncs, records.NewSyncs())
	r := &Runner{
		shared: cfg.Shared, bodies: cfg.Bodies, timer: cfg.Timer, log: cfg.Log, ackWait: records.AckWait, beat: heartbeat,
		solo: newSolo(), over: make(chan struct{}), running: make(map[job.ID]*attempt), starting: make(map[job.ID]int),
	}
	if cfg.AckWait > 0 {
		r.ackWait, r.beat = cfg.AckWait, cfg.AckWait/heartbeatsMissed
	}
	return r
}

// Run serves jobs over the worker's connection. See intake.Kind.
func (r *Runner) Run(ctx context.Context, line *intake.Line, begun func()) error {
	r.line, r.store = line, records.NewStore(line.Link, r.timer, r.shared)
	if err := line.Subscribe(map[string]nats.MsgHandler{
		records.SubjectCancel: r.receiveCancel,
		subjectHeld(line.ID):  r.receiveHeld,
		records.SubjectQueues: r.noteQueues,
	}); err != nil {
		return err
	}
	r.paused.begin(time.Now())
	if err := line.Link.NC.Publish(records.SubjectQueuesAsk, nil); err != nil {
		r.log.Debug("asking for the paused queues; they are told twice a second", "error", err)
	}
	begun()
	<-ctx.Done()
	r.mu.Lock()
	r.ended = true
	close(r.over)
	r.mu.Unlock()
	r.beats.Wait()
	return nil
}

// Reconnected forgets what is on disk: a broker that lost its power may assign numbers a second time.
func (r *Runner) Reconnected() { r.shared.Syncs.Forget() }

// Leaving ends the wait of a job that waits to be alone.
func (r *Runner) Leaving() { r.solo.giveUp() }

// Running is how many jobs this worker runs.
func (r *Runner) Running() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.running)
}

// Attempts is how many attempts at jobs have ended here, by route and outcome.
func (r *Runner) Attempts() map[records.Count]uint64 { return r.attempts.All() }

// Interruptions is how many jobs were taken over from workers that were lost, by route.
func (r *Runner) Interruptions() map[records.Count]uint64 { return r.interruptions.All() }

// LeasesLost is how many leases this worker has lost while it ran a job, by route.
func (r *Runner) LeasesLost() map[records.Count]uint64 { return r.leasesLost.All() }

// countEnd counts an attempt by its outcome.
func (r *Runner) countEnd(rec *job.Record) {
	if n := len(rec.Attempts); n > 0 {
		r.attempts.Add(rec.Route, rec.Attempts[n-1].Outcome)
	}
}

// enter notes that a job runs here, and keeps its lease until the attempt or ctx ends.
func (r *Runner) enter(ctx context.Context, a *attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running[a.id] = a
	if !r.ended {
		r.beats.Go(func() { r.keep(ctx, a) })
	}
}

// left forgets an attempt that has ended.
func (r *Runner) left(a *attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running[a.id] == a {
		delete(r.running, a.id)
	}
}

// leave gives the places back that a job has in its process and its intake.
func (r *Runner) leave(d *delivery) {
	d.message.Leave()
	if !d.alone {
		r.solo.leave()
		return
	}
	r.solo.leaveAlone()
	r.line.Signal()
}

// open reads the job's input. An error that is not a *fault.Error comes from the store.
func (r *Runner) open(ctx context.Context, rec *job.Record, a *attempt) error {
	if rec.Input == nil {
		return fault.New(fault.Gone, "the job's input is not stored any more")
	}
	size := rec.Input.Bytes
	if err := r.bodies.Reserve(ctx, size); err != nil {
		return fault.Wrap(fault.QueueFull, err, "no room for the job's input in worker.max_inflight_bytes")
	}
	a.releaseBody = func() { r.bodies.Release(size) }
	data, err := r.readInput(ctx, rec)
	switch {
	case errors.Is(err, records.ErrNoBody):
		return fault.Wrap(fault.Gone, err, "the job's input is not stored any more")
	case errors.Is(err, records.ErrDamaged):
		r.log.Error("the input of a job is damaged", "job", rec.ID, "error", err)
		return fault.Wrap(fault.Gone, err, "the job's stored input is damaged")
	case err != nil:
		return err
	}
	in := link.Reader{Rest: data}
	in.Bytes() // what the caller sent
	if err := link.ReadRequest(in.Rest, a.request); in.Err != nil || err != nil {
		return fault.Wrap(fault.Internal, errors.Join(in.Err, err), "internal error")
	}
	return nil
}

// receiveCancel aborts a job that runs here.
func (r *Runner) receiveCancel(msg *nats.Msg) {
	r.mu.Lock()
	a := r.running[job.ID(msg.Data)]
	r.mu.Unlock()
	if a != nil {
		a.cancel(lease.ErrGone)
	}
}
