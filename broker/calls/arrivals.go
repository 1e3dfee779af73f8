package calls

import (
	"time"

	"headrace/broker/link"
	"headrace/internal/budget"
	"headrace/internal/fault"
)

const (
	// arrivalShare is the part of the replies' budget by which small replies may pass it: they come unasked, and to let them
	// wait for room would free nothing. As much again may have come without having been looked at.
	arrivalShare = 8
	// leastArrivals is what may arrive beyond a small budget: sixteen replies.
	leastArrivals = 16 * inlineReply
)

// arrivals is by how much replies that come unasked may pass their budget.
func arrivals(replies *budget.Bytes) int64 { return max(replies.Limit()/arrivalShare, leastArrivals) }

// arrive reserves the bytes of a reply that has come in its frame, decodes it and makes it an outcome. It never waits.
func (b *inbox) arrive(frame []byte) outcome {
	size := int64(len(frame))
	if !b.budget.TryReserveBeyond(size, arrivals(b.budget)) {
		err := fault.New(fault.QueueFull,
			"the model has answered, but there is no room for its reply: other replies fill their half of api.max_inflight_bytes; raise it, or try again later")
		err.RetryAfter = time.Second
		return outcome{err: err}
	}
	result, err := link.ReadResult(frame)
	if err != nil {
		b.budget.Release(size)
		return outcome{err: fault.Wrap(fault.Internal, err, "internal error")}
	}
	result.Batch = max(result.Batch, 1)
	result.OnRelease(func() { b.budget.Release(size) })
	return outcome{result: result}
}
