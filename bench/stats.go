package main

import (
	"math"
	"slices"
	"time"
)

// quantile gives the smallest latency that at least the fraction q of all is not above (nearest rank). The
// samples must be sorted; without any it is 0.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// spread is what several rounds say about one figure.
type spread struct {
	min, median, max float64
}

// spreadOf sums rounds up; the median of an even number is the mean of the two in the middle. Without rounds
// everything is NaN, so that no gate takes it for a result.
func spreadOf(rounds []float64) spread {
	n := len(rounds)
	if n == 0 {
		return spread{math.NaN(), math.NaN(), math.NaN()}
	}
	sorted := slices.Sorted(slices.Values(rounds))
	return spread{sorted[0], (sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[n-1]}
}

// ratios divides round by round: what slows the machine down in one round slows both.
func ratios(a, b []float64) []float64 {
	out := make([]float64, 0, min(len(a), len(b)))
	for i := range min(len(a), len(b)) {
		out = append(out, a[i]/b[i])
	}
	return out
}

// rotated gives the order of one round: each round begins with another target, so that none is always the
// one that runs just after the same neighbour at the same moment.
func rotated[T any](all []T, round int) []T {
	if len(all) == 0 {
		return nil
	}
	at := round % len(all)
	return slices.Concat(all[at:], all[:at])
}
