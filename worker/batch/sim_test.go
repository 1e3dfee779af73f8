package batch_test

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"headrace/worker/batch"
)

// server is a simulated model server.
type server struct {
	// took is how long a call takes by itself, at a time since the start.
	took func(l batch.Load, at time.Duration) time.Duration
	// pool is how many calls run side by side; 1 for a server that computes, whose calls only share the machine.
	pool  int
	noise float64 // standard deviation, as a share
	// thrash slows a computing server down when eight calls or more are in flight, as its threads fight.
	thrash float64
}

// linear is a server whose calls take a fixed time and one for each row by its length, all padded to the longest.
func linear(fixed, row, octet float64) func(batch.Load, time.Duration) time.Duration {
	return func(l batch.Load, _ time.Duration) time.Duration {
		ms := fixed + float64(l.Rows)*(row+octet*float64(l.Length))
		return time.Duration(ms * float64(time.Millisecond))
	}
}

// client is what one simulated caller does.
type client struct {
	name     string
	think    time.Duration // between an answer and the next call
	every    time.Duration // open loop: mean time between calls, whatever becomes of them
	item     func(*rand.Rand) batch.Item
	patience time.Duration // until the deadline
}

type event struct {
	at  time.Duration
	seq int
	do  func()
}

type events []event

func (e *events) Len() int { return len(*e) }
func (e *events) Less(i, j int) bool {
	a, b := (*e)[i], (*e)[j]
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}
func (e *events) Swap(i, j int) { (*e)[i], (*e)[j] = (*e)[j], (*e)[i] }
func (e *events) Push(x any)    { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// end is how an item ended.
type end struct {
	item    batch.Item
	took    time.Duration
	outcome string // "answered", "bad", "late"
	shared  int    // rows in its call
}

// world runs clients, a dispatcher built from this package, and a server, in virtual time.
type world struct {
	t      *testing.T
	rng    *rand.Rand
	server server
	now    time.Duration
	queue  events
	seq    int

	limits  batch.Limits
	learner *batch.Learner
	former  *batch.Former
	gather  *batch.Gather
	slots   *batch.Slots
	spent   batch.Spent
	single  bool // one by one, as a direct client's calls are

	waiting   []batch.Item
	owner     map[uint64]*client
	poison    map[uint64]bool
	poisoned  float64 // share of new items
	inFlight  int
	pending   *batch.Batch  // while a slot gathers
	gathering time.Duration // when it began
	gathered  int           // rows then
	wake      int           // number of the timer that counts
	free      []time.Duration
	ends      []end
	calls     int
	until     time.Duration         // no client calls after it; 0: all go on
	broken    func(batch.Load) bool // the server fails calls of such a load
	biggest   int
	nextID    uint64
	asked     map[uint64]int // answers by item
}

// epoch is when a world begins.
func epoch() time.Time { return time.Unix(1_700_000_000, 0) }

func newWorld(t *testing.T, seed uint64, s server, limits batch.Limits) *world {
	t.Helper()
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), server: s, limits: limits,
		learner: batch.NewLearner(limits, batch.Snapshot{}), gather: batch.NewGather(limits.GatherMax), slots: batch.NewSlots(1, 1),
		owner: map[uint64]*client{}, poison: map[uint64]bool{}, asked: map[uint64]int{}, free: make([]time.Duration, s.pool),
	}
	w.former = &batch.Former{Learner: func(string) *batch.Learner { return w.learner }}
	return w
}

func (w *world) time() time.Time { return epoch().Add(w.now) }

func (w *world) at(after time.Duration, do func()) {
	w.seq++
	heap.Push(&w.queue, event{w.now + after, w.seq, do})
}

func (w *world) start(clients ...*client) {
	for _, c := range clients {
		w.at(time.Duration(w.rng.Int64N(int64(5*time.Millisecond))), func() { w.arrive(c) })
	}
}

func (w *world) run(until time.Duration) {
	for w.queue.Len() > 0 && w.queue[0].at <= until {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.do()
	}
	w.now = until
}

func (w *world) arrive(c *client) {
	if w.until > 0 && w.now >= w.until {
		return
	}
	if c.every > 0 {
		w.at(time.Duration(w.rng.ExpFloat64()*float64(c.every)), func() { w.arrive(c) })
	}
	it := c.item(w.rng)
	w.nextID++
	it.ID, it.Caller, it.Arrival = w.nextID, c.name, w.time()
	it.Rows = max(it.Rows, 1)
	it.Bytes = int64(it.Rows * it.Length)
	if c.patience > 0 {
		it.Deadline = it.Arrival.Add(c.patience)
	}
	if w.poisoned > 0 && w.rng.Float64() < w.poisoned {
		w.poison[it.ID] = true
	}
	w.owner[it.ID] = c
	w.waiting = append(w.waiting, it)
	w.gather.Arrived(it.Rows, w.time())
	if w.pending != nil {
		if w.former.Join(w.pending, w.waiting, len(w.waiting)-1, w.time()) && !w.wait(w.pending) {
			w.goOut()
		}
		return
	}
	w.dispatch()
}

// finish ends an item and lets its client go on.
func (w *world) finish(it batch.Item, outcome string, shared int) {
	w.asked[it.ID]++
	if !it.Deadline.IsZero() && w.time().After(it.Deadline) && outcome != "late" {
		outcome = "late" // the caller was told when the deadline passed
	}
	w.ends = append(w.ends, end{it, w.time().Sub(it.Arrival), outcome, shared})
	if c := w.owner[it.ID]; c.every == 0 {
		w.at(c.think, func() { w.arrive(c) })
	}
	delete(w.owner, it.ID)
}

func (w *world) drop(indexes []int) {
	slices.Sort(indexes)
	for _, i := range slices.Backward(indexes) {
		w.finish(w.waiting[i], "late", 0)
		w.waiting = slices.Delete(w.waiting, i, i+1)
	}
}

// dispatch is what a worker does when something arrives or a slot frees.
func (w *world) dispatch() {
	for w.pending == nil && (w.single || w.inFlight < w.slots.Width()) {
		swept := batch.Sweep(w.waiting, w.former.Learner, w.time())
		w.drop(append(swept.Late, swept.Hopeless...))
		if len(w.waiting) == 0 {
			return
		}
		b := batch.Batch{Members: []int{0}, Load: batch.Load{Rows: w.waiting[0].Rows, Length: w.waiting[0].Length}}
		if !w.single {
			b = w.former.Form(w.waiting, w.time())
			if w.wait(&b) {
				return
			}
		}
		w.send(b)
	}
}

// wait says whether the slot gathers on.
func (w *world) wait(b *batch.Batch) bool {
	m := batch.Moment{Load: b.Load, Limit: b.Limit, First: w.waiting[b.Members[0]].Arrival}
	if w.pending != nil {
		m.Began = epoch().Add(w.gathering)
	}
	d := w.gather.Wait(m, w.learner.Cost(), w.time(), w.rng.Float64())
	if d <= 0 {
		return false
	}
	if w.pending == nil {
		w.pending, w.gathering, w.gathered = b, w.now, b.Load.Rows
	}
	w.wake++
	token := w.wake
	w.at(d, func() {
		if token == w.wake && w.pending != nil {
			w.goOut()
		}
	})
	return true
}

// goOut ends gathering.
func (w *world) goOut() {
	waited := w.now - w.gathering
	if waited > w.limits.GatherMax {
		w.t.Fatalf("gathered %s", waited)
	}
	b := *w.pending
	w.pending = nil
	w.gather.Report(w.gathered, b.Load.Rows, waited, w.learner.Cost())
	w.send(b)
	w.dispatch()
}

func (w *world) send(b batch.Batch) {
	w.check(&b)
	if !w.single {
		w.former.Fair.Sent(w.waiting, &b, w.learner.Cost())
	}
	members := make([]batch.Item, len(b.Members))
	for i, m := range b.Members {
		members[i] = w.waiting[m]
	}
	for _, i := range slices.Backward(slices.Sorted(slices.Values(b.Members))) {
		w.waiting = slices.Delete(w.waiting, i, i+1)
	}
	w.inFlight++
	w.call(members, b.Load, func(ok bool, took time.Duration) {
		w.gather.Freed(b.Load.Rows, w.time())
		if ok {
			if !w.slots.Trial() {
				w.learner.Record(b.Load, took, b.Left, w.time())
			}
			for _, it := range members {
				w.finish(it, "answered", b.Load.Rows)
			}
			w.slots.Done(b.Load.Rows, took, len(w.waiting) > 0, w.learner.Settled(), w.time())
			w.release()
			return
		}
		ended := batch.Ended{Failure: batch.Status, Status: 400, Members: len(members)}
		if w.broken != nil && w.broken(b.Load) {
			ended.Failure = batch.Broken
		}
		v := batch.Judge(ended)
		if v.Shrink {
			w.learner.Shrink(b.Load.Rows, w.time())
		}
		if v.Step == batch.Tell {
			w.finish(members[0], "bad", 1)
			w.release()
			return
		}
		all := make([]int, len(members))
		for i := range all {
			all[i] = i
		}
		w.isolate(batch.Isolate(all), members)
	})
}

// check is what holds for every batch.
func (w *world) check(b *batch.Batch) {
	w.calls++
	rows, bytes := 0, int64(0)
	for _, m := range b.Members {
		rows += w.waiting[m].Rows
		bytes += w.waiting[m].Bytes
		if w.waiting[m].Key != w.waiting[b.Members[0]].Key || len(b.Members) > 1 && w.waiting[m].Solo {
			w.t.Fatal("a batch has members that may not share a call")
		}
	}
	if len(b.Members) > 1 && (rows > w.limits.MaxRows || w.limits.MaxBytes > 0 && bytes > w.limits.MaxBytes) || rows != b.Load.Rows {
		w.t.Fatalf("%d rows of %d bytes in one call", rows, bytes)
	}
	w.biggest = max(w.biggest, rows)
}

func (w *world) isolate(i *batch.Isolation, members []batch.Item) {
	group := i.Next()
	if group == nil {
		w.release()
		return
	}
	var some []batch.Item
	load := batch.Load{}
	for _, m := range group {
		some = append(some, members[m])
		load = batch.Load{Rows: load.Rows + members[m].Rows, Length: max(load.Length, members[m].Length)}
	}
	w.call(some, load, func(ok bool, took time.Duration) {
		if w.spent.Add(took, w.slots.Width(), w.time()) {
			w.learner.Shrink(len(members), w.time())
		}
		switch {
		case ok:
			w.learner.Record(load, took, 0, w.time())
			for _, it := range some {
				w.finish(it, "answered", load.Rows)
			}
		case len(some) == 1:
			w.learner.Bad(some[0].Rows)
			w.finish(some[0], "bad", 1)
		default:
			i.Failed(group)
		}
		w.isolate(i, members)
	})
}

// call runs one call on the server.
func (w *world) call(members []batch.Item, load batch.Load, done func(ok bool, took time.Duration)) {
	took := w.server.took(load, w.now)
	ok := w.broken == nil || !w.broken(load)
	for _, it := range members {
		if w.poison[it.ID] {
			ok = false
			took = time.Duration(float64(took) * (0.2 + 0.8*w.rng.Float64()))
			break
		}
	}
	if w.server.noise > 0 {
		took = time.Duration(float64(took) * max(0.3, 1+w.server.noise*w.rng.NormFloat64()))
	}
	if w.server.thrash > 0 {
		took = time.Duration(float64(took) * (1 + w.server.thrash*min(1, float64(w.inFlight-1)/7)))
	}
	thread := 0
	for i, at := range w.free {
		if at < w.free[thread] {
			thread = i
		}
	}
	begin := max(w.now, w.free[thread])
	w.free[thread] = begin + took
	sent := w.now
	w.at(begin+took-w.now, func() { done(ok, w.now-sent) })
}

func (w *world) release() {
	w.inFlight--
	w.dispatch()
}

// rate is how many items with an outcome ended in a second, from a time on.
func (w *world) rate(outcome string, from time.Duration) float64 {
	n := 0
	for _, e := range w.ends {
		if e.outcome == outcome && e.item.Arrival.Add(e.took).Sub(epoch()) >= from {
			n += e.item.Rows
		}
	}
	return float64(n) / (w.now - from).Seconds()
}

// latency is a quantile over the items of callers whose name begins so.
func (w *world) latency(caller string, q float64, from time.Duration) time.Duration {
	var all []time.Duration
	for _, e := range w.ends {
		if (caller == "" || e.item.Caller == caller) && e.outcome == "answered" && e.item.Arrival.Sub(epoch()) >= from {
			all = append(all, e.took)
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(int(q*float64(len(all))), len(all)-1)]
}

// closed makes n closed-loop clients that think for half a millisecond.
func closed(n int, item func(*rand.Rand) batch.Item) []*client {
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = &client{name: fmt.Sprint("client ", i), think: 500 * time.Microsecond, item: item}
	}
	return clients
}

func texts(lengths ...int) func(*rand.Rand) batch.Item {
	return func(r *rand.Rand) batch.Item {
		return batch.Item{Key: batch.Key{Route: "r"}, Length: lengths[r.IntN(len(lengths))]}
	}
}

// between makes texts of so many bytes.
func between(least, most int) func(*rand.Rand) batch.Item {
	return func(r *rand.Rand) batch.Item {
		return batch.Item{Key: batch.Key{Route: "r"}, Length: least + r.IntN(most-least+1)}
	}
}

// direct is the same clients asking the server without anything between.
func direct(t *testing.T, seed uint64, s server, clients []*client, until time.Duration) *world {
	t.Helper()
	w := newWorld(t, seed, s, defaults())
	w.single = true
	w.start(clients...)
	w.run(until)
	return w
}

func defaults() batch.Limits {
	return batch.Limits{MaxRows: 128, MaxBytes: 4 << 20, GatherMax: 2 * time.Millisecond, LatencyMax: time.Second}
}
