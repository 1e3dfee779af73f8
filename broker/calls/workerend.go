package calls

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
	"headrace/broker/parcel"
	"headrace/broker/records"
	"headrace/internal/budget"
	"headrace/internal/job"
)

// TimeStore sets the timer that gets how long the store takes. It must be called before Run.
func (w *WorkerEnd) TimeStore(timer records.StoreTimer) { w.timer = timer }

// JobAttempts is how many attempts at jobs have ended here, by route and outcome.
func (w *WorkerEnd) JobAttempts() map[records.Count]uint64 { return w.attempts.All() }

// JobInterruptions is how many jobs were taken over from workers that were lost, by route.
func (w *WorkerEnd) JobInterruptions() map[records.Count]uint64 { return w.interruptions.All() }

// JobLeasesLost is how many leases this worker has lost while it ran a job, by route.
func (w *WorkerEnd) JobLeasesLost() map[records.Count]uint64 { return w.leasesLost.All() }

// countEnd counts an attempt by its outcome.
func (w *WorkerEnd) countEnd(r *job.Record) {
	if n := len(r.Attempts); n > 0 {
		w.attempts.Add(r.Route, r.Attempts[n-1].Outcome)
	}
}

// WorkerEnd is the side of the sync lane that runs calls. One of them serves a whole worker process.
type WorkerEnd struct {
	dial   link.Dial
	local  *Local // nil when no front end is in this process
	shared records.Shared
	log    *slog.Logger
	bodies *budget.Bytes
	id     string

	ready   chan struct{} // closed when link and parcels are set
	link    *link.Link
	parcels *parcel.Depot
	jobs    *records.Store
	reports records.Reports // owned by noteQueues
	paused  pauses
	timer   records.StoreTimer
	lease   leaseTimes
	solo    *solo

	attempts, interruptions, leasesLost records.Counts // of jobs

	pools  func() []PoolReport // nil: nothing is told of model servers
	others *roster             // the other workers, to know who is left when this one leaves

	sleepers *sleepers
	wishes   *wishes
	troubles link.Troubles

	mu          sync.Mutex
	routes      map[string]int // announced: route -> slots
	leaving     bool
	intakes     map[*Intake]struct{}
	claims      map[uint64]chan claimAnswer // claims that wait for GO, by number
	claimed     uint64                      // number of the last claim
	running     map[callKey]*Claim          // claimed and not yet handed over
	runningJobs map[job.ID]*Claim
	starting    map[job.ID]int // starts that are about to be written
	epoch       int            // grows with every reconnect
	announce    chan struct{}  // capacity 1: announce now
}

// callKey names a call among all front ends.
type callKey struct {
	frontEnd string
	call     uint64
}

// claimAnswer is what a front end says to a claim.
type claimAnswer struct {
	granted bool
	left    time.Duration
}

// NewWorkerEnd validates dial. bodies is the budget that large request bodies are reserved in before they
// are pulled.
func NewWorkerEnd(dial link.Dial, local *Local, shared records.Shared, bodies *budget.Bytes, log *slog.Logger) (*WorkerEnd, error) {
	if err := dial.Validate(); err != nil {
		return nil, err
	}
	shared.Syncs = cmp.Or(shared.Syncs, records.NewSyncs())
	id := rand.Text()[:16]
	return &WorkerEnd{
		dial: dial, local: local, shared: shared, log: log, bodies: bodies, id: id, ready: make(chan struct{}),
		sleepers: newSleepers(), wishes: newWishes(link.PrefixWorker + id + ".l."),
		others: newRoster(), routes: make(map[string]int), intakes: make(map[*Intake]struct{}),
		claims: make(map[uint64]chan claimAnswer), running: make(map[callKey]*Claim), runningJobs: make(map[job.ID]*Claim), starting: make(map[job.ID]int),
		announce: make(chan struct{}, 1), lease: leaseTimes{records.AckWait, jobHeartbeat}, solo: newSolo(),
	}, nil
}

// ID is the worker's name on the wire, new with every start.
func (w *WorkerEnd) ID() string { return w.id }

// Run connects, waiting for the broker as long as it takes, and serves until ctx ends. The worker that leases from it
// must have finished before ctx ends, or its answers are lost.
func (w *WorkerEnd) Run(ctx context.Context) error {
	l, err := w.dial.Open(ctx, "worker", w.log, link.Events{Back: w.connectionBack, Slow: w.sleepers.doubt})
	if err != nil {
		return link.Stopped(ctx, err)
	}
	defer l.NC.Close()
	bulk, err := w.dial.Open(ctx, "worker bulk", w.log, link.Events{})
	if err != nil {
		return link.Stopped(ctx, err)
	}
	defer bulk.NC.Close()
	w.link, w.parcels, w.jobs = l, parcel.New(w.id, bulk.NC, w.bodies), records.NewStore(l, w.timer, w.shared)
	if err := w.parcels.Open(); err != nil {
		return err
	}
	for subject, handler := range map[string]nats.MsgHandler{
		link.PrefixWorker + w.id + ".c":   w.receiveControl,
		link.PrefixWorker + w.id + ".g.*": w.receiveAnswer,
		w.wishes.inbox + "*.*":            w.wishes.answer,
		link.SubjectPresence:              w.notePresence,
		records.SubjectCancel:             w.receiveCancel,
		subjectHeld(w.id):                 w.receiveHeld,
		records.SubjectQueues:             w.noteQueues,
		link.SubjectPresenceAsk:           func(*nats.Msg) { w.announceSoon() },
	} {
		if _, err := l.NC.Subscribe(subject, handler); err != nil {
			return fmt.Errorf("broker: worker: %w", err)
		}
	}
	var serving sync.WaitGroup
	serving.Go(func() { w.parcels.SweepUntil(ctx) })
	serving.Go(func() { w.announceUntil(ctx) })
	serving.Go(func() { w.sleepers.listen(ctx) })
	serving.Go(func() { w.sleepers.ask(ctx, l) })
	w.paused.begin(time.Now())
	if err := l.NC.Publish(records.SubjectQueuesAsk, nil); err != nil {
		w.log.Debug("asking for the paused queues; they are told twice a second", "error", err)
	}
	close(w.ready)
	serving.Wait()
	w.awaitParcels(context.WithoutCancel(ctx))
	return nil
}

// awaitParcels gives front ends a moment to pull what was just offered, and flushes the last frames.
func (w *WorkerEnd) awaitParcels(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pingLost)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for w.parcels.Count() > 0 && ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	if err := w.link.NC.FlushWithContext(ctx); err != nil && w.link.NC.IsConnected() {
		w.log.Warn("flushing the last answers", "error", err)
	}
}

// Ready is nil while the worker is connected to the broker.
func (w *WorkerEnd) Ready() error {
	select {
	case <-w.ready:
	default:
		return errors.New("the broker was not reached yet")
	}
	if !w.link.NC.IsConnected() {
		return errors.New("the connection to the broker is lost")
	}
	return nil
}

// Serve sets what this worker announces: routes with their slots. An empty set announces that it leaves.
func (w *WorkerEnd) Serve(routes map[string]int) {
	w.mu.Lock()
	w.routes = maps.Clone(routes)
	w.leaving = len(routes) == 0
	w.mu.Unlock()
	if len(routes) == 0 {
		w.solo.giveUp()
	}
	w.announceSoon()
}

// Running is how many calls and jobs this worker runs.
func (w *WorkerEnd) Running() (calls, jobs int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.running), len(w.runningJobs)
}

func (w *WorkerEnd) notePresence(msg *nats.Msg) {
	p, err := readPresence(msg.Data)
	if err != nil {
		w.log.Warn("unreadable presence", "error", err)
		return
	}
	if p.Worker != w.id {
		w.others.note(p, time.Now())
	}
}

// Settle waits until every route that is pulled from has another live worker or nothing that waits, or until
// ctx ends. It is for a worker that has announced that it leaves: what was accepted should still run.
func (w *WorkerEnd) Settle(ctx context.Context) {
	select {
	case <-w.ready:
	default:
		return
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !w.settled(ctx) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (w *WorkerEnd) settled(ctx context.Context) bool {
	w.others.expire(time.Now())
	w.mu.Lock()
	intakes := slices.Collect(maps.Keys(w.intakes))
	w.mu.Unlock()
	streams := make(map[string][]string) // subjects of those who have no other worker, by stream
	for _, in := range intakes {
		for _, p := range in.pullers {
			if p.jobs || p.asleep.Load() {
				continue // what waits of jobs waits for any worker; for a dormant route nothing waits
			}
			if others, _, _ := w.others.serves(p.route); others == 0 {
				streams[p.lane.Stream] = append(streams[p.lane.Stream], p.lane.Subject)
			}
		}
	}
	for stream, subjects := range streams {
		waiting, err := w.link.SubjectsIn(ctx, stream)
		if err != nil || slices.ContainsFunc(subjects, func(s string) bool { return waiting[s] > 0 }) {
			return false
		}
	}
	return true
}

func (w *WorkerEnd) announceSoon() {
	select {
	case w.announce <- struct{}{}:
	default:
	}
}

func (w *WorkerEnd) announceUntil(ctx context.Context) {
	tick := time.NewTicker(presenceEvery)
	defer tick.Stop()
	for {
		w.announceNow()
		w.reportNow()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-w.announce:
		}
	}
}

func (w *WorkerEnd) announceNow() {
	w.mu.Lock()
	p := presence{Worker: w.id, Routes: w.routes, Leaving: w.leaving}
	text, err := json.Marshal(p)
	silent := len(w.routes) == 0 && !w.leaving
	w.mu.Unlock()
	if err != nil || silent { // a map of numbers always marshals
		return
	}
	if err := w.link.NC.Publish(link.SubjectPresence, text); err != nil {
		w.log.Debug("announcing", "error", err)
	}
}

// connectionBack makes every intake pull again: the server has forgotten its pulls, and may have lost its
// streams.
func (w *WorkerEnd) connectionBack() {
	w.shared.Syncs.Forget()
	w.mu.Lock()
	w.epoch++
	for in := range w.intakes {
		in.signal()
	}
	w.mu.Unlock()
	w.announceSoon()
}

func (w *WorkerEnd) currentEpoch() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.epoch
}

// receiveAnswer takes GO or GONE, or the server's answer that the front end has gone.
func (w *WorkerEnd) receiveAnswer(msg *nats.Msg) {
	_, tail, _ := strings.Cut(msg.Subject, link.PrefixWorker+w.id+".g.")
	number, err := strconv.ParseUint(tail, 36, 64)
	if err != nil {
		return
	}
	w.mu.Lock()
	waiting := w.claims[number]
	delete(w.claims, number)
	w.mu.Unlock()
	if waiting == nil {
		return
	}
	var answer claimAnswer // no data is the server's 503: not granted
	if kind, _, r := openFrame(msg.Data); kind == frameGo {
		left := time.Duration(min(r.Uint(), 1<<40)) * time.Millisecond
		answer = claimAnswer{granted: r.Done() == nil, left: left}
	}
	waiting <- answer // capacity 1, and only one answer finds it
}

// receiveControl takes cancels and pings.
func (w *WorkerEnd) receiveControl(msg *nats.Msg) {
	switch kind, call, r := openFrame(msg.Data); kind {
	case frameCancel:
		key := callKey{frontEnd: r.String(), call: call}
		w.mu.Lock()
		c := w.running[key]
		w.mu.Unlock()
		if c != nil {
			c.abort()
		}
	case framePing:
		frontEnd := r.String()
		missing := w.missing(frontEnd, r.Calls())
		if err := msg.Respond(pongFrame(missing)); err != nil {
			w.log.Debug("answering a ping", "error", err)
		}
	case frameClaim, frameReply, frameOffer, frameFail, frameGo, frameGone, framePong:
		w.log.Warn("unexpected frame", "kind", string(kind))
	default:
		w.log.Warn("unknown frame", "kind", string(kind))
	}
}

// missing lists those of calls that this worker does not hold. Answers that were offered and not pulled yet
// stay alive by being asked for.
func (w *WorkerEnd) missing(frontEnd string, calls []uint64) (missing []uint64) {
	for _, call := range calls {
		w.mu.Lock()
		c := w.running[callKey{frontEnd, call}]
		w.mu.Unlock()
		if c == nil || !c.held() {
			missing = append(missing, call)
		}
	}
	return missing
}
