package batch_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"headrace/worker/batch"
)

func TestCostsAreFoundUnderNoise(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 1))
	l := batch.NewLearner(defaults(), batch.Snapshot{})
	took := linear(12, 1, 0.03)
	for i := range 3000 {
		load := batch.Load{Rows: 1 + r.IntN(32), Length: 20 + r.IntN(500)}
		d := time.Duration(float64(took(load, 0)) * (1 + 0.15*r.NormFloat64()))
		if i%50 == 0 {
			d *= 20 // a wild one
		}
		l.Record(load, max(d, 1), 0, epoch().Add(time.Duration(i)*10*time.Millisecond))
	}
	for _, load := range []batch.Load{{Rows: 1, Length: 40}, {Rows: 32, Length: 40}, {Rows: 8, Length: 400}} {
		if got, want := l.Cost().Of(load).Seconds(), took(load, 0).Seconds(); math.Abs(got-want) > 0.2*want {
			t.Errorf("%+v: %.4f s predicted, %.4f s is right (%+v)", load, got, want, l.Cost())
		}
	}
}

// settled is the size learned for the longest texts, but for one on trial.
func settled(w *world) int {
	size := 1
	for _, s := range w.learner.Snapshot().Sizes {
		size = 1 << s.Step
	}
	return size
}

func TestSizeFindsTheKneeOfEachLength(t *testing.T) {
	t.Parallel()
	for length, want := range map[int][2]int{60: {16, 64}, 300: {4, 16}, 1200: {1, 4}} {
		w := newWorld(t, 1, longTexts(), defaults())
		w.start(closed(100, texts(length))...)
		w.run(2 * time.Minute)
		if size := settled(w); size < want[0] || size > want[1] {
			t.Errorf("texts of %d bytes: %d rows in a call, expected %d to %d", length, size, want[0], want[1])
		}
	}
}

// TestSizeStaysAtOneWhereMergingHurts has the measured curve of a quantised model: merged calls answer fewer rows.
func TestSizeStaysAtOneWhereMergingHurts(t *testing.T) {
	t.Parallel()
	rate := func(l batch.Load, _ time.Duration) time.Duration {
		perSecond := 64 * math.Pow(float64(l.Rows), -0.45)
		return time.Duration(float64(l.Rows) / perSecond * float64(time.Second))
	}
	s := server{took: rate, pool: 1, noise: 0.1}
	without := direct(t, 1, s, closed(16, texts(400)), time.Minute)
	w := newWorld(t, 1, s, defaults())
	w.start(closed(16, texts(400))...)
	w.run(time.Minute)
	if gain := w.rate("answered", 20*time.Second) / without.rate("answered", 20*time.Second); gain < 0.95 {
		t.Errorf("%.2f times direct", gain)
	}
	if pays, known := w.learner.Pays(400); pays || !known {
		t.Errorf("pays %v, known %v", pays, known)
	}
}

// TestSizeFollowsAServerThatChanges: first calls cost much and rows little, then the other way round.
func TestSizeFollowsAServerThatChanges(t *testing.T) {
	t.Parallel()
	cheap, dear := linear(20, 0.5, 0), linear(3, 15, 0)
	s := server{pool: 1, noise: 0.1, took: func(l batch.Load, at time.Duration) time.Duration {
		if at < time.Minute {
			return cheap(l, at)
		}
		return dear(l, at)
	}}
	w := newWorld(t, 1, s, defaults())
	w.start(closed(64, texts(40))...)
	w.run(time.Minute)
	if size := w.learner.Size(40, w.time()); size < 32 {
		t.Errorf("%d rows in a call while calls cost more than rows", size)
	}
	w.run(6 * time.Minute)
	if size := settled(w); size > 16 { // 4 would be enough: 96 % of the goodput, in a quarter of the time
		t.Errorf("%d rows in a call after rows became dear", size)
	}
	if got, want := w.learner.Cost().Of(batch.Load{Rows: 4, Length: 40}).Seconds(), 0.063; math.Abs(got-want) > 0.3*want {
		t.Errorf("a call of 4 rows: %.4f s predicted, %.4f s is right", got, want)
	}
}

func TestFirstCallThatLoadsTheModelIsForgotten(t *testing.T) {
	t.Parallel()
	l := batch.NewLearner(defaults(), batch.Snapshot{})
	for i := range 6 {
		took := 13 * time.Millisecond
		if i == 0 {
			took = 16 * time.Second
		}
		l.Record(batch.Load{Rows: 1, Length: 40}, took, 0, epoch().Add(time.Duration(i)*time.Second))
		if i == 1 && l.Cost().Of(batch.Load{Rows: 1, Length: 40}) > time.Second {
			t.Errorf("after two calls one is expected to take %s", l.Cost().Of(batch.Load{Rows: 1, Length: 40}))
		}
	}
}

func TestLatencyMaxBoundsTheSize(t *testing.T) {
	t.Parallel()
	limits := defaults()
	limits.LatencyMax = 50 * time.Millisecond
	w := newWorld(t, 1, transformer(), limits)
	w.start(closed(64, texts(40))...)
	w.run(30 * time.Second)
	if size := w.learner.Size(40, w.time()); size < 8 || size > 24 {
		t.Errorf("%d rows in a call of at most 50 ms; 17 take as long", size)
	}
}

func TestShrinkHalvesAndGrowsBack(t *testing.T) {
	t.Parallel()
	l := trained(batch.Limits{MaxRows: 64})
	now := epoch()
	if size := l.Size(40, now); size != 16 {
		t.Fatalf("size %d", size)
	}
	l.Shrink(16, now)
	l.Shrink(16, now)
	for after, want := range map[time.Duration]int{time.Second: 4, 29 * time.Second: 4} {
		if size := l.Size(40, now.Add(after)); size != want {
			t.Errorf("%s after two failures: size %d, want %d", after, size, want)
		}
	}
	if size := l.Size(40, now.Add(31*time.Second)); size != 8 {
		t.Errorf("after half a minute: %d", size)
	}
	if size := l.Size(40, now.Add(5*time.Minute)); size != 16 {
		t.Errorf("after five minutes: %d", size)
	}
}

func TestSnapshotSurvivesARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, transformer(), defaults())
	w.start(closed(32, between(24, 60))...)
	w.run(30 * time.Second)
	text, err := json.Marshal(w.learner.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	var s batch.Snapshot
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	again := batch.NewLearner(defaults(), s)
	if got, want := again.Size(60, w.time()), w.learner.Size(60, w.time()); got != want {
		t.Errorf("size %d after the restart, %d before", got, want)
	}
	load := batch.Load{Rows: 16, Length: 60}
	if got, want := again.Cost().Of(load).Seconds(), w.learner.Cost().Of(load).Seconds(); math.Abs(got-want) > 0.15*want {
		t.Errorf("a call is expected to take %.4f s after the restart, %.4f s before", got, want)
	}
	broken := batch.Snapshot{
		Version: 1, Cells: []batch.CellState{{Rows: -1, Rate: 1}, {Rows: 1, Rate: math.NaN()}, {Rows: 1, Length: 1, Rate: math.Inf(1)}},
		Sizes: []batch.SizeState{{Class: 99}, {Class: -1}, {Step: 3, Top: 1}, {Step: 40, Top: 50}}, Bad: 5, Rows: 1,
	}
	if fresh := batch.NewLearner(defaults(), broken); fresh.Cost().Known() || fresh.Size(60, epoch()) != 1 {
		t.Error("a broken snapshot was believed")
	}
	if s := batch.NewLearner(defaults(), batch.Snapshot{}).Snapshot(); !reflect.DeepEqual(s, batch.Snapshot{Version: 1}) {
		t.Errorf("nothing known is %+v", s)
	}
}

// TestBadRowsMakeCallsSmaller: the more rows a call has, the more often one of them fails it for all.
func TestBadRowsMakeCallsSmaller(t *testing.T) {
	t.Parallel()
	sizes := map[float64]int{}
	for _, share := range []float64{0, 0.05} {
		w := newWorld(t, 1, transformer(), defaults())
		w.poisoned = share
		w.start(closed(64, texts(40))...)
		w.run(time.Minute)
		sizes[share] = w.learner.Size(40, w.time())
		for _, e := range w.ends {
			if e.outcome == "bad" != w.poison[e.item.ID] {
				t.Fatalf("%+v", e)
			}
		}
	}
	if sizes[0.05] >= sizes[0] {
		t.Errorf("%d rows in a call with bad ones, %d without", sizes[0.05], sizes[0])
	}
}

// TestServerThatBreaksAboveASize has one whose process dies of calls of more than 16 rows.
func TestServerThatBreaksAboveASize(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, transformer(), defaults())
	w.broken = func(l batch.Load) bool { return l.Rows > 16 }
	breaks := 0
	count := w.broken
	w.broken = func(l batch.Load) bool {
		if count(l) {
			breaks++
			return true
		}
		return false
	}
	w.start(closed(64, texts(40))...)
	w.run(20 * time.Second)
	breaks = 0
	w.run(200 * time.Second)
	for _, e := range w.ends {
		if e.outcome != "answered" {
			t.Fatalf("%+v", e)
		}
	}
	if breaks > 2*2*10 { // each is seen twice by this count; at most two in each half minute
		t.Errorf("it broke %d times in three minutes", breaks/2)
	}
	if got := w.rate("answered", 20*time.Second); got < 200 {
		t.Errorf("%.0f answers a second", got)
	}
}
