// Package lease has the words that workers and queues share: a delivery is leased, its claim is answered. A queue implements
// the interfaces, a worker uses them, and neither knows the other.
//
//	leased --Claim--> claimed --Answer, Fail, Drop or RunAlone--> over
//	   |
//	   +--Return--> another slot's
//
// A lease lasts for seconds and says nothing about who may run the request. The claim does: of several workers that hold
// a lease of the same request, one is granted it.
package lease

import (
	"context"
	"errors"
	"fmt"

	"headrace/internal/fault"
	"headrace/internal/inference"
)

var (
	// ErrNotClaimed is what Delivery.Claim returns when the request is not this worker's to run. Nothing is left to do, and
	// there is no caller to tell. ErrGone and ErrReturned are its two reasons.
	ErrNotClaimed = errors.New("not claimed")
	// ErrGone reports that the claim was refused: the caller has left, or another worker has the request. It is also the cause
	// of a claim's context when the caller has left.
	ErrGone = fmt.Errorf("%w: the request is gone", ErrNotClaimed)
	// ErrReturned reports that the lease was given back, for another worker to claim.
	ErrReturned = fmt.Errorf("%w: the lease was returned", ErrNotClaimed)
)

// Delivery is one leased request. Exactly one of Claim and Return is called, within a second.
type Delivery interface {
	// Route is the name of the request's route.
	Route() string
	// Claim takes the request for good. The returned context is a child of ctx, and ends when the caller leaves or its time
	// is over. After an error nothing is left to do: the request was given back or is gone (ErrNotClaimed), or the caller was told.
	Claim(ctx context.Context) (context.Context, Claim, error)
	// Return gives the request back for another slot, which gets it at once.
	Return()
}

// Claim is a request that this worker must answer. Exactly one of Answer, Fail, Drop and RunAlone ends it.
type Claim interface {
	// Request is the request; its bytes are valid until the claim has ended.
	Request() *inference.Request
	// Answer hands the result over and owns it from then on.
	Answer(ctx context.Context, result *inference.Result) error
	// Fail tells the caller what went wrong. It returns f, joined to the reason when the caller could not be told.
	Fail(ctx context.Context, f *fault.Error) error
	// Drop ends a claim whose caller has gone; a job goes back to its queue.
	Drop()
	// RunAlone gives a job back to its queue, to run by itself: the call that it shared ended badly, and that may have been
	// another's fault. It is for jobs only; a call fails.
	RunAlone(ctx context.Context) error
}

// Streaming is a Claim that can be answered in pieces, when its request takes them. Begin, Send as often as pieces come, and Complete
// stand for Answer; Fail and Drop end the stream as well. They are called by one goroutine. Once begun, the claim's context has
// no deadline of the caller's.
type Streaming interface {
	Claim
	// Begin hands over what is known beside the pieces: of head, Dropped and the times.
	Begin(ctx context.Context, head *inference.Result) error
	// Send hands pieces over, in order. It waits while the caller has too many of them before it; ctx's end ends that with its
	// cause.
	Send(ctx context.Context, pieces []inference.Event) error
	// Complete ends the claim: the caller has all pieces.
	Complete(ctx context.Context) error
}
