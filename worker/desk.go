package worker

import (
	"context"
	"slices"
	"sync"
	"time"

	"headrace/worker/batch"
	"headrace/worker/learned"
)

const (
	// claimsTogether is how long the first claims of one lease wait for the others, so that they go out together.
	claimsTogether = 5 * time.Millisecond
	// MostSlots bounds the slots that are learned for one replica: model servers have pools of 40 threads.
	MostSlots = 64
)

// desk is where what was claimed for one model server waits for a slot, and where it is decided what goes out together.
// It owns the slots, and guards what is learned of the server. It starts nothing: those who bring it news ask it for loads
// to send.
type desk struct {
	name    string        // in a Memory
	changed chan struct{} // capacity 1: there may be more room

	mu       sync.Mutex
	known    *learned.Server
	former   batch.Former
	gather   *batch.Gather
	busy     int // slots that are taken
	waiting  []*request
	hopeless []*request // that were taken out of line, and have to be ended
	lists    []*list    // that have no part in waiting, and rows that are in none yet
	listed   func(*request, *batch.List) *list
	claiming int       // leased and not yet claimed
	together time.Time // until when claims that are under way are waited for
	pending  *pending  // nil: no slot gathers
	random   func() float64
	wake     func(time.Duration) // makes somebody ask for loads after so long
}

// pending is a batch that a slot keeps back for a moment.
type pending struct {
	requests []*request // of which the batch's members are indexes
	items    []batch.Item
	batch    batch.Batch
	began    time.Time
	rows     int // when it began
	until    time.Time
}

// members is how many requests a load answers; a list counts with its first part.
func (l *load) members() int {
	n := 0
	for _, r := range l.requests {
		if r.first() {
			n++
		}
	}
	return n
}

// route is the name of the route that all requests of a load name.
func (l *load) route() string { return l.requests[0].item.Key.Route }

// load is what goes out in one slot.
type load struct {
	requests []*request
	batch    batch.Batch
	gathered time.Duration
	probe    bool // each alone, then all together
	shadow   bool // one of them is asked alone as well
	trial    bool // how long it takes says nothing of its cost
}

func newDesk(s spec, stored learned.Stored, random func() float64, wake func(time.Duration)) *desk {
	most := 0
	if s.learn {
		most = MostSlots * s.replicas()
	}
	d := &desk{name: memoryName(s.key), changed: make(chan struct{}, 1), random: random, wake: wake, known: learned.NewServer(stored, s.slots, most)}
	d.former.Learner = func(route string) *batch.Learner { return d.known.Route(route).Learner }
	d.serve(s, stored)
	return d
}

// serve makes the desk know the routes of s.
func (d *desk) serve(s spec, stored learned.Stored) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known.Serve(s.routes, stored)
	longest := time.Duration(0)
	for _, r := range s.routes {
		if r.Batch.Shares() {
			longest = max(longest, r.Batch.GatherMax)
		}
	}
	d.gather = batch.NewGather(longest)
}

// learn gives what is learned of the model server to do, which may read and change it, and keeps nothing of it.
func (d *desk) learn(do func(*learned.Server)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	do(d.known)
}

func (d *desk) news() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// room is how many requests to lease: what free slots can use, and, where calls are shared, what the next call can.
// One call's worth is leased while the slots are busy, so that a slot that frees finds it here. Where slots are learned, as
// much is leased as shows whether more would be filled.
func (d *desk) room() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	want := d.known.Want(now)
	room := (d.known.Width()-d.busy)*want - d.queued()
	if want > 1 {
		room += want
	} else if d.busy > 0 {
		room += d.known.Ahead(now)
	}
	return max(room, 0)
}

// jobRoom is how many more jobs free slots can use: where there are several slots, one is left for callers.
func (d *desk) jobRoom() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	free := d.known.Width() - d.busy
	if d.known.Width() > 1 {
		free--
	}
	return max(free*d.known.Want(time.Now())-d.queued(), 0)
}

// queued is how many requests wait, or will. It must be called with mu held.
func (d *desk) queued() int { return len(d.waiting) + len(d.lists) + d.claiming }

// await waits until there is room, and says how much; 0 when ctx has ended.
func (d *desk) await(ctx context.Context) int {
	for ctx.Err() == nil {
		if n := d.room(); n > 0 {
			return n
		}
		select {
		case <-d.changed:
		case <-ctx.Done():
		}
	}
	return 0
}

// expect announces n claims.
func (d *desk) expect(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.claiming += n
	if n > 1 {
		d.together = time.Now().Add(claimsTogether)
		d.wake(claimsTogether)
	}
}

// claimed takes what came of a claim; nil: nothing.
func (d *desk) claimed(r *request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.claiming--
	if r == nil {
		d.news()
		return
	}
	length := 0
	if r.merges && !r.alone {
		length = max(r.item.Length, 1)
	}
	route := d.routeOf(r)
	route.Saw(length)
	if r.probes() {
		route.SawProbe()
	}
	d.add(r)
}

// add must be called with mu held.
func (d *desk) add(r *request) {
	now := time.Now()
	d.waiting = append(d.waiting, r)
	d.gather.Arrived(r.item.Rows, now)
	if g := d.pending; g != nil {
		g.requests, g.items = append(g.requests, r), append(g.items, r.itemFor(d.routeOf(r)))
		if d.former.Join(&g.batch, g.items, len(g.items)-1, now) {
			if more := d.patience(g, now); more > 0 {
				g.until = now.Add(more)
				d.wake(more)
			} else {
				g.until = now
			}
		}
	}
}

// again takes requests back that have to be asked alone.
func (d *desk) again(requests []*request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range requests {
		r.alone = true
		r.sent.Store(false)
		d.add(r)
	}
}

// forget drops one that has ended from what waits.
func (d *desk) forget(r *request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := slices.Index(d.waiting, r); i >= 0 {
		d.waiting = slices.Delete(d.waiting, i, i+1)
		d.news()
	}
	if i := slices.IndexFunc(d.lists, func(x *list) bool { return x.whole == r }); i >= 0 {
		d.lists = slices.Delete(d.lists, i, i+1)
		d.news()
	}
}

// next takes a slot and gives what is to be sent in it; nil when nothing is, or no slot is free.
func (d *desk) next() *load {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if d.busy >= d.known.Width() || d.claiming > 0 && now.Before(d.together) {
		return nil
	}
	var l *load
	if g := d.pending; g != nil {
		if now.Before(g.until) {
			return nil
		}
		l = d.gathered(g, now)
	} else {
		l = d.form(now)
	}
	if l == nil {
		d.news() // those that have ended were taken out of line, which makes room
		return nil
	}
	d.busy++
	d.waiting = slices.DeleteFunc(d.waiting, func(r *request) bool { return slices.Contains(l.requests, r) })
	for _, r := range l.requests {
		r.sent.Store(true)
		if x := r.list; x != nil {
			x.whole.sent.Store(true)
			if x.cut.Left() > 0 {
				d.lists = append(d.lists, x)
			}
		}
	}
	l.trial = d.known.Trial()
	d.news()
	return l
}

// free gives a slot back.
func (d *desk) free() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.busy--
	d.news()
}

// answered gives the slot back of a call that was answered, and learns from it.
func (d *desk) answered(l *load, took time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	d.busy--
	rows := l.batch.Load.Rows
	d.gather.Freed(rows, now)
	route := d.routeOf(l.requests[0])
	route.Count(l.members(), rows)
	// A trial of a size ends with a record, and none is made during one of slots: both at once would never end.
	if !l.trial && !d.known.Trial() && l.requests[0].merges {
		route.Learner.Record(l.batch.Load, took, l.batch.Left, now)
	}
	d.known.Done(rows, took, d.queued() > 0, now)
	d.news()
}

// routeOf is what is known of a request's route. It must be called with mu held.
func (d *desk) routeOf(r *request) *learned.Route { return d.known.Route(r.item.Key.Route) }
