package worker

import (
	"context"
	"slices"
	"sync"
	"time"

	"headrace/worker/batch"
)

const (
	// claimsTogether is how long the first claims of one lease wait for the others, so that they go out together.
	claimsTogether = 5 * time.Millisecond
	// MostSlots bounds the slots that are learned for one replica: model servers have pools of 40 threads.
	MostSlots = 64
)

// desk is where what was claimed for one model server waits for a slot, and where it is decided what goes out together.
// It owns the slots and all that is learned of the server. It starts nothing: those who bring it news ask it for loads
// to send.
type desk struct {
	name    string        // in a Memory
	changed chan struct{} // capacity 1: there may be more room

	mu       sync.Mutex
	routes   map[string]*learned
	former   batch.Former
	gather   *batch.Gather
	spent    batch.Spent
	slots    *batch.Slots // nil: their number is given
	width    int          // slots
	busy     int          // slots that are taken
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

// load is what goes out in one slot.
type load struct {
	requests []*request
	batch    batch.Batch
	gathered time.Duration
	probe    bool // each alone, then all together
	shadow   bool // one of them is asked alone as well
	trial    bool // how long it takes says nothing of its cost
}

func newDesk(s spec, known Learned, random func() float64, wake func(time.Duration)) *desk {
	d := &desk{name: memoryName(s.key), changed: make(chan struct{}, 1), width: s.slots, random: random, wake: wake, routes: make(map[string]*learned)}
	if s.learn {
		d.slots = batch.NewSlots(max(known.Slots, s.slots), MostSlots*s.replicas())
		d.width = d.slots.Width()
	}
	d.former.Learner = func(route string) *batch.Learner { return d.routes[route].learner }
	d.serve(s, known)
	return d
}

// serve makes the desk know the routes of s. What is learned of others stays, as calls of theirs may still run.
func (d *desk) serve(s spec, known Learned) {
	d.mu.Lock()
	defer d.mu.Unlock()
	longest := time.Duration(0)
	for _, r := range s.routes {
		if was := d.routes[r.Name]; was == nil || was.batch != r.Batch {
			d.routes[r.Name] = newLearned(r, known.Routes[r.Name])
		}
		if r.Batch.Shares() {
			longest = max(longest, r.Batch.GatherMax)
		}
	}
	d.gather = batch.NewGather(longest)
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
	want := d.want()
	room := (d.width-d.busy)*want - d.queued()
	if want > 1 {
		room += want
	} else if d.slots != nil && d.busy > 0 {
		room += d.slots.Ahead(time.Now())
	}
	return max(room, 0)
}

// jobRoom is how many more jobs free slots can use: where there are several slots, one is left for callers.
func (d *desk) jobRoom() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	free := d.width - d.busy
	if d.width > 1 {
		free--
	}
	return max(free*d.want()-d.queued(), 0)
}

// queued is how many requests wait, or will. It must be called with mu held.
func (d *desk) queued() int { return len(d.waiting) + len(d.lists) + d.claiming }

// want is how many requests a slot can use. It must be called with mu held.
func (d *desk) want() int {
	want, now := 1, time.Now()
	for _, l := range d.routes {
		want = max(want, l.want(now))
	}
	return want
}

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
	d.routes[r.target.route.Name].saw(r)
	d.add(r)
}

// add must be called with mu held.
func (d *desk) add(r *request) {
	now := time.Now()
	d.waiting = append(d.waiting, r)
	d.gather.Arrived(r.item.Rows, now)
	if g := d.pending; g != nil {
		g.requests, g.items = append(g.requests, r), append(g.items, d.itemOf(r))
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
	if d.busy >= d.width || d.claiming > 0 && now.Before(d.together) {
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
	l.trial = d.slots != nil && d.slots.Trial()
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
	d.of(l).count(l.members(), rows)
	if !l.trial && l.requests[0].merges {
		d.of(l).learner.Record(l.batch.Load, took, l.batch.Left, now)
	}
	if d.slots != nil {
		d.slots.Done(rows, took, d.queued() > 0, d.settled(), now)
		d.width = d.slots.Width()
	}
	d.news()
}

func (d *desk) settled() bool {
	for _, l := range d.routes {
		if !l.learner.Settled() {
			return false
		}
	}
	return true
}

// measured learns from a call that was made while its slot stays taken.
func (d *desk) measured(r *request, took time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.routes[r.item.Key.Route].count(1, r.item.Rows)
	d.routes[r.item.Key.Route].learner.Record(batch.Load{Rows: r.item.Rows, Length: r.item.Length}, took, 0, time.Now())
}

// may says whether rows of a route may share a call, and a list be asked in parts.
func (d *desk) may(route string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.routes[route].proof.May()
}

// probed ends a probe.
func (d *desk) probed(route string, o batch.Outcome) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.routes[route].proof.Probed(o, time.Now())
}

// shadowed ends a shadow check.
func (d *desk) shadowed(route string, o batch.Outcome) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.routes[route].proof.Shadowed(o)
}

// shrink makes calls smaller after one that the model server could not cope with.
func (d *desk) shrink(l *load) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.of(l).learner.Shrink(l.batch.Load.Rows, time.Now())
}

// isolated takes note of a call that was made to isolate, and of the rows that it found bad.
func (d *desk) isolated(l *load, took time.Duration, bad int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.spent.Add(took, d.width, time.Now()) {
		d.of(l).learner.Shrink(l.batch.Load.Rows, time.Now())
	}
	if bad > 0 {
		d.of(l).learner.Bad(bad)
	}
	d.of(l).counts.Isolating++
}

// of is what is known of a load's route.
func (d *desk) of(l *load) *learned { return d.routes[l.requests[0].item.Key.Route] }
