package jobs

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/job"
)

const (
	// maxEvents bounds the events of jobs that are not read yet, in bytes.
	maxEvents = 32 << 20
	// missedEvery is the interval at which dropped events are noticed.
	missedEvery = time.Second
	// withdrawWithin is how long after writing a job's record its front end may still withdraw it; far more than it takes.
	withdrawWithin = time.Minute
)

// Desk accepts jobs, follows them, cancels them and erases them. One Desk serves a whole api process; its methods may be
// called concurrently.
type Desk struct {
	dial   link.Dial
	shared records.Shared
	log    *slog.Logger
	ready  chan struct{}
	store  *records.Store
	room   *room
	gate   link.Gate

	maxWaiting int // jobs of one route; 0 = no limit of its own
	queues     queues
	timer      records.StoreTimer
	accepted   records.Counts
	placements records.Placements
	events     *nats.Subscription // to the changes of records; set before ready is closed

	mu      sync.Mutex
	waiters map[job.ID]map[*waiter]struct{}
}

// New returns a Desk that connects when Run is called. It validates dial. maxWaiting bounds the waiting jobs of one
// route; 0 means no bound.
func New(dial link.Dial, shared records.Shared, maxWaiting int, log *slog.Logger) (*Desk, error) {
	if err := dial.Validate(); err != nil {
		return nil, err
	}
	shared.Syncs = cmp.Or(shared.Syncs, records.NewSyncs())
	return &Desk{dial: dial, shared: shared, maxWaiting: maxWaiting, log: log, ready: make(chan struct{}), waiters: make(map[job.ID]map[*waiter]struct{})}, nil
}

// Run connects, waiting for the broker as long as it takes, and serves the other methods until ctx ends.
func (j *Desk) Run(ctx context.Context) error {
	l, err := j.dial.Open(ctx, "jobs", j.log, link.Events{Back: j.reconnected})
	if err != nil {
		return link.Stopped(ctx, err)
	}
	defer l.NC.Close()
	j.store = records.NewStore(l, j.timer, j.shared)
	j.store.Full = j.queues.diskFull
	j.room = newRoom(j.store)
	if j.events, err = l.NC.Subscribe(records.PrefixEvent+"*.*", j.note); err != nil {
		return fmt.Errorf("broker: jobs: %w", err)
	}
	if err := j.events.SetPendingLimits(-1, maxEvents); err != nil {
		return fmt.Errorf("broker: jobs: %w", err)
	}
	if _, err := l.NC.Subscribe(records.SubjectQueues, func(msg *nats.Msg) {
		if err := j.queues.note(msg); err != nil {
			j.log.Warn("unreadable report of queues", "error", err)
		}
	}); err != nil {
		return fmt.Errorf("broker: jobs: %w", err)
	}
	close(j.ready)
	var reaching sync.WaitGroup
	reaching.Go(func() { j.reach(ctx) })
	reaching.Go(func() { j.missEvents(ctx) })
	j.tellPlaced(ctx, l.NC)
	reaching.Wait()
	j.wakeAll()
	return nil
}

func (j *Desk) await(ctx context.Context) error {
	select {
	case <-j.ready:
		return nil
	case <-time.After(link.PresenceWait):
		f := fault.New(fault.NoWorkers, "the broker cannot be reached; try again")
		f.RetryAfter = time.Second
		return f
	case <-ctx.Done():
		return link.EndOf(ctx, fault.Deadline)
	}
}

// Accept stores a job: its input, its record and its entry in the work queue, in this order. When it returns, the job is
// as durable as its record says. When a job of the same id and fingerprint exists, Accept returns that one as it is now,
// with fresh false; one of another fingerprint is a fault of code KeyReused. Every error is a *fault.Error.
func (j *Desk) Accept(ctx context.Context, r *job.Record, body []byte, req *inference.Request) (now *job.Record, fresh bool, err error) {
	if err := j.await(ctx); err != nil {
		return nil, false, err
	}
	if err := j.admit(ctx, r); err != nil {
		was, err := j.placed(ctx, r, err)
		return was, false, err
	}
	at := time.Now().UTC()
	var w link.Writer
	w.Bytes(body)
	link.WriteRequest(&w, req)
	segments, size := w.Finish()
	life := r.Total + r.ResultTTL + records.BodyMargin
	if r.RunAt != nil {
		life += max(r.RunAt.Sub(at), 0)
	}
	// The series keeps the inputs of several equal requests apart until one request has won.
	r.Input, err = j.store.PutBody(ctx, r.ID, records.InputPrefix(r.ID), rand.Text()[:8], link.Joined(make([]byte, 0, size), segments), life)
	if err != nil {
		return nil, false, j.unstored(err)
	}
	r.Accept(at)
	err = j.store.Put(ctx, r, at)
	if errors.Is(err, records.ErrConflict) {
		err = j.replaceWithdrawn(ctx, r, at)
	}
	if errors.Is(err, records.ErrConflict) {
		return j.existing(ctx, r)
	}
	if err != nil {
		return nil, false, j.uncertain(r.ID, err)
	}
	if r.State == job.Queued {
		if err := j.store.Enqueue(ctx, r); err != nil {
			return nil, false, j.withdraw(ctx, r, err)
		}
		j.placements.Add(r.ID, r.Revision)
	}
	if err := j.store.Settle(ctx, r); err != nil { // it may run by now: nothing is promised yet
		return nil, false, j.uncertain(r.ID, err)
	}
	j.accepted.Add(r.Route, string(r.Priority))
	return r, true, nil
}

// admit returns an error when there is no room for one more job.
func (j *Desk) admit(ctx context.Context, r *job.Record) error {
	if f := j.refusal(); f != nil {
		return f
	}
	if err := j.room.check(ctx, r.ID); err != nil {
		return err
	}
	return j.queues.enter(r.Route, j.maxWaiting)
}

// placed returns the existing job when a new one would be refused: a repeated request needs no room.
func (j *Desk) placed(ctx context.Context, r *job.Record, refused error) (*job.Record, error) {
	if job.Ours(r.ID) && r.IdempotencyKey == "" {
		return nil, refused // the id is new: no earlier request can have used it
	}
	was, _, err := j.existing(ctx, r)
	if fault.CodeOf(err) == fault.KeyReused {
		return nil, err
	}
	if err != nil || was.Withdrawn() {
		return nil, refused
	}
	return was, nil
}

// existing returns the job that was stored before r, and drops what was stored for r.
func (j *Desk) existing(ctx context.Context, r *job.Record) (*job.Record, bool, error) {
	if r.Input != nil && r.Input.Parts > 0 { // no record refers to the parts of r
		j.dropUnused(ctx, r.ID, r.Input)
	}
	was, err := j.Get(ctx, r.ID)
	if err != nil {
		return nil, false, err
	}
	if was.Fingerprint != r.Fingerprint {
		return nil, false, fault.New(fault.KeyReused, "job %s exists and was asked for with another body or other options; choose another id", r.ID)
	}
	if was.State == job.Queued && was.Starts == 0 && time.Since(*was.QueuedAt) < withdrawWithin {
		// The writer may be about to withdraw it because the queue is full. Writing it again makes that withdrawal fail.
		if err := j.store.Put(ctx, was, time.Now().UTC()); errors.Is(err, records.ErrConflict) {
			return j.existing(ctx, r)
		} else if err != nil {
			return nil, false, j.uncertain(was.ID, err)
		}
	}
	// The caller that placed it may still wait, or may have been told that it could not be stored.
	if err := j.store.Settle(ctx, was); err != nil {
		return nil, false, j.uncertain(was.ID, err)
	}
	return was, false, nil
}

// unstored is the caller's error for a write that failed.
func (j *Desk) unstored(err error) error {
	if f := j.refusal(); f != nil {
		return f
	}
	if link.Full(err) {
		f := fault.Wrap(fault.QueueFull, err, "the store for jobs is full; try again later, or raise broker.max_store")
		f.RetryAfter = 5 * time.Second
		return f
	}
	f := fault.Wrap(fault.NoWorkers, err, "the job could not be stored; try again: with an Idempotency-Key, or an id of your own, it will not run twice")
	f.RetryAfter = time.Second
	return f
}

// uncertain is the caller's error for a write that failed or may have happened all the same.
func (j *Desk) uncertain(id job.ID, err error) error {
	if link.Full(err) {
		return j.unstored(err)
	}
	f := fault.Wrap(fault.NoWorkers, err, "job %s may or may not have been stored; check GET /v1/jobs/%s or try again: with an Idempotency-Key, or an id of your own, it will not run twice", id, id)
	f.RetryAfter = time.Second
	return f
}

// Key claims an idempotency key for id. It returns the id that the key belongs to, and the fingerprint of the first request
// with the key. Keys are kept for life.
func (j *Desk) Key(ctx context.Context, scope, key string, id job.ID, fingerprint string, life time.Duration) (job.ID, string, error) {
	if err := j.await(ctx); err != nil {
		return "", "", err
	}
	type claim struct {
		ID          job.ID `json:"id"`
		Fingerprint string `json:"fingerprint"`
	}
	sum := sha256.Sum256([]byte(scope + "\x00" + key))
	name := hex.EncodeToString(sum[:])
	shard := records.ShardOf(name)
	msg := nats.NewMsg(records.PrefixKey + shard + "." + name)
	var err error
	if msg.Data, err = json.Marshal(claim{id, fingerprint}); err != nil {
		return "", "", fault.Wrap(fault.Internal, err, "internal error")
	}
	ctx, cancel := context.WithTimeout(ctx, records.StorePatience)
	defer cancel()
	err = j.store.Publish(ctx, records.RecordStream+shard, msg, jetstream.WithExpectLastSequencePerSubject(0), jetstream.WithMsgTTL(max(life, time.Second)))
	if err == nil {
		return id, fingerprint, nil
	}
	if !link.WrongLast(err) {
		return "", "", j.unstored(err)
	}
	stream, err := j.store.Stream(ctx, records.RecordStream+shard)
	if err != nil {
		return "", "", j.unstored(err)
	}
	first, err := stream.GetLastMsgForSubject(ctx, msg.Subject)
	if err != nil {
		return "", "", j.unstored(err)
	}
	if err := j.store.Durable(ctx, records.RecordStream+shard, first.Sequence); err != nil { // the first caller may still wait for it
		return "", "", j.unstored(err)
	}
	var held claim
	if err := json.Unmarshal(first.Data, &held); err != nil {
		return "", "", fault.Wrap(fault.Internal, err, "internal error")
	}
	return held.ID, held.Fingerprint, nil
}

// Get reads a job's record. Every error is a *fault.Error; NotFound wraps ErrNoJob.
func (j *Desk) Get(ctx context.Context, id job.ID) (*job.Record, error) {
	if err := j.await(ctx); err != nil {
		return nil, err
	}
	r, err := j.store.Get(ctx, id)
	return r, j.unread(id, err)
}

func (j *Desk) unread(id job.ID, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, job.ErrMove):
		return fault.New(fault.Conflict, "%w", err)
	case errors.Is(err, records.ErrNoJob):
		return fault.Wrap(fault.NotFound, err, "there is no job %q", id)
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	if f := j.refusal(); f != nil {
		return f
	}
	f := fault.Wrap(fault.NoWorkers, err, "the store for jobs cannot be reached; try again")
	f.RetryAfter = time.Second
	return f
}

// Input reads the input of a job, as its caller sent it.
func (j *Desk) Input(ctx context.Context, r *job.Record) ([]byte, error) {
	data, err := j.store.Body(ctx, r.ID, records.InputPrefix(r.ID), r.Input)
	if err != nil {
		return nil, j.lost(r.ID, err)
	}
	reader := link.Reader{Rest: data}
	body := reader.Bytes()
	return body, reader.Err
}

// Result reads the result of a job that succeeded.
func (j *Desk) Result(ctx context.Context, r *job.Record) (*inference.Result, error) {
	data, err := j.store.Body(ctx, r.ID, records.OutputPrefix(r.ID), r.Result)
	if err != nil {
		return nil, j.lost(r.ID, err)
	}
	result, err := link.ReadResult(data)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "internal error")
	}
	return result, nil
}

// lost is the caller's error for an input or a result that could not be read.
func (j *Desk) lost(id job.ID, err error) error {
	switch {
	case errors.Is(err, records.ErrNoBody):
		return fault.Wrap(fault.Gone, err, "the stored input or result is no longer available")
	case errors.Is(err, records.ErrDamaged):
		j.log.Error("the stored input or result of a job is damaged", "job", id, "error", err)
		return fault.Wrap(fault.Gone, err, "the stored input or result is damaged")
	}
	return j.unread(id, err)
}

// change applies a move to a job, durably.
func (j *Desk) change(ctx context.Context, id job.ID, move func(*job.Record, time.Time) (same bool, err error)) (*job.Record, error) {
	r, err := j.store.Change(ctx, id, move)
	if err != nil {
		return nil, err
	}
	return r, j.store.Settle(ctx, r)
}

// Cancel ends a waiting job, or requests the end of a running one. It may be repeated.
func (j *Desk) Cancel(ctx context.Context, id job.ID) (*job.Record, error) {
	if err := j.await(ctx); err != nil {
		return nil, err
	}
	r, err := j.change(ctx, id, func(r *job.Record, now time.Time) (bool, error) {
		if r.State.Terminal() || r.State == job.Cancelling {
			return true, nil
		}
		r.Cancel(now)
		return false, nil
	})
	if err != nil {
		return nil, j.unread(id, err)
	}
	if r.State == job.Cancelling {
		if err := j.store.Link.NC.Publish(records.SubjectCancel, []byte(id)); err != nil {
			j.log.Debug("a cancel was not broadcast; the worker sees it at its next heartbeat", "job", id, "error", err)
		}
		return r, nil
	}
	if err := j.store.Unqueue(ctx, r); err != nil {
		j.log.Debug("a cancelled job stays in the queue; the worker that gets it drops it", "job", id, "error", err)
	}
	return r, nil
}

// dropUnused removes parts of an input that no job uses.
func (j *Desk) dropUnused(ctx context.Context, id job.ID, input *job.Body) {
	if err := j.store.Erase(ctx, id, records.InputPrefix(id)+input.Series+"."); err != nil {
		j.log.Warn("an unused input stays until it expires", "job", id, "error", err)
	}
}

// Erase removes input and result of a job that has ended and leaves a tombstone. It cancels a running job first, and
// erases it when it has ended, if that is before ctx ends.
func (j *Desk) Erase(ctx context.Context, id job.ID) error {
	r, err := j.Cancel(ctx, id)
	if err != nil {
		return err
	}
	if !r.State.Terminal() {
		if _, err = j.WaitEnd(ctx, id); err != nil {
			return err
		}
	}
	_, err = j.change(ctx, id, func(r *job.Record, now time.Time) (bool, error) {
		if r.State == job.Erased {
			return true, nil
		}
		return false, r.Erase(now)
	})
	if err != nil {
		return j.unread(id, err)
	}
	if err := errors.Join(j.store.ForgetVersions(ctx, id), j.store.Erase(ctx, id, records.InputPrefix(id), records.OutputPrefix(id))); err != nil {
		return j.unread(id, err)
	}
	return nil
}

// TimeStore sets the timer that gets how long the store takes. It must be called before Run.
func (j *Desk) TimeStore(timer records.StoreTimer) { j.timer = timer }

// Accepted counts the jobs that this Desk accepted, by route and priority.
func (j *Desk) Accepted() map[records.Count]uint64 { return j.accepted.All() }
