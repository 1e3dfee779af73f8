package batch

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Parts cuts the list of one caller, given by the lengths of its rows in bytes, into calls of good sizes: rows of
// like length together, parts of a group equally large. Each part lists indexes of rows in rising order. A list that
// fits one call is one part.
func Parts(lengths []int, l *Learner, now time.Time) [][]int {
	if len(lengths) == 0 {
		return nil
	}
	longest := slices.Max(lengths)
	if whole := []int(nil); len(lengths) <= l.Size(longest, now) && fits(lengths, whole, l.limits.MaxBytes) {
		return [][]int{upTo(len(lengths))}
	}
	byLength := upTo(len(lengths))
	slices.SortStableFunc(byLength, func(a, b int) int { return cmp.Compare(lengths[a], lengths[b]) })
	spans := make([]span, len(lengths))
	for i, n := range lengths {
		spans[i] = span{n, 1}
	}
	var parts [][]int
	for _, g := range groups(spans, l, now) {
		end := len(byLength)
		if past := slices.IndexFunc(byLength, func(i int) bool { return lengths[i] > g.length }); past >= 0 {
			end = past
		}
		parts = append(parts, evenly(byLength[:end], lengths, l.Size(g.length, now), l.limits.MaxBytes)...)
		byLength = byLength[end:]
	}
	for _, p := range parts {
		slices.Sort(p)
	}
	slices.SortFunc(parts, func(a, b []int) int { return cmp.Compare(a[0], b[0]) })
	return parts
}

// evenly cuts rows into as few parts as the size and the bytes allow, equally large.
func evenly(rows, lengths []int, size int, maxBytes int64) [][]int {
	calls := (len(rows) + size - 1) / size
	var parts [][]int
	for k := range calls {
		part := slices.Clone(rows[k*len(rows)/calls : (k+1)*len(rows)/calls])
		for len(part) > 0 {
			n := len(part)
			for n > 1 && !fits(lengths, part[:n], maxBytes) {
				n = (n + 1) / 2
			}
			parts = append(parts, slices.Clone(part[:n]))
			part = part[n:]
		}
	}
	return parts
}

// fits says whether some rows, or all for nil, are within the bytes of a call.
func fits(lengths, rows []int, maxBytes int64) bool {
	if maxBytes <= 0 {
		return true
	}
	var sum int64
	if rows == nil {
		for _, n := range lengths {
			sum += int64(n)
		}
	}
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

// Join puts the answers to parts together in the order of the rows.
func Join[T any](parts [][]int, answers [][]T) ([]T, error) {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	joined, filled := make([]T, n), make([]bool, n)
	if len(answers) != len(parts) {
		return nil, fmt.Errorf("%d answers for %d parts", len(answers), len(parts))
	}
	for k, p := range parts {
		if len(answers[k]) != len(p) {
			return nil, fmt.Errorf("part %d has %d answers for %d rows", k, len(answers[k]), len(p))
		}
		for i, row := range p {
			if row < 0 || row >= n || filled[row] {
				return nil, fmt.Errorf("part %d names row %d, which is not one of %d or was named before", k, row, n)
			}
			joined[row], filled[row] = answers[k][i], true
		}
	}
	return joined, nil
}
