package calls

import (
	"context"
	"errors"
	"fmt"
	"time"

	"headrace/broker/link"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/lease"
)

const (
	// ackWait is how long a lease lasts. A worker that dies between lease and claim costs this much time.
	ackWait = 2 * time.Second
	// leaseLife is the age at which a lease is returned instead of claimed, so that no worker claims what the
	// server may be handing to another worker.
	leaseLife = ackWait * 3 / 4
	// claimPatience is how long a claim waits for the front end's answer.
	claimPatience = time.Second
)

// delivery is one leased call. Exactly one of Claim and Return must be called, soon.
type delivery struct {
	answerer *Answerer
	source   source
	envelope *envelope
	caller   string // whose call it is; "" when that was not said
	streams  bool   // its caller takes the answer in pieces
}

// source is where a delivery comes from, which is told what becomes of it.
type source interface {
	// Ack: the call was claimed, or is gone.
	Ack()
	// GiveBack: another slot is to have it.
	GiveBack()
	// Age is for how long the delivery has been leased.
	Age() time.Duration
}

// handed is the source of a delivery that a front end of the same process has handed over. It stands in no queue, so it does
// not age.
type handed struct {
	front *inbox
	call  uint64
}

// Ack does nothing: there is no message.
func (h handed) Ack() {}

// GiveBack makes the call wait in the work queue after all, where any worker finds it.
func (h handed) GiveBack() { h.front.takeBack(h.call) }

// Age is always 0: no server hands the call to another worker.
func (h handed) Age() time.Duration { return 0 }

// Route is the name of the call's route.
func (d *delivery) Route() string { return d.envelope.route }

// Return gives the call back; another slot, here or elsewhere, gets it at once.
func (d *delivery) Return() { d.source.GiveBack() }

// Claim takes the call for good: it asks the front end, acknowledges the message, and fetches a large body.
// The returned context ends when the caller leaves or its time is over; it is a child of ctx. lease.ErrNotClaimed
// needs no further step. Any other error was reported to the caller.
func (d *delivery) Claim(ctx context.Context) (context.Context, lease.Claim, error) {
	if d.source.Age() > leaseLife {
		d.Return()
		return nil, nil, lease.ErrReturned
	}
	c := &claim{answerer: d.answerer, key: callKey{d.envelope.frontEnd, d.envelope.call}}
	ctx, c.cancel = context.WithCancelCause(ctx)
	if !d.answerer.enter(c) {
		d.source.Ack() // a second copy of what already runs here
		return nil, nil, lease.ErrGone
	}
	c.front = d.answerer.local.front(c.key.frontEnd)
	answer, err := d.askOf(ctx, c)
	if err == nil && !answer.granted {
		d.source.Ack()
		err = lease.ErrGone
	} else if err != nil {
		d.Return()
		err = lease.ErrReturned
	}
	if err != nil {
		c.finish()
		return nil, nil, err
	}
	d.source.Ack()
	if d.streams {
		c.stopTimer = c.beginWithin(answer.left)
	} else {
		ctx, c.stopTimer = context.WithTimeout(ctx, answer.left)
	}
	c.request = &inference.Request{
		ID: d.envelope.requestID, Route: d.envelope.route, Type: d.envelope.kind, Caller: d.caller, Stream: d.streams,
	}
	if err := d.open(ctx, c); err != nil {
		return nil, nil, c.Fail(ctx, err)
	}
	return ctx, c, nil
}

// beginWithin ends the claim's context unless its answer begins in time; stop ends that.
func (c *claim) beginWithin(left time.Duration) (stop func()) {
	timer := time.AfterFunc(left, func() {
		c.cancel(fault.Wrap(fault.UpstreamTimeout, context.DeadlineExceeded, "the answer did not begin in the time that the caller had left"))
	})
	return func() { timer.Stop() }
}

// askOf asks the front end, wherever it is.
func (d *delivery) askOf(ctx context.Context, c *claim) (claimAnswer, error) {
	if c.front != nil {
		return c.front.claim(c.key.call, d.answerer.line.ID), nil
	}
	return d.ask(ctx, c.key.call)
}

// ask sends the claim and waits for GO or GONE.
func (d *delivery) ask(ctx context.Context, call uint64) (claimAnswer, error) {
	reply, answer, forget := d.answerer.expect()
	defer forget()
	line := d.answerer.line
	subject := link.PrefixFrontEnd + d.envelope.frontEnd + link.FramesToken
	if err := line.Link.NC.PublishRequest(subject, reply, claimFrame(call, line.ID)); err != nil {
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
func (d *delivery) open(ctx context.Context, c *claim) *fault.Error {
	data := d.envelope.inline
	if ref := d.envelope.parcel; ref != nil {
		pulled, release, err := d.answerer.parcels.Pull(ctx, ref)
		if err != nil {
			return fault.Wrap(fault.UpstreamUnavailable, err, "the worker could not fetch the request's body; try again")
		}
		data, c.releaseBody = pulled, release
	}
	if err := link.ReadRequest(data, c.request); err != nil {
		return fault.Wrap(fault.Internal, err, "internal error")
	}
	return nil
}
