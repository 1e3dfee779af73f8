package calls

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"headrace/broker/link"
	"headrace/internal/fault"
	"headrace/internal/flow"
	"headrace/internal/inference"
	"headrace/internal/lease"
)

// claim is a call that this worker runs. Exactly one of its four verbs ends it.
type claim struct {
	request     *inference.Request
	answerer    *Answerer
	front       *inbox // when it is in this process; nil otherwise
	key         callKey
	cancel      context.CancelCauseFunc
	stopTimer   context.CancelFunc
	releaseBody func()
	parcel      atomic.Uint64 // of an answer that was offered; 0 before
	aborted     atomic.Bool   // the caller has gone
	once        sync.Once

	out  atomic.Pointer[flow.Out]   // of an answer in pieces; nil: it has not begun
	flow *flow.In                   // its other end, when it is in this process
	deaf atomic.Pointer[time.Timer] // aborts it when its front end, which is in another process, says nothing more
}

// Request is the call; its bytes are valid until the claim has ended.
func (c *claim) Request() *inference.Request { return c.request }

// abort ends the claim's context because its caller has gone.
func (c *claim) abort() {
	c.aborted.Store(true)
	c.cancel(lease.ErrGone)
	if parcel := c.parcel.Load(); parcel != 0 {
		c.answerer.parcels.Drop(parcel)
	}
}

// held reports whether the call is still running here, or its answer waits to be pulled.
func (c *claim) held() bool {
	if deaf := c.deaf.Load(); deaf != nil {
		deaf.Reset(deafAfter)
	}
	parcel := c.parcel.Load()
	return parcel == 0 || c.answerer.parcels.KeepAlive(parcel)
}

// finish ends the claim, once, whichever of its ways to end comes first.
func (c *claim) finish() {
	c.once.Do(func() {
		c.answerer.left(c)
		c.release()
	})
}

// release gives back what only the running call needs.
func (c *claim) release() {
	c.cancel(nil)
	if c.stopTimer != nil {
		c.stopTimer()
	}
	if deaf := c.deaf.Load(); deaf != nil {
		deaf.Stop()
	}
	if c.releaseBody != nil {
		c.releaseBody()
	}
}

// Answer hands the result over; it owns it from now on. A small one travels at once, a large one is kept
// until the front end has pulled it.
func (c *claim) Answer(ctx context.Context, result *inference.Result) error {
	if c.releaseBody != nil {
		c.releaseBody()
	}
	if c.front != nil {
		defer c.finish()
		c.front.answer(c.key.call, result)
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
	ref := c.answerer.parcels.Lend(segments, size, func() {
		result.Release()
		c.finish()
	})
	c.parcel.Store(ref.ID)
	if c.aborted.Load() { // it will not be pulled, and abort may have come too early to drop it
		c.answerer.parcels.Drop(ref.ID)
		return nil
	}
	frame := newFrame(frameOffer, c.key.call)
	frame.Ref(ref)
	if err := c.tell(ctx, frame.Tail); err != nil {
		c.answerer.parcels.Drop(ref.ID)
		return err
	}
	return nil
}

// Fail tells the caller what went wrong. It returns f, or why the caller could not be told.
func (c *claim) Fail(ctx context.Context, f *fault.Error) error {
	defer c.finish()
	if c.front != nil {
		c.front.fail(c.key.call, f)
		return f
	}
	if err := c.tell(ctx, failFrame(c.key.call, f)); err != nil {
		return errors.Join(f, err)
	}
	return f
}

// Drop ends a claim whose caller has gone.
func (c *claim) Drop() { c.finish() }

// RunAlone fails: a call is answered once it was claimed.
func (c *claim) RunAlone(ctx context.Context) error {
	return c.Fail(ctx, fault.Wrap(fault.Internal, errors.New("a call cannot be given back once it was claimed"), "internal error"))
}

// tell publishes a frame. While the connection is away it tries again for as long as the front end believes
// in this worker.
func (c *claim) tell(ctx context.Context, frame []byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pingLost)
	defer cancel()
	for {
		err := c.answerer.line.Link.NC.Publish(link.PrefixFrontEnd+c.key.frontEnd+link.FramesToken, frame)
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
