package batch

import (
	"cmp"
	"slices"
	"time"
)

// topUp is how much longer a call for callers may take for the sake of jobs that ride along.
const topUp = 1.25

// jobTurn: every eighth batch begins with a job while jobs wait, whatever else does.
const jobTurn = 8

// lookAhead bounds how many items are looked at for one batch, in the order of arrival.
const lookAhead = 512

// Batch is what goes out in one call.
type Batch struct {
	// Members are indexes of the items given to Form; the first is the head.
	Members []int
	Load    Load
	Bytes   int64
	// Left is how many rows that could have been in the call wait on.
	Left int
	// Limit is the size that was aimed at, Expected how long the call will take; 0: unknown.
	Limit    int
	Expected time.Duration
}

// Former chooses batches for the slots of one model server. It is not safe for concurrent use.
type Former struct {
	// Learner gives the learner of a route on the replica that has a slot free.
	Learner func(route string) *Learner
	Fair    Fair
	turn    int
}

// Form chooses the next batch out of what waits, which must not be empty; Sweep comes before it. The head is the
// oldest item of the caller that has had least, and is in the batch whatever it costs, so nothing starves. Others
// join it in the same order when they have its key, fit, meet every deadline, and cost no more there than in a call
// with items of their own length. Form changes nothing but the turn of jobs; tell Fair.Sent when the batch goes out.
func (f *Former) Form(items []Item, now time.Time) Batch {
	f.Fair.Waiting(items)
	order := make([]int, len(items))
	for i := range items {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return items[a].Arrival.Compare(items[b].Arrival) })
	head := f.head(items, order)
	l := f.Learner(items[head].Key.Route)
	b := Batch{}
	b.take(items, head)
	if !items[head].Solo {
		f.fill(&b, items, f.company(items, order, head), l, now)
	}
	b.Limit = l.Size(b.Load.Length, now)
	b.Expected = l.Cost().Of(b.Load)
	return b
}

func (b *Batch) take(items []Item, i int) {
	b.Members = append(b.Members, i)
	b.Load = b.Load.with(items[i])
	b.Bytes += items[i].Bytes
}

// head picks the item that goes out whatever happens.
func (f *Former) head(items []Item, order []int) int {
	kind := Call
	calls := slices.ContainsFunc(order, func(i int) bool { return items[i].Kind == Call })
	jobs := slices.ContainsFunc(order, func(i int) bool { return items[i].Kind == Job })
	if jobs {
		f.turn++
	}
	if jobs && (!calls || f.turn >= jobTurn) {
		kind, f.turn = Job, 0
	}
	head := -1
	for _, i := range order {
		if items[i].Kind == kind && (head < 0 || f.Fair.level(items[i].Caller) < f.Fair.level(items[head].Caller)) {
			head = i
		}
	}
	return head
}

// company lists what may join the head: calls in fair order, then jobs in fair order.
func (f *Former) company(items []Item, order []int, head int) []int {
	var like []int
	for _, i := range order {
		if i != head && !items[i].Solo && items[i].Key == items[head].Key {
			like = append(like, i)
		}
	}
	like = like[:min(len(like), lookAhead)]
	cost := f.Learner(items[head].Key.Route).Cost()
	ahead := map[string]float64{items[head].Caller: f.Fair.of(items[head].Caller) + price(&items[head], cost)}
	at := make([]float64, len(items)) // the level at which its turn comes
	for _, i := range like {
		caller := items[i].Caller
		start, known := ahead[caller]
		if !known {
			start = f.Fair.of(caller)
		}
		at[i] = f.Fair.levelAt(start)
		ahead[caller] = start + price(&items[i], cost)
	}
	slices.SortStableFunc(like, func(a, b int) int {
		return cmp.Or(cmp.Compare(items[a].Kind, items[b].Kind), cmp.Compare(at[a], at[b]))
	})
	return like
}

// fill adds company to a batch that holds its head.
func (f *Former) fill(b *Batch, items []Item, company []int, l *Learner, now time.Time) {
	cost, limits := l.Cost(), l.Limits()
	above, longest := alike(b, items, company, l, now)
	head := items[b.Members[0]]
	due := head.Deadline
	bare := 0.0 // seconds the call takes for callers alone, once jobs are looked at
	for _, i := range company {
		it := &items[i]
		if it.Length <= above || it.Length > longest {
			continue
		}
		next := b.Load.with(*it)
		if next.Rows > l.Size(next.Length, now) || b.Bytes+it.Bytes > limits.MaxBytes && limits.MaxBytes > 0 {
			b.Left += it.Rows
			continue
		}
		took := cost.of(next)
		if it.Kind == Job && head.Kind == Call {
			if bare == 0 {
				bare = cost.of(b.Load)
			}
			if took > topUp*bare {
				continue
			}
		}
		if inTime(due, took, now) && inTime(it.Deadline, took, now) {
			due = earlier(due, it.Deadline)
			b.take(items, i)
		}
	}
}

// earlier is the earlier of two deadlines; zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Join adds an item that came while the batch is gathered, if it fits and costs less there than in a call of its own,
// and says whether it did. items are those of Form with later ones behind them, i the index of the new one.
func (f *Former) Join(b *Batch, items []Item, i int, now time.Time) bool {
	it, head := &items[i], &items[b.Members[0]]
	l := f.Learner(head.Key.Route)
	next := b.Load.with(*it)
	limits, cost := l.Limits(), l.Cost()
	if it.Solo || head.Solo || it.Key != head.Key || it.Kind != Call || next.Rows > l.Size(next.Length, now) ||
		limits.MaxBytes > 0 && b.Bytes+it.Bytes > limits.MaxBytes {
		return false
	}
	took := cost.of(next)
	if took > cost.of(b.Load)+cost.of(Load{it.Rows, it.Length}) {
		return false
	}
	for _, m := range append([]int{i}, b.Members...) {
		if !inTime(items[m].Deadline, took, now) {
			return false
		}
	}
	b.take(items, i)
	b.Expected = seconds(took)
	return true
}

// inTime leaves a tenth for what is not predicted.
func inTime(deadline time.Time, took float64, now time.Time) bool {
	return deadline.IsZero() || !now.Add(seconds(1.1*took)).After(deadline)
}

// alike says how long rows may be that join the head: longer than above, and no longer than longest.
func alike(b *Batch, items []Item, company []int, l *Learner, now time.Time) (above, longest int) {
	spans := make([]span, 0, 1+len(company))
	spans = append(spans, span{b.Load.Length, b.Load.Rows})
	for _, i := range company {
		spans = append(spans, span{items[i].Length, items[i].Rows})
	}
	above = -1
	for _, g := range groups(spans, l, now) {
		if g.length >= b.Load.Length {
			return above, g.length
		}
		above = g.length
	}
	return above, b.Load.Length
}

// span is rows of about one length.
type span struct{ length, rows int }

// groups parts lengths so that all rows together take least time: each group is merged and padded to its longest,
// given by length, in rising order. Merging texts of 10 and 200 words pads the short ones to twenty times their
// cost; parting texts of 10 and 12 words pays for one more call.
func groups(spans []span, l *Learner, now time.Time) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.length, b.length) })
	var joined []span // lengths within an eighth count as one
	first := 0
	for _, s := range spans {
		if n := len(joined) - 1; n >= 0 && s.length <= first+first/8 {
			joined[n] = span{s.length, joined[n].rows + s.rows}
			continue
		}
		joined, first = append(joined, s), s.length
	}
	cost := l.Cost()
	if len(joined) == 1 || !cost.Known() {
		return joined[len(joined)-1:]
	}
	best := make([]float64, len(joined)+1) // of the first i lengths
	from := make([]int, len(joined)+1)
	for i := 1; i <= len(joined); i++ {
		length, rows := joined[i-1].length, 0
		size := l.Size(length, now)
		best[i] = -1
		for j := i - 1; j >= 0; j-- {
			rows += joined[j].rows
			calls := float64((rows + size - 1) / size)
			if c := best[j] + calls*cost.Fixed + float64(rows)*cost.marginal(length); best[i] < 0 || c < best[i] {
				best[i], from[i] = c, j
			}
		}
	}
	var parts []span
	for i := len(joined); i > 0; i = from[i] {
		rows := 0
		for _, s := range joined[from[i]:i] {
			rows += s.rows
		}
		parts = append(parts, span{joined[i-1].length, rows})
	}
	slices.Reverse(parts)
	return parts
}
