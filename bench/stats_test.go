package main_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	main "headrace/bench"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestQuantile(t *testing.T) {
	t.Parallel()
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	tests := map[string]struct {
		sorted []time.Duration
		q      float64
		want   time.Duration
	}{
		"nothing":           {nil, 0.5, 0},
		"one":               {[]time.Duration{7}, 0.99, 7},
		"median of two":     {[]time.Duration{1, 9}, 0.5, 1},
		"median of three":   {[]time.Duration{1, 5, 9}, 0.5, 5},
		"median of hundred": {hundred, 0.5, 50},
		"p99 of hundred":    {hundred, 0.99, 99},
		"all":               {hundred, 1, 100},
		"none":              {hundred, 0, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := main.Quantile(tt.sorted, tt.q); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestSpread(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		rounds            []float64
		low, median, high float64
	}{
		"one":  {[]float64{3}, 3, 3, 3},
		"odd":  {[]float64{9, 1, 4}, 1, 4, 9},
		"even": {[]float64{4, 1, 9, 2}, 1, 3, 9},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := slices.Clone(tt.rounds)
			low, median, high := main.SpreadOf(tt.rounds)
			if low != tt.low || median != tt.median || high != tt.high {
				t.Errorf("got %v %v %v, want %v %v %v", low, median, high, tt.low, tt.median, tt.high)
			}
			if !slices.Equal(before, tt.rounds) {
				t.Errorf("the rounds were put in another order: %v", tt.rounds)
			}
		})
	}
	if _, median, _ := main.SpreadOf(nil); !math.IsNaN(median) {
		t.Errorf("without rounds the median is %v, want NaN", median)
	}
}

func TestRatiosAreFormedRoundByRound(t *testing.T) {
	t.Parallel()
	got := main.Ratios([]float64{10, 4, 9}, []float64{5, 8})
	if want := []float64{2, 0.5}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRotated(t *testing.T) {
	t.Parallel()
	all := []int{0, 1, 2}
	for round, want := range [][]int{{0, 1, 2}, {1, 2, 0}, {2, 0, 1}, {0, 1, 2}} {
		if got := main.Rotated(all, round); !slices.Equal(got, want) {
			t.Errorf("round %d: got %v, want %v", round, got, want)
		}
	}
	if got := main.Rotated(nil, 3); len(got) != 0 {
		t.Errorf("of nothing: got %v", got)
	}
}

func TestGates(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		gate main.Gate
		ok   bool
	}{
		"below":            {main.AtMost("", 1.2, 1.3, "%.2f"), true},
		"at the bound":     {main.AtMost("", 1.3, 1.3, "%.2f"), true},
		"above":            {main.AtMost("", 1.301, 1.3, "%.2f"), false},
		"enough":           {main.AtLeast("", 0.9, 0.85, "%.2f"), true},
		"too little":       {main.AtLeast("", 0.849, 0.85, "%.2f"), false},
		"nothing measured": {main.AtMost("", math.NaN(), 1, "%.2f"), false},
		"nothing reached":  {main.AtLeast("", math.NaN(), 1, "%.2f"), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.gate.OK() != tt.ok {
				t.Errorf("%+v: got %v, want %v", tt.gate, tt.gate.OK(), tt.ok)
			}
		})
	}
}

func TestNumber(t *testing.T) {
	t.Parallel()
	for f, want := range map[float64]string{0: "0", 999: "999", 1000: "1,000", 1234567.8: "1,234,568"} {
		if got := main.Number(f); got != want {
			t.Errorf("%v: got %s, want %s", f, got, want)
		}
	}
}
