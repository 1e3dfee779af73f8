package batch_test

import (
	"strconv"
	"testing"
	"time"

	"headrace/worker/batch"
)

func TestTextsOfLikeLengthGoTogether(t *testing.T) {
	t.Parallel()
	l := trained(batch.Limits{MaxRows: 64})
	f := &batch.Former{Learner: func(string) *batch.Learner { return l }}
	var items []batch.Item
	for i, length := range []int{40, 1200, 44, 42, 1100, 45, 41, 43, 1150, 40} {
		items = append(items, batch.Item{Rows: 1, Length: length, Arrival: epoch().Add(time.Duration(i))})
	}
	if b := f.Form(items, epoch()); len(b.Members) != 7 || b.Load.Length != 45 || b.Members[0] != 0 {
		t.Errorf("short texts wait with long ones: %+v", b)
	}
	if b := f.Form(items[1:], epoch()); len(b.Members) != 3 || b.Load.Length != 1200 || b.Members[0] != 0 {
		t.Errorf("the head is a long text: %+v", b)
	}
	if b := f.Form(items[:2], epoch()); len(b.Members) != 1 {
		t.Errorf("a short text does not wait for a long one: %+v", b)
	}
}

func TestBatchMeetsTheTightestDeadline(t *testing.T) {
	t.Parallel()
	l := trained(batch.Limits{MaxRows: 64})
	f := &batch.Former{Learner: func(string) *batch.Learner { return l }}
	var items []batch.Item
	for range 16 {
		items = append(items, batch.Item{Rows: 1, Length: 20, Deadline: epoch().Add(time.Second)})
	}
	if b := f.Form(items, epoch()); b.Load.Rows != 16 {
		t.Errorf("%d rows without haste", b.Load.Rows)
	}
	items[0].Deadline = epoch().Add(22500 * time.Microsecond) // 10 ms and 2 ms a row, and a tenth
	if b := f.Form(items, epoch()); b.Load.Rows != 5 || b.Expected > 21*time.Millisecond {
		t.Errorf("%d rows in %s for a deadline of 22.5 ms", b.Load.Rows, b.Expected)
	}
}

func TestFirstRequestAfterIdleNeverWaits(t *testing.T) {
	t.Parallel()
	cost := batch.Cost{Fixed: 0.02, Row: 0.0001}
	g := batch.NewGather(2 * time.Millisecond)
	m := batch.Moment{Load: batch.Load{Rows: 1}, Limit: 32, First: epoch().Add(50 * time.Millisecond)}
	g.Freed(8, epoch())
	if d := g.Wait(m, cost, m.First, 0); d != 0 {
		t.Errorf("after idleness: %s", d)
	}
	m.First = epoch().Add(500 * time.Microsecond)
	if d := g.Wait(m, cost, m.First, 0.5); d <= 0 || d > 2*time.Millisecond {
		t.Errorf("right after an answer: %s", d)
	}
	for name, m := range map[string]batch.Moment{
		"full":                  {Load: batch.Load{Rows: 32}, Limit: 32, First: m.First},
		"little slack":          {Load: batch.Load{Rows: 1}, Limit: 32, First: m.First, Slack: time.Millisecond},
		"waited long enough":    {Load: batch.Load{Rows: 1}, Limit: 32, First: m.First, Began: m.First.Add(-2 * time.Millisecond)},
		"rows cost more: 1,000": {Load: batch.Load{Rows: 1000}, Limit: 2000, First: m.First},
	} {
		if d := g.Wait(m, cost, m.First, 0.5); d != 0 {
			t.Errorf("%s: %s", name, d)
		}
	}
	for range 20 {
		g.Report(1, 1, time.Millisecond, cost)
	}
	if d := g.Wait(m, cost, m.First, 0.5); d != 0 {
		t.Errorf("where it never paid: %s", d)
	}
	if d := g.Wait(m, cost, m.First, 0.01); d == 0 {
		t.Error("it is tried now and then all the same")
	}
	if d := batch.NewGather(0).Wait(m, cost, m.First, 0); d != 0 {
		t.Errorf("gathering is off: %s", d)
	}
}

// BenchmarkForm is the time that choosing one batch takes, by how much waits.
func BenchmarkForm(b *testing.B) {
	for _, n := range []int{1, 32, 128} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			l := trained(batch.Limits{MaxRows: 128})
			f := &batch.Former{Learner: func(string) *batch.Learner { return l }}
			items := make([]batch.Item, n)
			for i := range items {
				items[i] = batch.Item{Rows: 1, Length: 20 + i%40, Caller: strconv.Itoa(i % 16), Arrival: epoch().Add(time.Duration(i))}
			}
			for b.Loop() {
				f.Form(items, epoch())
			}
		})
	}
}
