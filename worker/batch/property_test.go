package batch_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"headrace/worker/batch"
)

// mixture makes items of several routes, forms, kinds and lengths, some of several rows, some alone.
func mixture(kind batch.Kind) func(*rand.Rand) batch.Item {
	return func(r *rand.Rand) batch.Item {
		return batch.Item{
			Key:  batch.Key{Route: fmt.Sprint("r", r.IntN(2)), Rows: fmt.Sprint("k", r.IntN(3))},
			Kind: kind, Solo: r.IntN(10) == 0, Rows: 1 + r.IntN(1+r.IntN(8)), Length: 10 << r.IntN(7),
		}
	}
}

// TestEveryItemIsAnsweredOnce runs bursts, deadlines, bad items, jobs, odd servers and shifts, and then lets all of it
// end: each item has exactly one answer, in time or as late, and only bad ones are told that they are.
func TestEveryItemIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 7))
			s := server{took: linear(20*r.Float64(), 3*r.Float64(), 0.05*r.Float64()), pool: 1 + 5*r.IntN(2), noise: 0.3 * r.Float64()}
			limits := batch.Limits{MaxRows: 1 << r.IntN(8), MaxBytes: 1 << (10 + r.IntN(10)), GatherMax: 2 * time.Millisecond, LatencyMax: 500 * time.Millisecond}
			w := newWorld(t, seed, s, limits)
			w.slots, w.poisoned, w.until = batch.NewSlots(1, 1+r.IntN(8)), 0.05*r.Float64(), 20*time.Second
			clients := closed(10, mixture(batch.Call))
			for _, c := range clients {
				c.patience = time.Duration(50+r.IntN(3000)) * time.Millisecond
			}
			for i := range 4 {
				clients = append(clients, &client{name: fmt.Sprint("open ", i), every: time.Duration(10+r.IntN(200)) * time.Millisecond, item: mixture(batch.Call), patience: time.Second})
				clients = append(clients, &client{name: fmt.Sprint("job ", i), every: time.Duration(50+r.IntN(500)) * time.Millisecond, item: mixture(batch.Job)})
			}
			w.start(clients...)
			for range 50 { // a burst
				w.at(7*time.Second, func() { w.arrive(clients[len(clients)-2]) })
			}
			w.run(20 * time.Minute)
			if len(w.waiting) > 0 || w.inFlight > 0 || len(w.owner) > 0 {
				t.Fatalf("%d wait, %d in flight, %d without an end", len(w.waiting), w.inFlight, len(w.owner))
			}
			for id, n := range w.asked {
				if n != 1 {
					t.Fatalf("item %d was answered %d times", id, n)
				}
			}
			if len(w.ends) != int(w.nextID) {
				t.Fatalf("%d ends of %d items", len(w.ends), w.nextID)
			}
			for _, e := range w.ends {
				bad, inTime := w.poison[e.item.ID], e.item.Deadline.IsZero() || !e.item.Arrival.Add(e.took).After(e.item.Deadline)
				switch {
				case e.outcome == "answered" && (bad || !inTime), e.outcome == "bad" && !bad:
					t.Fatalf("%+v, bad: %v", e, bad)
				case e.outcome == "late" && e.item.Kind == batch.Job:
					t.Fatal("a job has no deadline")
				}
			}
		})
	}
}

// TestNothingStarves drains what waits: the head goes out in every batch, and an item is in a batch at the latest when
// all that came before it from its caller, and as many from each other caller, are gone.
func TestNothingStarves(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 3))
		l := trained(batch.Limits{MaxRows: 1 << r.IntN(7), MaxBytes: 1 << 16})
		f := &batch.Former{Learner: func(string) *batch.Learner { return l }}
		var items []batch.Item
		for i := range 1 + r.IntN(200) {
			it := mixture(batch.Kind(r.IntN(2)))(r)
			it.ID, it.Caller, it.Arrival = uint64(i), fmt.Sprint("c", r.IntN(5)), epoch().Add(time.Duration(i)*time.Millisecond)
			it.Bytes = int64(it.Rows * it.Length)
			items = append(items, it)
		}
		for rounds, n := 0, len(items); len(items) > 0; rounds++ {
			if rounds > n {
				t.Fatalf("seed %d: %d items wait after %d batches", seed, len(items), rounds)
			}
			b := f.Form(items, epoch().Add(time.Minute))
			head := items[b.Members[0]]
			for _, it := range items {
				if it.Caller == head.Caller && it.Kind == head.Kind && it.Arrival.Before(head.Arrival) {
					t.Fatalf("seed %d: %d goes before %d of the same caller", seed, head.ID, it.ID)
				}
			}
			seen := map[int]bool{}
			for _, m := range b.Members {
				if seen[m] {
					t.Fatalf("seed %d: a member twice", seed)
				}
				seen[m] = true
			}
			f.Fair.Sent(items, &b, l.Cost())
			for _, m := range slices.Backward(slices.Sorted(slices.Values(b.Members))) {
				items = slices.Delete(items, m, m+1)
			}
		}
	}
}

// trained is a learner that knows a server of 10 ms, 1 ms a row and 0.05 ms a byte of it, and a size of 16.
func trained(limits batch.Limits) *batch.Learner {
	took := linear(10, 1, 0.05)
	s := batch.Snapshot{Version: 1}
	for _, length := range []int{10, 20, 40, 80, 160, 320, 640, 1280} {
		for _, rows := range []int{1, 4, 16} {
			load := batch.Load{Rows: rows, Length: length}
			s.Cells = append(s.Cells, batch.CellState{Rows: float64(rows), Length: float64(length), Rate: float64(rows) / took(load, 0).Seconds(), Count: 9})
		}
	}
	for class := range 16 {
		s.Sizes = append(s.Sizes, batch.SizeState{Class: class, Step: 4, Top: 5, Climbed: true})
	}
	return batch.NewLearner(limits, s)
}

func TestManyRowsOfOneCallerDoNotStarveAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, transformer(), defaults())
	long := func(r *rand.Rand) batch.Item {
		it := between(24, 60)(r)
		it.Rows = 16
		return it
	}
	for range 8 {
		w.start(&client{name: "greedy", think: time.Millisecond, item: long})
	}
	w.start(&client{name: "single", think: 5 * time.Millisecond, item: between(24, 60)})
	w.run(time.Minute)
	best := w.learner.Cost().Of(batch.Load{Rows: w.learner.Size(60, w.time()), Length: 60})
	if p99 := w.latency("single", 0.99, 20*time.Second); p99 > 2*best+20*time.Millisecond {
		t.Errorf("the single caller's p99 is %s; two calls of the best size take %s", p99, 2*best)
	}
}

func TestGreedyCallersGetEqualShares(t *testing.T) {
	t.Parallel()
	limits := defaults()
	limits.MaxRows = 16
	w := newWorld(t, 2, transformer(), limits)
	for i, callers := range []int{20, 20, 40} { // the third asks with twice as many connections
		for range callers {
			w.start(&client{name: fmt.Sprint("caller ", i), think: time.Millisecond, item: texts(40)})
		}
	}
	w.run(time.Minute)
	rows := map[string]int{}
	for _, e := range w.ends {
		if e.item.Arrival.Sub(epoch()) > 20*time.Second {
			rows[e.item.Caller]++
		}
	}
	if a, b, c := rows["caller 0"], rows["caller 1"], rows["caller 2"]; float64(c) > 1.25*float64(min(a, b)) {
		t.Errorf("%d, %d and %d rows", a, b, c)
	}
}

func TestJobsRideAlongAndHaveTheirTurn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, transformer(), defaults())
	jobs := func(r *rand.Rand) batch.Item {
		it := between(24, 60)(r)
		it.Kind = batch.Job
		return it
	}
	w.start(closed(64, between(24, 60))...)
	for range 100 {
		w.start(&client{name: "jobs", think: time.Millisecond, item: jobs})
	}
	w.run(40 * time.Second)
	done := map[batch.Kind]int{}
	for _, e := range w.ends {
		if e.item.Arrival.Sub(epoch()) > 20*time.Second {
			done[e.item.Kind]++
		}
	}
	share := float64(done[batch.Job]) / float64(done[batch.Job]+done[batch.Call])
	if share < 0.08 || share > 0.4 {
		t.Errorf("jobs are %.2f of all under load: %v", share, done)
	}
}

func TestUnderOverloadGoodputStaysAtCapacity(t *testing.T) {
	t.Parallel()
	const patience = time.Second
	capacity := newWorld(t, 4, transformer(), defaults())
	capacity.start(closed(64, between(24, 60))...)
	capacity.run(40 * time.Second)
	most := capacity.rate("answered", 20*time.Second)
	for _, times := range []float64{2, 10} {
		w := newWorld(t, 5, transformer(), defaults())
		for i := range 50 {
			w.start(&client{name: strconv.Itoa(i), every: time.Duration(50 / (times * most) * float64(time.Second)), item: between(24, 60), patience: patience})
		}
		w.run(30 * time.Second)
		if got := w.rate("answered", 10*time.Second); got < 0.9*most {
			t.Errorf("%.0f answers a second in time under %.0f times the capacity of %.0f", got, times, most)
		}
	}
}
