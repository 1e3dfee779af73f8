package calls

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/intake"
	"headrace/broker/link"
	"headrace/broker/parcel"
	"headrace/broker/waiting"
	"headrace/internal/budget"
	"headrace/internal/fault"
	"headrace/internal/inference"
)

const (
	// inlineRequest is the largest request that travels in its message; a larger one is pulled at the claim.
	inlineRequest = 256 << 10
	// inlineReply is the largest reply that travels in its frame; a larger one is pulled.
	inlineReply = 64 << 10
	// publishPatience is how long a publish may go unacknowledged before it is repeated.
	publishPatience = time.Second
	// publishPause is the pause before it is repeated: the stream may be made, or get a leader, just now.
	publishPause = 50 * time.Millisecond
)

// FrontEnd is the side of the sync lane that makes calls. One front end serves a whole api process; its
// methods may be called concurrently.
type FrontEnd struct {
	dial   link.Dial
	local  *Local // nil when no worker is in this process
	log    *slog.Logger
	budget *budget.Bytes
	id     string

	ready   chan struct{} // closed when what follows is set
	link    *link.Link
	parcels *parcel.Depot
	frames  *nats.Subscription

	lastCall   atomic.Uint64
	calls      *callTable
	waiting    *waiting.Calls
	workers    *intake.Roster
	reports    intake.Reports
	inbox      *inbox
	supervisor *supervisor
	post       *post
}

// NewFrontEnd validates dial. replies is the budget that replies are reserved in before they are pulled or
// decoded. Those that come unasked, of up to 64 KiB, may pass it by an eighth.
func NewFrontEnd(dial link.Dial, local *Local, replies *budget.Bytes, log *slog.Logger) (*FrontEnd, error) {
	if err := dial.Validate(); err != nil {
		return nil, err
	}
	id := rand.Text()[:16]
	calls, workers := newCallTable(), intake.NewRoster()
	post := &post{id: id, log: log, streams: make(map[string]bool), before: make(map[string]bool), told: make(map[string]time.Time)}
	inbox := &inbox{calls: calls, budget: replies, post: post, log: log}
	return &FrontEnd{
		dial: dial, local: local, log: log, budget: replies, id: id, ready: make(chan struct{}),
		calls: calls, waiting: waiting.New(), workers: workers, inbox: inbox, post: post,
		supervisor: &supervisor{
			calls: calls, workers: workers, inbox: inbox, post: post, watch: watch{asked: make(map[string]time.Time)}, log: log,
			seeker: &seeker{calls: calls, inbox: inbox, post: post},
		},
	}, nil
}

// Run connects, waiting for the broker as long as it takes, and serves calls until ctx ends. Calls that are
// in flight then end with ShuttingDown.
func (f *FrontEnd) Run(ctx context.Context) error {
	l, err := f.dial.Open(ctx, "api", f.log, link.Events{Lost: f.connectionLost, Back: f.connectionBack})
	if err != nil {
		return link.Stopped(ctx, err)
	}
	defer l.NC.Close()
	bulk, err := f.dial.Open(ctx, "api bulk", f.log, link.Events{})
	if err != nil {
		return link.Stopped(ctx, err)
	}
	defer bulk.NC.Close()
	f.link, f.post.link, f.parcels = l, l, parcel.New(f.id, bulk.NC, f.budget)
	if err := errors.Join(f.parcels.Open(), f.subscribe()); err != nil {
		return err
	}
	var serving sync.WaitGroup
	serving.Go(func() { f.parcels.SweepUntil(ctx) })
	serving.Go(func() { f.supervisor.run(ctx) })
	f.askPresence()
	close(f.ready)
	f.local.join(f)
	serving.Wait()
	f.local.leave(f)
	for _, c := range f.calls.all() {
		c.end(outcome{err: fault.New(fault.ShuttingDown, "this front end is shutting down; try again")})
	}
	_ = l.NC.FlushTimeout(pingLost) // what was published last; the process ends either way
	return nil
}

// subscribe opens the inbox, and listens to what workers announce.
func (f *FrontEnd) subscribe() error {
	frames, err := f.link.NC.Subscribe(link.PrefixFrontEnd+f.id+".*", f.receive)
	if err != nil {
		return fmt.Errorf("broker: front end: %w", err)
	}
	// The library drops what is beyond its limit. A claim is asked again then, a publish is repeated, and a call whose reply
	// was dropped ends when its worker says that it does not hold it.
	if err := frames.SetPendingLimits(-1, int(arrivals(f.budget))); err != nil {
		return fmt.Errorf("broker: front end: %w", err)
	}
	f.frames = frames
	for subject, handler := range map[string]nats.MsgHandler{link.SubjectPresence: f.notePresence, link.SubjectStates: f.noteReport} {
		if _, err := f.link.NC.Subscribe(subject, handler); err != nil {
			return fmt.Errorf("broker: front end: %w", err)
		}
	}
	return nil
}

// receive takes everything that is sent to this front end's inbox. It runs on one goroutine and never blocks.
func (f *FrontEnd) receive(msg *nats.Msg) {
	_, tail, _ := strings.Cut(msg.Subject, link.PrefixFrontEnd+f.id+".")
	switch {
	case tail == link.FramesToken[1:]:
		f.inbox.receiveFrame(msg)
	case strings.HasPrefix(tail, "p-"):
		f.supervisor.receivePong(tail[2:], msg)
	default:
		if id, err := strconv.ParseUint(tail, 36, 64); err == nil {
			f.inbox.receiveAck(id, msg)
		}
	}
}

// notePresence takes the announcement of a worker.
func (f *FrontEnd) notePresence(msg *nats.Msg) {
	p, err := intake.ReadPresence(msg.Data)
	if err != nil {
		f.log.Warn("unreadable presence", "error", err)
		return
	}
	f.workers.Note(p, time.Now())
}

// noteReport takes a worker's report of its model servers.
func (f *FrontEnd) noteReport(msg *nats.Msg) {
	if err := f.reports.Note(msg); err != nil {
		f.log.Warn("unreadable report of replicas", "error", err)
	}
}

// askPresence makes all workers announce themselves now.
func (f *FrontEnd) askPresence() {
	if err := f.link.NC.Publish(link.SubjectPresenceAsk, nil); err != nil {
		f.log.Debug("asking for workers", "error", err)
	}
}

// Ready is nil while the front end is connected to the broker.
func (f *FrontEnd) Ready() error {
	select {
	case <-f.ready:
	default:
		return errors.New("the broker was not reached yet")
	}
	if !f.link.NC.IsConnected() {
		return errors.New("the connection to the broker is lost")
	}
	return nil
}

// State tells how many live workers serve a route with how many slots, how many calls of this front end wait for
// one, and how the workers say that the route's replicas fare.
func (f *FrontEnd) State(route string) inference.RouteState {
	workers, slots, _ := f.workers.Serves(route)
	return inference.RouteState{
		Workers: workers, Slots: slots, Waiting: f.waiting.Count(route), Replicas: f.reports.Of(route), Batching: f.reports.Batching(route),
	}
}

// Held is how many calls and bodies this front end holds; 0 when every caller has its answer. It is for use once Ready was nil.
func (f *FrontEnd) Held() int { return len(f.calls.all()) + f.parcels.Count() }

// Call publishes the request and waits for its answer, at most as long as ctx allows. Every error is a
// *fault.Error. The caller owns the result and must release it. The answer to a request that takes it in pieces may be a
// result with a Stream; ctx counts until it begins.
func (f *FrontEnd) Call(ctx context.Context, route *inference.Route, req *inference.Request) (*inference.Result, error) {
	began := time.Now()
	if err := f.awaitWorker(ctx, route); err != nil {
		return nil, err
	}
	size := req.Size()
	place, err := f.waiting.Enter(route, size)
	if err != nil {
		return nil, err
	}
	c := &call{
		id: f.lastCall.Add(1), route: route, caller: req.Caller, streams: req.Stream, lane: link.LaneOf(route), size: size, began: began,
		outcome: make(chan outcome, 1), again: make(chan struct{}, 1), place: place,
	}
	if deadline, ok := ctx.Deadline(); ok {
		c.deadline = deadline
	} else {
		c.deadline = began.Add(route.SyncTimeout)
	}
	f.calls.put(c)
	message, drop := f.envelope(c, req)
	done := func() {
		drop()
		f.leave(c)
	}
	res, err := f.run(ctx, c, message)
	if err == nil && res.Stream != nil {
		c.streamed(res, done)
		return res, nil
	}
	done()
	return res, err
}

// run hands the call to a worker, and waits for its outcome.
func (f *FrontEnd) run(ctx context.Context, c *call, message []byte) (*inference.Result, error) {
	if c.handed = f.hand(c, message); !c.handed {
		if err := f.publish(ctx, c, message); err != nil {
			f.calls.remove(c.id) // nothing was stored, so no acknowledgement will come
			return nil, err
		}
	}
	return f.await(ctx, c, message)
}

// hand gives a call to a free slot of this process, unless others wait for one. It reports whether it did.
func (f *FrontEnd) hand(c *call, message []byte) bool {
	if f.local == nil || f.waiting.Queued(c.route.Name) > 0 {
		return false
	}
	e, err := decodeEnvelope(message)
	if err != nil {
		return false // what cannot be read here is for other workers
	}
	return f.local.hand(handed{f.inbox, c.id}, e, c)
}

// awaitWorker gives a route without a live worker a moment: the first announcement may be on its way.
func (f *FrontEnd) awaitWorker(ctx context.Context, route *inference.Route) error {
	if workers, _, _ := f.workers.Serves(route.Name); workers > 0 {
		return nil
	}
	timer := time.NewTimer(link.PresenceWait)
	defer timer.Stop()
	select {
	case <-f.ready:
		f.askPresence()
	case <-timer.C:
		return fault.New(fault.NoWorkers, "the broker cannot be reached; the call did not run; try again")
	case <-ctx.Done():
		return link.EndOf(ctx, fault.Deadline)
	}
	for {
		workers, _, arrived := f.workers.Serves(route.Name)
		if workers > 0 {
			return nil
		}
		select {
		case <-arrived:
		case <-timer.C:
			return noWorkers(route.Name)
		case <-ctx.Done():
			return link.EndOf(ctx, fault.Deadline)
		}
	}
}

// noWorkers is the refusal of a call whose route has no live worker.
func noWorkers(route string) error {
	err := fault.New(fault.NoWorkers,
		"no live worker serves route %q; start one with `headrace worker` or `headrace up`, then try again", route)
	err.RetryAfter = 2 * time.Second
	return err
}

// envelope makes the call's message. A large request is held here until the claiming worker has pulled it,
// or drop is called.
func (f *FrontEnd) envelope(c *call, req *inference.Request) (message []byte, drop func()) {
	var w link.Writer
	link.WriteRequest(&w, req)
	segments, size := w.Finish()
	e := envelope{
		frontEnd: f.id, call: c.id, remaining: time.Until(c.deadline),
		requestID: req.ID, route: req.Route, kind: req.Type, request: segments,
	}
	if size <= inlineRequest {
		return e.encode(), func() {}
	}
	e.parcel = f.parcels.Hold(segments, size, nil)
	return e.encode(), func() { f.parcels.Drop(e.parcel.ID) }
}

// publish puts the message into the work queue. Its acknowledgement comes to the inbox, and nothing waits for it: the answer may
// be here first.
func (f *FrontEnd) publish(ctx context.Context, c *call, message []byte) error {
	if err := f.post.ensure(ctx, c.lane.Stream); err != nil {
		return err
	}
	reply := link.PrefixFrontEnd + f.id + "." + strconv.FormatUint(c.id, 36)
	c.queue()
	msg := &nats.Msg{Subject: c.lane.Subject, Reply: reply, Data: message}
	if c.caller != "" || c.streams {
		msg.Header = make(nats.Header, 2)
	}
	if c.caller != "" {
		msg.Header[headerCaller] = []string{c.caller}
	}
	if c.streams {
		msg.Header[headerStream] = []string{"1"}
	}
	if err := f.link.NC.PublishMsg(msg); err != nil && !f.awaited() {
		return fault.Wrap(fault.NoWorkers, err, "the broker cannot be reached; the call did not run; try again")
	}
	return nil
}

// await waits for the outcome of a published or handed call.
func (f *FrontEnd) await(ctx context.Context, c *call, message []byte) (*inference.Result, error) {
	var paused <-chan time.Time // of a publish that is repeated
	for {
		select {
		case o := <-c.outcome:
			return f.receiveOutcome(ctx, c, o)
		case <-c.again:
			if !c.handed {
				f.post.forget(c.lane.Stream)
				if paused == nil {
					paused = time.After(publishPause)
				}
				continue
			}
			c.handed = false
			if err := f.publish(ctx, c, message); err != nil {
				return nil, err
			}
		case <-paused:
			paused = nil
			if err := f.publish(ctx, c, message); err != nil {
				return nil, err
			}
		case <-ctx.Done():
			if c.holder() != "" {
				return nil, link.EndOf(ctx, fault.UpstreamTimeout)
			}
			return nil, link.EndOf(ctx, fault.Deadline)
		}
	}
}

// receiveOutcome makes an outcome what Call returns. A large answer is pulled now, in the time that the caller has left.
func (f *FrontEnd) receiveOutcome(ctx context.Context, c *call, o outcome) (*inference.Result, error) {
	if o.err != nil {
		return nil, o.err
	}
	answered := time.Now()
	result := o.result
	if o.offer != nil {
		pulled, err := f.pullReply(ctx, o.offer)
		if err != nil {
			return nil, err
		}
		result = pulled
	}
	c.mu.Lock()
	// A worker claims a call before a slot is free for it: what the model server did not take, the call has waited, but for
	// the way there and back.
	result.Queue = max(answered.Sub(c.began)-result.Upstream, c.claimedAt.Sub(c.began), 0)
	if result.Stream == nil {
		c.state = callWithdrawn // nothing is left to cancel
		c.sequence = 0
	}
	c.mu.Unlock()
	return result, nil
}

// pullReply fetches a large answer from its worker, as fast as there is room for its bytes.
func (f *FrontEnd) pullReply(ctx context.Context, ref *link.ParcelRef) (*inference.Result, error) {
	data, release, err := f.parcels.Pull(ctx, ref)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, link.EndOf(ctx, fault.UpstreamTimeout)
	default:
		return nil, fault.Wrap(fault.UpstreamUnavailable, err,
			"the worker that ran the call was lost before it handed over the answer; try again")
	}
	result, err := link.ReadResult(data)
	if err != nil {
		release()
		return nil, fault.Wrap(fault.Internal, err, "internal error")
	}
	result.Batch = max(result.Batch, 1)
	result.OnRelease(release)
	return result, nil
}

// leave removes a call from the table when its caller is done with it. A waiting call is deleted, a running call
// is cancelled.
func (f *FrontEnd) leave(c *call) {
	c.mu.Lock()
	received, worker, sequence := c.state == callWithdrawn, c.worker, c.sequence
	c.settle()
	c.state = callWithdrawn
	if now := time.Now(); now.Before(c.deadline) {
		c.deadline = now // from which supervise waits for the acknowledgement
	}
	c.mu.Unlock()
	switch {
	case received, worker == "" && c.handed:
	case worker == "" && sequence == 0:
		return // its publish may still be acknowledged; receiveAck or supervise removes it
	case worker == "":
		f.post.deleteMessage(c.lane.Stream, sequence)
	default: // it may still run, or hold its answer
		f.post.tell(link.PrefixWorker+worker+".c", cancelFrame(c.id, f.id))
	}
	f.calls.remove(c.id)
	select { // an answer that came too late
	case o := <-c.outcome:
		o.result.Release()
	default:
	}
}
