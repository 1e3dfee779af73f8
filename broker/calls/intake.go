package calls

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/inference"
	"headrace/internal/job"
)

const (
	// pullExpiry is how long a pull waits at the server before it is renewed.
	pullExpiry = 10 * time.Second
	// pullHeartbeat is how often the server says that a pull still waits.
	pullHeartbeat = 2 * time.Second
	// dormantAfter is the idle time after which a route is no longer pulled from, only listened for; its
	// consumer then ends by itself, if no other route has needed the room before.
	dormantAfter = 5 * time.Minute
)

// errIntakeClosed says that the intake leases nothing any more.
var errIntakeClosed = errors.New("the intake is closed")

// Intake leases the requests of the routes that share one model server. One goroutine at a time may call
// Lease.
type Intake struct {
	worker  *WorkerEnd
	pullers []*puller
	wake    chan struct{} // capacity 1: something arrived or changed
	next    int           // puller to ask first, so that routes take turns

	pulled int // how many of the last lease came from the work queue; owned by Lease
	most   int // slots free at a time so far: all of them, once they were idle; owned by Lease
	turn   int // of asking; owned by Lease

	mu     sync.Mutex
	got    []*Delivery
	jobs   int // leased or running, or being stored
	room   int // for jobs; -1: nobody has said, so all slots but one
	spare  int // free slots that no standing pull is for: so many calls may be handed over
	closed bool
}

// Intake makes an intake for routes, at least one. Close ends it.
func (w *WorkerEnd) Intake(routes []*inference.Route) *Intake {
	in := &Intake{worker: w, wake: make(chan struct{}, 1), room: -1}
	for i, route := range routes {
		in.pullers = append(in.pullers, newPuller(in, route.Name, link.LaneOf(route), strconv.Itoa(i)))
	}
	for i, route := range routes {
		for _, priority := range job.Priorities() {
			p := newPuller(in, route.Name, records.LaneOf(route, priority), strconv.Itoa(i))
			p.jobs, p.priority = true, priority
			in.pullers = append(in.pullers, p)
		}
	}
	w.mu.Lock()
	w.intakes[in] = struct{}{}
	w.mu.Unlock()
	w.local.serve(in)
	return in
}

// Close returns what was leased and not handed out, and stops pulling.
func (in *Intake) Close() {
	in.worker.local.unserve(in)
	in.worker.mu.Lock()
	delete(in.worker.intakes, in)
	in.worker.mu.Unlock()
	in.mu.Lock()
	in.closed = true
	rest := in.got
	in.got = nil
	in.mu.Unlock()
	for _, d := range rest {
		d.Return()
	}
	for _, p := range in.pullers {
		p.close()
	}
}

func (in *Intake) signal() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// accept keeps a delivery for the next Lease, or returns it when nobody will lease again.
func (in *Intake) accept(d *Delivery) {
	in.mu.Lock()
	if in.closed {
		in.mu.Unlock()
		d.Return()
		return
	}
	in.got = append(in.got, d)
	in.mu.Unlock()
	in.signal()
}

// offer is accept for a call of this process, as long as there are slots to spare. It reports whether it
// took d.
func (in *Intake) offer(d *Delivery) bool {
	in.mu.Lock()
	if in.closed || in.spare <= 0 {
		in.mu.Unlock()
		return false
	}
	in.spare--
	in.got = append(in.got, d)
	in.mu.Unlock()
	in.signal()
	return true
}

// share sets how many calls may be handed over, 0 while pulls are being arranged.
func (in *Intake) share(free int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.spare = max(free-len(in.got), 0)
}

// take hands out up to n deliveries; a surplus is given back for other slots.
func (in *Intake) take(n int) []*Delivery {
	in.mu.Lock()
	got := in.got
	in.got = nil
	in.mu.Unlock()
	if len(got) <= n {
		return got
	}
	for _, d := range got[n:] {
		d.Return()
	}
	return got[:n]
}

// Lease waits until at least one request is there, and gives at most n, which is how many the caller has
// free slots for. It returns an error only when ctx ends or the intake is closed.
func (in *Intake) Lease(ctx context.Context, n int) ([]*Delivery, error) {
	select {
	case <-in.worker.ready:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	timer := time.NewTimer(pullHeartbeat)
	defer timer.Stop()
	for {
		if got := in.take(n); len(got) > 0 {
			return in.only(got, n), nil
		}
		in.mu.Lock()
		closed := in.closed
		in.mu.Unlock()
		if closed {
			return nil, errIntakeClosed
		}
		in.share(0)
		if in.ask(ctx, n) {
			continue // something came while we asked
		}
		// At least one call may be handed over, also where a pull stands for the only slot: when both bring one, the
		// second goes back at once.
		in.share(max(n-in.credit(), 1))
		timer.Reset(in.patience())
		select {
		case <-in.wake:
		case <-timer.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// want is how many messages of the only route a standing pull should be for, of n free slots. Where calls of
// this process are handed over, it is no more than probably wait, so that slots are left for these.
func (in *Intake) want(p *puller, n int) int {
	if in.worker.local == nil {
		return n
	}
	return min(n, 1+max(in.worker.local.queued(p.route), 2*in.pulled))
}

// credit is how many messages the standing pulls may still bring.
func (in *Intake) credit() int {
	credit := 0
	for _, p := range in.pullers {
		credit += p.credit()
	}
	return credit
}

// only makes sure that nothing arrives while the slots are busy: where several routes share them, each has
// a pull standing.
func (in *Intake) only(got []*Delivery, n int) []*Delivery {
	in.pulled = 0
	for _, d := range got {
		if d.msg != nil {
			in.pulled++
		}
	}
	if len(in.pullers) == 1 || in.credit() <= n-len(got) {
		return got
	}
	in.rest(nil)
	return append(got, in.take(n-len(got))...)
}

// patience is how long to wait before looking after the pulls again. Dormant routes need no look.
func (in *Intake) patience() time.Duration {
	wait := dormantAfter
	for _, p := range in.pullers {
		if p.asleep.Load() {
			continue
		}
		wait = min(wait, pullHeartbeat)
		if later := p.later(); later > 0 {
			wait = min(wait, later)
		}
	}
	return wait
}

// ask makes sure that whatever waits, or comes next, will be delivered. It reports whether something was.
func (in *Intake) ask(ctx context.Context, n int) bool {
	active := in.active()
	in.most = max(in.most, n)
	if len(active) == 1 && !active[0].jobs {
		in.rest(active[0])
		active[0].topUp(in.want(active[0], n))
		return false
	}
	// Several routes share the slots. Standing pulls on all of them would bring more than there are slots
	// for, and each message given back costs it one of its deliveries. So ask one route after the other for
	// what is there now, and only when all are empty let all of them wait for one message each.
	for _, p := range in.order(active) {
		most := n
		if p.jobs {
			most = min(n, in.jobRoom())
		}
		if most <= 0 || p.standing() {
			continue // asked already, and nothing has come
		}
		if p.sweep(ctx, most) {
			in.next++
			in.rest(nil)
			return true
		}
	}
	for _, p := range active {
		if !p.jobs || in.jobRoom() > 0 {
			p.topUp(1)
		}
	}
	return in.arrived()
}

func (in *Intake) arrived() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.got) > 0
}

// rest withdraws the standing pulls of all routes but one.
func (in *Intake) rest(but *puller) {
	for _, p := range in.pullers {
		if p != but {
			p.withdraw()
		}
	}
}

// active gives the routes that are pulled from, after it has put idle ones to sleep and asked about those
// whose connection was lost.
func (in *Intake) active() []*puller {
	epoch := in.worker.currentEpoch()
	var active []*puller
	for _, p := range in.pullers {
		if p.attend(epoch) {
			active = append(active, p)
		}
	}
	return active
}
