package calls

import (
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
	"headrace/internal/budget"
	"headrace/internal/fault"
	"headrace/internal/inference"
)

// inbox turns what comes to a front end into what its calls make of it: frames of workers, acknowledgements of publishes, and
// the words of workers of the same process. Nothing in it waits.
type inbox struct {
	calls  *callTable
	budget *budget.Bytes // of replies
	post   *post
	log    *slog.Logger
}

// receiveFrame takes what a worker says of a call. A call that is not in the table has ended: of its frames only a claim is
// answered, because a worker waits for that.
func (b *inbox) receiveFrame(msg *nats.Msg) {
	kind, id, r := openFrame(msg.Data)
	c := b.calls.get(id)
	switch kind {
	case frameClaim:
		b.receiveClaim(c, id, r.String(), msg)
	case frameReply:
		if c != nil {
			c.end(b.arrive(r.Rest))
		}
	case frameOffer:
		if ref := r.Ref(); c != nil && r.Done() == nil {
			c.end(outcome{offer: ref})
		}
	case frameFail:
		if c != nil {
			c.end(outcome{err: readFail(r.Rest)})
		}
	case frameStream:
		if c != nil {
			b.receiveStream(c, r.Rest)
		}
	case frameChunk:
		if in := c.inflow(); in != nil {
			in.Put(r.Uint(), r.Rest)
		}
	case frameEnd:
		if in := c.inflow(); in != nil {
			in.End(r.Uint())
		}
	case frameGo, frameGone, frameCancel, frameCredit, framePing, framePong:
		b.log.Warn("unexpected frame", "kind", string(kind))
	default:
		b.log.Warn("unknown frame", "kind", string(kind))
	}
}

// receiveStream begins an answer in pieces. Its worker is told how much it may send.
func (b *inbox) receiveStream(c *call, data []byte) {
	head, err := link.ReadResult(data)
	if err != nil {
		c.end(outcome{err: fault.Wrap(fault.Internal, err, "internal error")})
		return
	}
	head.Batch = max(head.Batch, 1)
	worker := c.holder()
	b.streamIn(c, head, func(total uint64) {
		b.post.tell(link.PrefixWorker+worker+".c", creditFrame(c.id, b.post.id, total))
	})
}

// receiveClaim answers a claim with GO to the one worker that may run the call, and with GONE to every other.
func (b *inbox) receiveClaim(c *call, id uint64, worker string, msg *nats.Msg) {
	answer := goneFrame(id)
	if c != nil {
		if left, ok := c.claim(worker, time.Now()); ok {
			answer = goFrame(id, left)
		}
	}
	b.post.tell(msg.Reply, answer)
}

// receiveAck notes where a message is stored, or why it is not.
func (b *inbox) receiveAck(id uint64, msg *nats.Msg) {
	c := b.calls.get(id)
	if c == nil {
		return // answered already
	}
	if len(msg.Data) == 0 && msg.Header.Get("Status") == "503" {
		b.repeat(c) // there is no such stream
		return
	}
	ack, err := link.ReadAck(msg.Data)
	if err != nil {
		b.log.Warn("unreadable acknowledgement", "error", err)
		return
	}
	if ack.Error != nil {
		b.refused(c, ack.Error.Description)
		return
	}
	c.mu.Lock()
	c.sequence = ack.Sequence
	withdrawn := c.state == callWithdrawn
	c.mu.Unlock()
	if withdrawn {
		b.post.deleteMessage(c.lane.Stream, ack.Sequence)
		b.calls.remove(id)
	}
}

// refused ends a call whose message the broker would not store, unless it was a repetition of one that is stored.
func (b *inbox) refused(c *call, reason string) {
	c.mu.Lock()
	stored := c.worker != "" || c.sequence != 0
	c.mu.Unlock()
	if stored {
		return
	}
	b.log.Warn("the broker refused a request", "stream", c.lane.Stream, "reason", reason)
	full := fault.New(fault.QueueFull, "the broker's queue is full (broker.max_memory); try again later")
	full.RetryAfter = time.Second
	c.end(outcome{err: full})
	b.calls.remove(c.id) // nothing more will be said about it
}

// forget removes a withdrawn call whose message was never stored.
func (b *inbox) forget(c *call) {
	c.mu.Lock()
	withdrawn := c.state == callWithdrawn
	c.mu.Unlock()
	if withdrawn {
		b.calls.remove(c.id)
	}
}

// repeat makes the caller publish the call again.
func (b *inbox) repeat(c *call) {
	b.forget(c)
	link.Ring(c.again)
}

// claim is receiveClaim for a worker of the same process.
func (b *inbox) claim(id uint64, worker string) claimAnswer {
	c := b.calls.get(id)
	if c == nil {
		return claimAnswer{}
	}
	left, ok := c.claim(worker, time.Now())
	return claimAnswer{granted: ok, left: left}
}

// answer takes a result of the same process over, its reservation included.
func (b *inbox) answer(id uint64, result *inference.Result) {
	if c := b.calls.get(id); c != nil {
		c.end(outcome{result: result})
		return
	}
	result.Release()
}

// fail ends a call with a failure of the same process.
func (b *inbox) fail(id uint64, err *fault.Error) {
	if c := b.calls.get(id); c != nil {
		c.end(outcome{err: err})
	}
}

// takeBack makes a call that was handed over wait in the work queue after all.
func (b *inbox) takeBack(id uint64) {
	if c := b.calls.get(id); c != nil {
		b.repeat(c)
	}
}
