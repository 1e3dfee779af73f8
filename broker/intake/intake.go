package intake

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"headrace/broker/link"
	"headrace/internal/inference"
	"headrace/internal/lease"
)

const (
	// pullExpiry is how long a pull waits at the server before it is renewed. A pull whose server is lost is missed that late, and
	// a worker that stops waits that long for what its last pulls may bring.
	pullExpiry = 4 * time.Second
	// silentExpiry is the same for a lane that did not answer the last time: its server is lost, and there may be another one soon.
	silentExpiry = time.Second
	// lookEvery is how often the pulls are looked after when nothing happens.
	lookEvery = 2 * time.Second
	// DormantAfter is the idle time after which a lane is no longer pulled from, only listened for. A consumer whose room another
	// lane needs may go then.
	DormantAfter = 5 * time.Minute
)

// errIntakeClosed says that the intake leases nothing any more.
var errIntakeClosed = errors.New("the intake is closed")

// Intake leases the work of the routes that share one model server, from all their lanes. One goroutine at a time may call
// Lease.
type Intake struct {
	end     *End
	pullers []*puller
	wake    chan struct{} // capacity 1: something arrived or changed
	next    int           // puller to ask first, so that lanes of one kind take turns

	pulled int // how many of the last lease came from the work queue; owned by Lease
	turn   int // of asking; owned by Lease

	mu     sync.Mutex
	most   int // slots free at a time so far: all of them, once they were idle
	got    []leased
	jobs   int // of background lanes: leased or running, or being stored
	room   int // for these; -1: nothing was said, so all slots but one
	spare  int // free slots that no standing pull is for: so many calls may be handed over
	free   int // slots that the next Lease has for what is pulled, as far as is known
	closed bool
}

// leased is what Lease hands out.
type leased struct {
	lease.Delivery

	pulled bool // from a work queue; otherwise it was offered
}

// newIntake makes an intake with the lanes of all kinds, kind by kind.
func newIntake(e *End, routes []*inference.Route) *Intake {
	in := &Intake{end: e, wake: make(chan struct{}, 1), room: -1}
	for _, kind := range e.kinds {
		for i, route := range routes {
			for _, l := range kind.Lanes(route) {
				in.pullers = append(in.pullers, newPuller(in, l, strconv.Itoa(i)))
			}
		}
	}
	return in
}

// Close returns what was leased and not handed out, and stops pulling.
func (in *Intake) Close() {
	in.end.forget(in)
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

// signal makes Lease look at the lanes again.
func (in *Intake) signal() { link.Ring(in.wake) }

// accept keeps a delivery for the next Lease, or returns it when there will be none, or no slot: several lanes share the slots,
// and each may have a pull standing.
func (in *Intake) accept(d lease.Delivery) {
	in.mu.Lock()
	if in.closed || len(in.got) >= in.free {
		in.mu.Unlock()
		d.Return()
		return
	}
	in.got = append(in.got, leased{d, true})
	in.mu.Unlock()
	in.signal()
}

// offer is accept for a call of this process, as long as there are slots to spare. It reports whether it
// took d.
func (in *Intake) offer(d lease.Delivery) bool {
	in.mu.Lock()
	if in.closed || in.spare <= 0 {
		in.mu.Unlock()
		return false
	}
	in.spare--
	in.got = append(in.got, leased{d, false})
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
func (in *Intake) take(n int) []leased {
	in.mu.Lock()
	got := in.got
	in.got, in.free = nil, max(n-len(got), 0)
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
func (in *Intake) Lease(ctx context.Context, n int) ([]lease.Delivery, error) {
	select {
	case <-in.end.ready:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	for {
		if got := in.take(n); len(got) > 0 {
			return in.deliveries(got), nil
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

// deliveries is what the caller of Lease gets.
func (in *Intake) deliveries(got []leased) []lease.Delivery {
	in.pulled = 0
	all := make([]lease.Delivery, len(got))
	for i, l := range got {
		all[i] = l.Delivery
		if l.pulled {
			in.pulled++
		}
	}
	return all
}

// credit is how many messages the standing pulls may still bring.
func (in *Intake) credit() int {
	credit := 0
	for _, p := range in.pullers {
		credit += p.credit()
	}
	return credit
}

// patience is how long to wait before looking after the pulls again. Dormant lanes need no look.
func (in *Intake) patience() time.Duration {
	wait := DormantAfter
	for _, p := range in.pullers {
		if p.asleep.Load() {
			continue
		}
		wait = min(wait, lookEvery)
		if later := p.later(); later > 0 {
			wait = min(wait, later)
		}
	}
	return wait
}

// ask makes sure that whatever waits, or comes next, will be delivered. It reports whether something was.
func (in *Intake) ask(ctx context.Context, n int) bool {
	active := in.active()
	in.mu.Lock()
	in.most = max(in.most, n)
	in.mu.Unlock()
	if len(active) == 1 && !active[0].queue.Background {
		active[0].topUp(active[0].lane.Standing(n, in.pulled))
		return false
	}
	// Several lanes share the slots. Standing pulls on all of them would bring more than there are slots
	// for, and each message given back costs it one of its deliveries. So ask one lane after the other for
	// what is there now, and only when all are empty let all of them wait for one message each.
	for _, p := range in.order(active) {
		most := in.roomFor(p, n)
		if most <= 0 || p.standing() {
			continue // asked already, and nothing has come
		}
		if p.sweep(ctx, most) {
			in.next++
			return true
		}
	}
	for _, p := range active {
		if in.roomFor(p, n) > 0 {
			p.topUp(1)
		}
	}
	return in.arrived()
}

// arrived reports whether something is there for Lease to hand out.
func (in *Intake) arrived() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.got) > 0
}

// active gives the lanes that are pulled from, after it has put idle ones to sleep and asked about those
// whose connection was lost.
func (in *Intake) active() []*puller {
	epoch := in.end.currentEpoch()
	var active []*puller
	for _, p := range in.pullers {
		if p.attend(epoch) {
			active = append(active, p)
		}
	}
	return active
}
