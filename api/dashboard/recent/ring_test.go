package recent_test

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"go.uber.org/goleak"

	"headrace/api/dashboard/recent"
	"headrace/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newRing(tb testing.TB, size int) *recent.Ring {
	tb.Helper()
	r, err := recent.New(size, func() recent.Gauges { return recent.Gauges{Waiting: 7, Jobs: 3, Workers: 2} })
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func ids(r *recent.Ring) (all []string) {
	for c := range r.Newest() {
		all = append(all, c.ID)
	}
	return all
}

func TestTheLatestCallsAreKept(t *testing.T) {
	t.Parallel()
	r := newRing(t, 3)
	if got := ids(r); len(got) != 0 {
		t.Errorf("an empty ring has %v", got)
	}
	for i := range 5 {
		r.Add(recent.Call{ID: strconv.Itoa(i)})
	}
	if got := strings.Join(ids(r), " "); got != "4 3 2" || r.Count() != 5 {
		t.Errorf("%s of %d", got, r.Count())
	}
}

func TestARingOfNoCallsCountsThem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRing(t, 0)
		run(t, r)
		r.Add(recent.Call{Took: time.Second})
		pass(1500 * time.Millisecond)
		if sum := recent.Sum(r.LastSeconds(time.Now())); len(ids(r)) != 0 || sum.Calls() != 1 {
			t.Errorf("%v, %d calls", ids(r), sum.Calls())
		}
	})
}

func TestSizesAreBounded(t *testing.T) {
	t.Parallel()
	for _, size := range []int{-1, recent.MaxCalls + 1} {
		if _, err := recent.New(size, nil); err == nil {
			t.Errorf("%d calls are taken", size)
		}
	}
	r := newRing(t, 1)
	r.Add(recent.Call{Message: strings.Repeat("é", 10_000), Path: "/" + strings.Repeat("x", 10_000)})
	for c := range r.Newest() {
		const longestID, longestRoute = 128, 0 // the table's own text
		most := int(unsafe.Sizeof(c)) + 16 + len(c.Message) + len(c.Path) + longestID + longestRoute
		if total := most*recent.MaxCalls + int(unsafe.Sizeof(recent.Point{}))*(recent.Seconds+recent.Minutes); total > 16<<20 {
			t.Errorf("a call of %d bytes makes rings of %d", most, total)
		}
	}
}

// pass lets the time of a bubble go on.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // the bubble's clock
}

func run(t *testing.T, r *recent.Ring) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = r.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

func TestFiguresOfSecondsAndMinutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRing(t, 10)
		run(t, r)
		pass(time.Second / 2) // between two ticks
		for range 200 {       // seconds
			for range 98 {
				r.Add(recent.Call{Took: 10 * time.Millisecond, Batch: 4, Queue: 100 * time.Millisecond})
			}
			r.Add(recent.Call{Took: 2 * time.Second, Code: fault.Deadline})
			r.Add(recent.Call{Took: time.Millisecond, Code: fault.Invalid})
			pass(time.Second)
		}
		synctest.Wait()
		points := r.LastSeconds(time.Now())
		if len(points) != recent.Seconds || points[0].Calls() != 0 {
			t.Fatalf("%d points, the oldest with %d calls", len(points), points[0].Calls())
		}
		last := points[len(points)-1]
		if last.Calls() != 100 || last.Failed() != 1 || last.Code(fault.Invalid) != 1 || last.Rate() != 100 || last.Gauges.Waiting != 7 {
			t.Errorf("%d calls, %d failed, %v a second, gauges %+v", last.Calls(), last.Failed(), last.Rate(), last.Gauges)
		}
		if w := last.Waiting(); w < 9.79 || w > 9.81 {
			t.Errorf("%v waited", w)
		}
		if b := last.Batch(); b < 3.99 || b > 4.01 {
			t.Errorf("batch of %v", b)
		}
		for q, want := range map[float64]time.Duration{0.005: time.Millisecond, 0.5: 10 * time.Millisecond, 0.999: 2 * time.Second} {
			if got := last.Quantile(q); float64(got) < 0.8*float64(want) || float64(got) > 1.2*float64(want) {
				t.Errorf("quantile %v is %s, want about %s", q, got, want)
			}
		}
		minutes := recent.Sum(r.LastMinutes(time.Now()))
		if minutes.Calls() != 200*100 && minutes.Calls() != 199*100 || minutes.Gauges.Jobs != 3 {
			t.Errorf("minutes have %d calls, %+v", minutes.Calls(), minutes.Gauges)
		}
	})
}

func TestOldFiguresAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRing(t, 1)
		run(t, r)
		r.Add(recent.Call{})
		pass(10500 * time.Millisecond)
		if sum := recent.Sum(r.LastSeconds(time.Now())); sum.Waiting() != 7 { // what the gauge says, not its sum
			t.Errorf("%v waited", sum.Waiting())
		}
		pass(11 * time.Minute)
		if seconds, minutes := recent.Sum(r.LastSeconds(time.Now())), recent.Sum(r.LastMinutes(time.Now())); seconds.Calls() != 0 || minutes.Calls() != 1 {
			t.Errorf("after 11 minutes %d and %d", seconds.Calls(), minutes.Calls())
		}
		pass(24 * time.Hour)
		if minutes := recent.Sum(r.LastMinutes(time.Now())); minutes.Calls() != 0 {
			t.Errorf("after a day %d", minutes.Calls())
		}
	})
}

func TestCallsFromManySides(t *testing.T) {
	t.Parallel()
	r := newRing(t, 16)
	var sides sync.WaitGroup
	for range 8 {
		sides.Go(func() {
			for i := range 2000 {
				r.Add(recent.Call{ID: "x", Took: time.Duration(i) * time.Millisecond})
				if i%100 == 0 {
					for c := range r.Newest() {
						if c.ID != "x" {
							t.Error("half a call")
						}
					}
				}
			}
		})
	}
	sides.Wait()
	if got := len(ids(r)); got != 16 || r.Count() != 16_000 {
		t.Errorf("%d of %d", got, r.Count())
	}
}

func BenchmarkAdd(b *testing.B) {
	r := newRing(b, 10_000)
	c := recent.Call{ID: "abc", Route: "embeddings", Path: "/v1/embeddings", Took: 12 * time.Millisecond, Batch: 3}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r.Add(c)
		}
	})
}
