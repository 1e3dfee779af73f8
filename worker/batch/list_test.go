package batch_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"headrace/worker/batch"
)

// cut takes a list apart to the end.
func cut(lengths []int, l *batch.Learner) [][]int {
	var parts [][]int
	for x := batch.NewList(lengths, l, epoch()); x.Left() > 0; {
		parts = append(parts, x.Next(l, epoch()))
	}
	return parts
}

func TestPartsOfAListHoldEachRowOnce(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 5))
		limits := batch.Limits{MaxRows: 1 << r.IntN(7), MaxBytes: 1 << (8 + r.IntN(8)), LatencyMax: time.Second}
		l := trained(limits)
		lengths := make([]int, 1+r.IntN(1000))
		for i := range lengths {
			lengths[i] = 10 << r.IntN(7)
		}
		seen := make([]bool, len(lengths))
		for _, p := range cut(lengths, l) {
			bytes, longest := int64(0), 0
			for _, row := range p {
				if seen[row] {
					t.Fatalf("seed %d: row %d is in two parts", seed, row)
				}
				seen[row] = true
				bytes += int64(lengths[row])
				longest = max(longest, lengths[row])
			}
			// 1 ms and 0.05 ms a byte for each row: ten milliseconds more than a call of the learned size.
			most := min(limits.MaxRows, 16) + int(10/(1+0.05*float64(longest))) + 1
			if len(p) == 0 || len(p) > most || !slices.IsSorted(p) || len(p) > 1 && bytes > limits.MaxBytes {
				t.Fatalf("seed %d: a part of %d rows, %d bytes; at most %d rows", seed, len(p), bytes, most)
			}
		}
		if slices.Contains(seen, false) {
			t.Fatalf("seed %d: a row is in no part", seed)
		}
	}
}

func TestPartsAreEquallyLarge(t *testing.T) {
	t.Parallel()
	lengths := make([]int, 1000)
	for i := range lengths {
		lengths[i] = 20
	}
	parts := cut(lengths, trained(batch.Limits{MaxRows: 64}))
	for _, p := range parts {
		if len(p) < len(parts[0])-1 || len(p) > len(parts[0]) {
			t.Errorf("a part of %d rows beside one of %d", len(p), len(parts[0]))
		}
	}
	if len(parts) < 40 || len(parts) > 63 {
		t.Errorf("%d parts", len(parts))
	}
	if parts := cut(nil, trained(batch.Limits{MaxRows: 64})); parts != nil {
		t.Errorf("an empty list has parts: %v", parts)
	}
}

func TestLongIsWhatHoldsOthersUp(t *testing.T) {
	t.Parallel()
	l := trained(batch.Limits{MaxRows: 64}) // learned: 16 rows a call; 10 ms, and 2 ms a row
	for rows, long := range map[int]bool{1: false, 16: false, 24: false, 64: true, 1000: true} {
		if l.Long(rows, 20, epoch()) != long {
			t.Errorf("%d rows: long is %v", rows, !long)
		}
	}
	if batch.NewLearner(batch.Limits{MaxRows: 64}, batch.Snapshot{}).Long(100_000, 20, epoch()) {
		t.Error("a list is cut before anything is known of costs")
	}
	cheap := batch.NewLearner(batch.Limits{MaxRows: 64}, batch.Snapshot{Version: 1, Cells: []batch.CellState{
		{Rows: 1, Length: 20, Rate: 1 / 0.00502, Count: 9}, {Rows: 64, Length: 20, Rate: 64 / 0.00628, Count: 9},
	}, Sizes: []batch.SizeState{{Class: 5, Step: 6, Top: 7, Climbed: true}}})
	if cheap.Long(500, 20, epoch()) || !cheap.Long(10_000, 20, epoch()) {
		t.Error("10 ms more are 500 rows of 0.02 ms")
	}
}

func FuzzList(f *testing.F) {
	f.Add([]byte{1, 2, 3, 200}, 64, int64(100))
	f.Add([]byte{}, 1, int64(0))
	f.Fuzz(func(t *testing.T, raw []byte, most int, maxBytes int64) {
		lengths := make([]int, len(raw))
		for i, b := range raw {
			lengths[i] = int(b) * int(b)
		}
		l := trained(batch.Limits{MaxRows: most, MaxBytes: maxBytes})
		rows := slices.Concat(cut(lengths, l)...)
		slices.Sort(rows)
		for i, row := range rows {
			if i != row {
				t.Fatalf("%v", rows)
			}
		}
		if len(rows) != len(lengths) {
			t.Fatalf("%d rows of %d", len(rows), len(lengths))
		}
	})
}
