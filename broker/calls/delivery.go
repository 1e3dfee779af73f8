package calls

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/job"
)

const (
	// ackWait is how long a lease lasts. A worker that dies between lease and claim costs this much time.
	ackWait = 2 * time.Second
	// leaseLife is the age at which a lease is returned instead of claimed, so that no worker claims what the
	// server may be handing to another worker.
	leaseLife = 1500 * time.Millisecond
	// claimPatience is how long a claim waits for the front end's answer.
	claimPatience = time.Second
	// maxDeliver bounds how often a message is leased. A lease that is returned counts, and where several routes
	// share few slots a message can be returned several times in a row; past the bound it would wait unseen.
	maxDeliver = 64

	ack, nak = "+ACK", "-NAK"              // what JetStream takes as a lease's end
	nakLater = `-NAK {"delay": 500000000}` // for half a second no worker gets it
	// nakKept is nak for jobs: the server writes a delay to disk, and remembers one without a delay only while it runs. If it
	// stopped before a worker asked, the job would wait until its old lease had ended.
	nakKept = `-NAK {"delay": 1000000}`
)

var (
	// ErrGone says that a claim was refused: the caller has left, or another worker has the call. There is
	// nothing to do and no caller to tell.
	ErrGone = errors.New("the call is gone")
	// ErrReturned says that a lease was given back for another worker to claim.
	ErrReturned = errors.New("the lease was returned")
)

// Delivery is one leased request. Exactly one of Claim and Return must be called, soon.
type Delivery struct {
	worker   *WorkerEnd
	msg      *nats.Msg // nil when it was handed over by from
	from     *FrontEnd
	envelope *envelope // nil for a job
	caller   string    // of a request that was handed over
	job      job.ID    // "" for a synchronous request
	route    string
	arrived  time.Time // monotonic
	left     func()    // job: gives the intake's place back; nil once called
	alone    bool      // job: no other one runs in this process
}

// Route is the name of the request's route.
func (d *Delivery) Route() string { return d.route }

// leave gives the place back that a job has in its intake.
func (d *Delivery) leave() {
	if d.left != nil {
		d.left()
		d.left = nil
	}
}

// Return gives the request back; another slot, here or elsewhere, gets it at once.
func (d *Delivery) Return() {
	d.leave()
	if d.job != "" {
		d.settle(nakKept)
		return
	}
	d.settle(nak)
}

// refuse gives back what this worker cannot read, and leaves another one time to get it.
func (d *Delivery) refuse() { d.settle(nakLater) }

func (d *Delivery) settle(verdict string) {
	if d.msg == nil {
		if verdict == nak {
			d.from.takeBack(d.envelope.call)
		}
		return
	}
	if err := d.msg.Respond([]byte(verdict)); err != nil {
		d.worker.log.Debug("settling a lease", "verdict", verdict, "error", err)
	}
}

// Claim takes the call for good: it asks the front end, acknowledges the message, and fetches a large body.
// The returned context ends when the caller leaves or its time is over; it is a child of ctx. ErrGone and
// ErrReturned need no further step. Any other error was reported to the caller.
func (d *Delivery) Claim(ctx context.Context) (context.Context, *Claim, error) {
	if d.job != "" {
		return d.claimJob(ctx)
	}
	if d.msg != nil && time.Since(d.arrived) > leaseLife {
		d.Return()
		return nil, nil, ErrReturned
	}
	c := &Claim{worker: d.worker, key: callKey{d.envelope.frontEnd, d.envelope.call}}
	ctx, c.cancel = context.WithCancelCause(ctx)
	if !d.worker.enter(c) {
		d.settle(ack) // a second copy of what already runs here
		return nil, nil, ErrGone
	}
	c.front = d.worker.local.front(c.key.frontEnd)
	answer, err := d.askOf(ctx, c)
	if err == nil && !answer.granted {
		d.settle(ack)
		err = ErrGone
	} else if err != nil {
		d.Return()
		err = ErrReturned
	}
	if err != nil {
		c.finish()
		return nil, nil, err
	}
	d.settle(ack)
	ctx, c.stopTimer = context.WithTimeout(ctx, answer.left)
	c.Request = &inference.Request{ID: d.envelope.requestID, Route: d.envelope.route, Type: d.envelope.kind, Caller: d.caller}
	if d.msg != nil {
		c.Request.Caller = d.msg.Header.Get(headerCaller)
	}
	if err := d.open(ctx, c); err != nil {
		return nil, nil, c.Fail(ctx, err)
	}
	return ctx, c, nil
}

// askOf asks the front end, wherever it is.
func (d *Delivery) askOf(ctx context.Context, c *Claim) (claimAnswer, error) {
	if c.front != nil {
		return c.front.claimLocally(c.key.call, d.worker.id), nil
	}
	return d.ask(ctx, c.key.call)
}

// ask sends the claim and waits for GO or GONE.
func (d *Delivery) ask(ctx context.Context, call uint64) (claimAnswer, error) {
	w := d.worker
	answer := make(chan claimAnswer, 1)
	w.mu.Lock()
	w.claimed++
	number := w.claimed
	w.claims[number] = answer
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.claims, number)
		w.mu.Unlock()
	}()
	reply := link.PrefixWorker + w.id + ".g." + strconv.FormatUint(number, 36)
	subject := link.PrefixFrontEnd + d.envelope.frontEnd + link.FramesToken
	if err := w.link.NC.PublishRequest(subject, reply, claimFrame(call, w.id)); err != nil {
		return claimAnswer{}, fmt.Errorf("claiming: %w", err)
	}
	timer := time.NewTimer(claimPatience)
	defer timer.Stop()
	select {
	case a := <-answer:
		return a, nil
	case <-timer.C:
		return claimAnswer{}, errors.New("claiming: the front end does not answer")
	case <-ctx.Done():
		return claimAnswer{}, context.Cause(ctx)
	}
}

// open reads the request out of its message, or pulls it from the front end first.
func (d *Delivery) open(ctx context.Context, c *Claim) *fault.Error {
	data := d.envelope.inline
	if ref := d.envelope.parcel; ref != nil {
		pulled, release, err := d.worker.parcels.Pull(ctx, ref)
		if err != nil {
			return fault.Wrap(fault.UpstreamUnavailable, err, "the worker could not fetch the request's body; try again")
		}
		data, c.releaseBody = pulled, release
	}
	if err := link.ReadRequest(data, c.Request); err != nil {
		return fault.Wrap(fault.Internal, err, "internal error")
	}
	return nil
}

// Claim is a call that this worker runs. Exactly one of Answer, Fail and Drop ends it.
type Claim struct {
	// Request is the call; its bytes are valid until the claim has ended.
	Request *inference.Request

	worker      *WorkerEnd
	front       *FrontEnd // when it is in this process; nil otherwise
	job         *jobRun   // nil for a synchronous request
	key         callKey
	cancel      context.CancelCauseFunc
	stopTimer   context.CancelFunc
	releaseBody func()
	parcel      atomic.Uint64 // of an answer that was offered; 0 before
	aborted     atomic.Bool   // the caller has gone
	once        sync.Once
}

// enter registers a claim; false when the call runs here already.
func (w *WorkerEnd) enter(c *Claim) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, twice := w.running[c.key]; twice {
		return false
	}
	w.running[c.key] = c
	return true
}

// abort ends the claim's context because its caller has gone.
func (c *Claim) abort() {
	c.aborted.Store(true)
	c.cancel(ErrGone)
	if parcel := c.parcel.Load(); parcel != 0 {
		c.worker.parcels.Drop(parcel)
	}
}

// held reports whether the call is still running here, or its answer waits to be pulled.
func (c *Claim) held() bool {
	parcel := c.parcel.Load()
	return parcel == 0 || c.worker.parcels.KeepAlive(parcel)
}

func (c *Claim) finish() {
	c.once.Do(func() {
		c.worker.mu.Lock()
		if c.job == nil {
			delete(c.worker.running, c.key)
		} else if c.worker.runningJobs[c.job.id] == c {
			delete(c.worker.runningJobs, c.job.id)
		}
		c.worker.mu.Unlock()
		if c.job != nil {
			close(c.job.finished)
			c.job.done()
		}
		c.release()
	})
}

// release gives back what only the running call needs.
func (c *Claim) release() {
	c.cancel(nil)
	if c.stopTimer != nil {
		c.stopTimer()
	}
	if c.releaseBody != nil {
		c.releaseBody()
	}
}

// Answer hands the result over; it owns it from now on. A small one travels at once, a large one is kept
// until the front end has pulled it.
func (c *Claim) Answer(ctx context.Context, result *inference.Result) error {
	if c.job != nil {
		return c.answerJob(ctx, result)
	}
	if c.releaseBody != nil {
		c.releaseBody()
	}
	if c.front != nil {
		defer c.finish()
		c.front.answerLocally(c.key.call, result)
		return nil
	}
	var w link.Writer
	link.WriteResult(&w, result)
	segments, size := w.Finish()
	if size <= inlineReply {
		frame := newFrame(frameReply, c.key.call)
		data := link.Joined(frame.Tail, segments)
		result.Release()
		defer c.finish()
		return c.tell(ctx, data)
	}
	ref := c.worker.parcels.Lend(segments, size, func() {
		result.Release()
		c.finish()
	})
	c.parcel.Store(ref.ID)
	if c.aborted.Load() { // it will not be pulled, and abort may have come too early to drop it
		c.worker.parcels.Drop(ref.ID)
		return nil
	}
	frame := newFrame(frameOffer, c.key.call)
	frame.Ref(ref)
	if err := c.tell(ctx, frame.Tail); err != nil {
		c.worker.parcels.Drop(ref.ID)
		return err
	}
	return nil
}

// Fail tells the caller what went wrong. It returns f, or why the caller could not be told.
func (c *Claim) Fail(ctx context.Context, f *fault.Error) error {
	if c.job != nil {
		return c.failJob(ctx, f)
	}
	defer c.finish()
	if c.front != nil {
		c.front.failLocally(c.key.call, f)
		return f
	}
	if err := c.tell(ctx, failFrame(c.key.call, f)); err != nil {
		return errors.Join(f, err)
	}
	return f
}

// Drop ends a claim whose caller has gone.
func (c *Claim) Drop() {
	if c.job != nil {
		c.dropJob()
		return
	}
	c.finish()
}

// tell publishes a frame. While the connection is away it tries again for as long as the front end believes
// in this worker.
func (c *Claim) tell(ctx context.Context, frame []byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pingLost)
	defer cancel()
	for {
		err := c.worker.link.NC.Publish(link.PrefixFrontEnd+c.key.frontEnd+link.FramesToken, frame)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("handing an answer over: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
