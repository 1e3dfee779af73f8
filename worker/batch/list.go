package batch

import (
	"cmp"
	"slices"
	"time"
)

const (
	// partMore is how much longer than a call of the learned size a part of a long list may take. Where rows are cheap it
	// keeps long lists in few calls; other callers wait no longer than this for it.
	partMore = 10 * time.Millisecond
	// longAtFirst is how many rows make a list long while the best size of calls is not known.
	longAtFirst = 64
)

// List is the list of one caller that is asked in several calls: rows of like length together, parts of a group about
// equally large. A part is cut when a slot has room for it, so its size is the one that is learned, or on trial, then.
type List struct {
	lengths []int  // bytes of each row
	rest    []int  // rows that are in no part yet, by length
	groups  []span // of rest
}

// Long says whether a list is worth cutting: in one call it would take much longer than calls of the learned size, and
// hold up others. While nothing is known of costs none is.
func (l *Learner) Long(rows, length int, now time.Time) bool {
	if !l.table.cost.Known() || rows < 2 {
		return false
	}
	if !l.sizes[classOf(length)].climbed {
		return rows >= longAtFirst && rows > l.Size(length, now)
	}
	part := l.part(length, now)
	return rows > part+part/4
}

// part is how many rows of at most a length a part should have. While a size is on trial, or calls have to be small, it
// is that size.
func (l *Learner) part(length int, now time.Time) int {
	size := l.Size(length, now)
	if s := &l.sizes[classOf(length)]; s.trial >= 0 || !s.climbed || l.cap > 0 {
		return size
	}
	marginal := l.table.cost.marginal(length)
	most := float64(steps * l.limits.MaxRows) // of rows that cost nothing
	if marginal > 0 {
		most = float64(size) + partMore.Seconds()/marginal
		if spare := l.limits.LatencyMax.Seconds() - l.table.cost.Fixed; l.limits.LatencyMax > 0 {
			most = min(most, spare/marginal)
		}
	}
	return max(size, int(min(most, 1<<30)))
}

// NewList begins with a list, given by the lengths of its rows in bytes.
func NewList(lengths []int, l *Learner, now time.Time) *List {
	x := &List{lengths: lengths, rest: upTo(len(lengths))}
	slices.SortStableFunc(x.rest, func(a, b int) int { return cmp.Compare(lengths[a], lengths[b]) })
	spans := make([]span, len(lengths))
	for i, n := range lengths {
		spans[i] = span{n, 1}
	}
	if len(spans) > 0 {
		x.groups = groups(spans, l, now)
	}
	return x
}

// Left is how many rows are in no part yet.
func (x *List) Left() int { return len(x.rest) }

// Next cuts off a part: indexes of rows, in rising order; nil when none are left.
func (x *List) Next(l *Learner, now time.Time) []int {
	if len(x.rest) == 0 {
		return nil
	}
	length := x.lengths[x.rest[len(x.rest)-1]]
	end := len(x.rest)
	for len(x.groups) > 0 {
		longest := x.groups[0].length
		past := slices.IndexFunc(x.rest, func(i int) bool { return x.lengths[i] > longest })
		if past == 0 {
			x.groups = x.groups[1:]
			continue
		}
		if past > 0 {
			end, length = past, longest
		}
		break
	}
	size := max(l.part(length, now), 1)
	calls := (end + size - 1) / size
	n := (end + calls - 1) / calls
	for n > 1 && !fits(x.lengths, x.rest[:n], l.limits.MaxBytes) {
		n = (n + 1) / 2
	}
	part := slices.Clone(x.rest[:n])
	x.rest = x.rest[n:]
	slices.Sort(part)
	return part
}

// fits says whether some rows are within the bytes of a call.
func fits(lengths, rows []int, maxBytes int64) bool {
	if maxBytes <= 0 {
		return true
	}
	var sum int64
	for _, i := range rows {
		sum += int64(lengths[i])
	}
	return sum <= maxBytes
}

func upTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}
