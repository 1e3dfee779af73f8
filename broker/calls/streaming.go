package calls

import (
	"context"
	"time"

	"headrace/internal/fault"
	"headrace/internal/flow"
	"headrace/internal/inference"
	"headrace/internal/lease"
)

// headerStream is the header of a message whose caller takes the answer in pieces. Workers that do not know it answer whole.
const headerStream = "Headrace-Stream"

// deafAfter is how long a worker goes on with a stream whose front end does not ask for it. It asks each second, and has ended its
// streams when it was away.
const deafAfter = 10 * time.Second

// streamIn begins a stream at the front end of a call; nil when nothing waits for it. The window is reserved at once.
func (b *inbox) streamIn(c *call, head *inference.Result, grant func(total uint64)) *flow.In {
	if !b.budget.TryReserveBeyond(flow.Window, arrivals(b.budget)) {
		err := fault.New(fault.QueueFull,
			"the model answers, but there is no room for its stream: other replies fill their half of api.max_inflight_bytes; raise it, or try again later")
		err.RetryAfter = time.Second
		c.end(outcome{err: err})
		return nil
	}
	in := flow.NewIn(grant)
	head.Stream = flow.NewReader(in, b.budget)
	head.OnRelease(head.Stream.Close)
	if !c.stream(in, head) {
		head.Release()
		return nil
	}
	return in
}

// stream makes a stream the outcome of a claimed call, and reports whether something waits for it.
func (c *call) stream(in *flow.In, head *inference.Result) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != callClaimed || !c.streams {
		return false
	}
	c.state, c.flow = callEnded, in
	c.outcome <- outcome{result: head}
	return true
}

// inflow is the stream of a call; nil when there is none.
func (c *call) inflow() *flow.In {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flow
}

// streamed makes Call's result of an outcome that is a stream. done is called when the stream is closed.
func (c *call) streamed(result *inference.Result, done func()) {
	s, ok := result.Stream.(*flow.Reader)
	if !ok {
		return
	}
	s.OnClose(func() {
		if s.Complete() {
			c.mu.Lock()
			c.state, c.sequence = callWithdrawn, 0 // nothing is left to cancel
			c.mu.Unlock()
		}
		done()
	})
}

var _ lease.Streaming = (*claim)(nil)

// Begin is part of lease.Streaming.
func (c *claim) Begin(ctx context.Context, head *inference.Result) error {
	if c.stopTimer != nil {
		c.stopTimer() // the caller's time was for the beginning
	}
	if c.front == nil {
		c.out.Store(flow.NewOut(func(number uint64, data []byte) error { return c.tell(ctx, chunkFrame(c.key.call, number, data)) }))
		c.deaf.Store(time.AfterFunc(deafAfter, c.abort))
		return c.tell(ctx, streamFrame(c.key.call, head))
	}
	waiting := c.front.calls.get(c.key.call)
	if waiting == nil {
		return lease.ErrGone
	}
	out := flow.NewOut(func(number uint64, data []byte) error {
		c.flow.Put(number, data)
		return nil
	})
	if c.flow = c.front.streamIn(waiting, head, out.Allow); c.flow == nil {
		return lease.ErrGone
	}
	c.out.Store(out)
	return nil
}

// Send is part of lease.Streaming.
func (c *claim) Send(ctx context.Context, pieces []inference.Event) error {
	return c.out.Load().Send(ctx, pieces) //nolint:wrapcheck // it is the cause of ctx, or told why a frame was not sent
}

// Complete is part of lease.Streaming.
func (c *claim) Complete(ctx context.Context) error {
	defer c.finish()
	if c.front == nil {
		return c.tell(ctx, endFrame(c.key.call, c.out.Load().Chunks()))
	}
	c.flow.End(c.out.Load().Chunks())
	return nil
}
