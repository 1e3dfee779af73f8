package worker

import (
	"bytes"
	"context"
	"net/http"
	"sync"
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/lease"
	"headrace/internal/provider"
	"headrace/worker/batch"
)

// list is the long list of one caller. It is asked in parts, which wait and run like requests, one in line at a time;
// their answers are put together in order. When a part is not answered well the rest is dropped and the list asked as
// it came, in one call, so that its caller sees what it would have seen alone.
type list struct {
	pool  *pool
	whole *request
	cut   *batch.List     // belongs to the desk
	ctx   context.Context //nolint:containedctx // of the parts
	end   context.CancelFunc

	mu       sync.Mutex
	over     bool
	rows     [][]byte // answers, in the order of the list
	left     int      // rows that are not answered
	held     int64    // bytes of rows
	began    time.Time
	gathered time.Duration
	shared   int // requests in the call of a part, at most
}

// lengthsOf gives the bytes of each row.
func lengthsOf(rows [][]byte) []int {
	lengths := make([]int, len(rows))
	for i, row := range rows {
		lengths[i] = len(row)
	}
	return lengths
}

// listOf makes a list of a long request; the desk says how it is cut.
func (p *pool) listOf(r *request, cut *batch.List) *list {
	n := len(r.rows.Values)
	x := &list{pool: p, whole: r, cut: cut, rows: make([][]byte, n), left: n, began: time.Now()}
	x.ctx, x.end = context.WithCancel(r.ctx)
	context.AfterFunc(x.ctx, func() { // its caller has gone, unless it is over already
		held, _ := x.close()
		p.worker.parts.Release(held)
	})
	return x
}

// next cuts off the next part; nil when none is left, or the list is over.
func (x *list) next(l *batch.Learner, now time.Time) *request {
	if x.ctx.Err() != nil {
		return nil
	}
	first := x.cut.Left() == len(x.whole.rows.Values)
	rows := x.cut.Next(l, now)
	if len(rows) == 0 {
		return nil
	}
	of := x.whole
	r := &request{target: of.target, ctx: x.ctx, claim: &part{x, rows, first}, merges: true, list: x, item: of.item}
	r.rows = provider.Rows{Key: of.rows.Key, Head: of.rows.Head, Tail: of.rows.Tail}
	r.item.Rows, r.item.Length, r.item.Bytes, r.item.Arrival = len(rows), 0, 0, now
	for _, i := range rows {
		row := of.rows.Values[i]
		r.rows.Values = append(r.rows.Values, row)
		r.item.Length = max(r.item.Length, len(row))
		r.item.Bytes += int64(len(row))
	}
	x.pool.calls.Add(1) // until it has ended
	r.watch = context.AfterFunc(x.ctx, func() { x.pool.left(r) })
	return r
}

// first says that a request is whole, or the first part of its list.
func (r *request) first() bool {
	if r.list == nil {
		return true
	}
	c, ok := r.claim.(*part)
	return ok && c.first
}

// part is the claim of a part of a list. Its result is the raw answers to its rows.
type part struct {
	list  *list
	rows  []int
	first bool
}

var _ lease.Claim = (*part)(nil)

// Request is that of the whole list.
func (c *part) Request() *inference.Request { return c.list.whole.claim.Request() }

// Answer takes the answers to the rows.
func (c *part) Answer(_ context.Context, result *inference.Result) error {
	c.list.answered(c.rows, result) //nolint:contextcheck // what it sends has contexts of its own
	return nil
}

// Fail ends the list.
func (c *part) Fail(_ context.Context, f *fault.Error) error {
	c.list.failed(f) //nolint:contextcheck // as in Answer
	return nil
}

// Drop ends a part whose list is over.
func (c *part) Drop() {}

// RunAlone asks the list as it came.
func (c *part) RunAlone(context.Context) error {
	c.list.ask() //nolint:contextcheck // as in Answer
	return nil
}

// answered puts the answers to some rows in their places, and ends the list when it was the last part. They are
// copied, because a list that held what others wait for could wait for them in turn.
func (x *list) answered(rows []int, result *inference.Result) {
	defer result.Release()
	size := result.Size()
	x.mu.Lock()
	if x.over {
		x.mu.Unlock()
		return
	}
	room := x.held+size <= x.whole.target.Route.MaxReply && x.pool.worker.parts.TryReserve(size)
	if room {
		x.held += size
	}
	if !room || len(result.Items) != len(rows) {
		x.mu.Unlock()
		x.ask()
		return
	}
	for k, i := range rows {
		x.rows[i] = bytes.Clone(result.Items[k])
	}
	x.left -= len(rows)
	x.gathered += result.Gather
	x.shared = max(x.shared, result.Batch)
	done := x.left == 0
	x.mu.Unlock()
	if done {
		x.finish()
	}
}

// finish answers the caller.
func (x *list) finish() {
	r := x.whole
	kind := r.claim.Request().Type
	reply, ok := r.target.Merger.Whole(kind, provider.Reply{Status: http.StatusOK, Reason: http.StatusText(http.StatusOK)}, x.rows)
	if !ok || !sharing(x.pool.desk, x.whole.target.Route.Name) { // in the meantime rows have been found to depend on each other
		x.ask()
		return
	}
	result, err := r.target.Provider.Decode(r.target.Route, r.claim.Request(), reply)
	if err != nil {
		x.ask()
		return
	}
	if held, first := x.close(); first {
		result.OnRelease(func() { x.pool.worker.parts.Release(held) })
		result.Upstream = time.Since(x.began)
		result.Gather, result.Batch = x.gathered, x.shared
		x.pool.hand(r, result)
	}
}

// close ends the list once. held is what its answers reserve; unless they are handed on, it is to be released.
func (x *list) close() (held int64, first bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		return 0, false
	}
	x.over = true
	x.end()
	return x.held, true
}

// ask asks for the list as it came, in a call of its own.
func (x *list) ask() {
	held, first := x.close()
	if !first {
		return
	}
	x.pool.worker.parts.Release(held)
	x.pool.desk.again([]*request{x.whole})
	x.pool.pump()
}

// failed ends the list with a part that failed by itself. What the model server says of a part is not what it would
// say of the list, so it is asked for that; an error of our own is the same for both.
func (x *list) failed(f *fault.Error) {
	if f.Code == fault.UpstreamBadResponse || f.Code == fault.UpstreamError && !overloaded(f.Status) {
		x.ask()
		return
	}
	if held, first := x.close(); first {
		x.pool.worker.parts.Release(held)
		x.pool.fail(x.whole, f)
	}
}

// overloaded says that a status blames no row: to ask again would make it worse.
func overloaded(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}
