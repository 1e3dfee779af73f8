package batch

import (
	"math"
	"time"
)

// Cost predicts how long a model server takes: Fixed for a call, Row for each row, Byte for each byte of each row
// when all rows are as long as the longest. Each is in seconds and not negative.
type Cost struct{ Fixed, Row, Byte float64 }

// Known says that something has been measured.
func (c Cost) Known() bool { return c.Fixed > 0 || c.Row > 0 || c.Byte > 0 }

// Of is the expected time of one call; 0 when nothing is known.
func (c Cost) Of(l Load) time.Duration { return seconds(c.of(l)) }

func (c Cost) of(l Load) float64 { return c.Fixed + float64(l.Rows)*c.marginal(l.Length) }

// marginal is what one more row of a length costs.
func (c Cost) marginal(length int) float64 { return c.Row + c.Byte*float64(length) }

func seconds(s float64) time.Duration {
	return time.Duration(min(s, math.MaxInt64/float64(2*time.Second)) * float64(time.Second))
}

// window is how many measurements a cell remembers. The middle of them counts, so that a few wild ones do not, and
// after a change of the server half of them suffice.
const window = 9

// cell is what was measured at one size and class of length.
type cell struct {
	rate         [window]float64 // rows in a second
	n            int             // measured so far
	rows, length float64         // of the calls, on average
	seen         uint64          // the table's count at the last
	middle       float64         // of rate
}

func (c *cell) add(l Load, rate float64, seen uint64) {
	c.rate[c.n%window] = rate
	c.n++
	gain := 1 / float64(min(c.n, window))
	c.rows += gain * (float64(l.Rows) - c.rows)
	c.length += gain * (float64(l.Length) - c.length)
	c.seen = seen
	c.judge()
}

// judge finds the middle: the mean of what is left when the quarters at both ends are dropped. Of two it takes the
// faster: the first call to a model server often loads something.
func (c *cell) judge() {
	k := min(c.n, window)
	sorted := c.rate
	few := sorted[:k]
	for i := 1; i < k; i++ {
		for j := i; j > 0 && few[j] < few[j-1]; j-- {
			few[j], few[j-1] = few[j-1], few[j]
		}
	}
	if k == 2 {
		c.middle = few[1]
		return
	}
	cut := (k + 1) / 4
	sum := 0.0
	for _, r := range few[cut : k-cut] {
		sum += r
	}
	c.middle = sum / float64(k-2*cut)
}

// enough is how many measurements make a cell count in decisions.
const enough = 3

// Drift: the server as a whole has become slower or faster when calls differ from what their cells know by more than
// driftLimit (the logarithm of a ratio), averaged with driftGain.
const (
	driftGain  = 0.2
	driftLimit = 0.25
)

// table is what was measured of one route on one replica.
type table struct {
	cells [classes][steps]cell
	count uint64
	drift float64
	moved bool // the server has changed since this was last looked at
	cost  Cost
}

// record adds one call that succeeded.
func (t *table) record(l Load, took time.Duration) {
	if l.Rows < 1 || took <= 0 {
		return
	}
	t.count++
	rate := float64(l.Rows) / took.Seconds()
	c := &t.cells[classOf(l.Length)][stepOf(l.Rows)]
	if c.n >= enough {
		ratio := math.Log(rate / c.middle)
		t.drift += driftGain * (max(-1, min(1, ratio)) - t.drift)
		if math.Abs(t.drift) > driftLimit {
			t.shift(math.Exp(t.drift))
			t.drift, t.moved = 0, true
		}
	}
	c.add(l, rate, t.count)
	t.fit()
}

// shift scales what was measured before the server changed, so that old cells stay comparable with new ones.
func (t *table) shift(factor float64) {
	for class := range t.cells {
		for step := range t.cells[class] {
			c := &t.cells[class][step]
			if c.n == 0 || t.count-c.seen <= window {
				continue
			}
			for i := range min(c.n, window) {
				c.rate[i] *= factor
			}
			c.judge()
		}
	}
}

// forget is how many calls halve the weight of a cell in the fit.
const forget = 256

// fit finds the costs by least squares over the cells, of relative errors, each cell by its weight: freshness and
// number of measurements. What cannot be told apart counts as fixed cost, so that merging is tried.
func (t *table) fit() {
	var sum normal
	for class := range t.cells {
		for step := range t.cells[class] {
			c := &t.cells[class][step]
			if c.n == 0 || c.middle <= 0 {
				continue
			}
			took := c.rows / c.middle
			weight := float64(min(c.n, window)) * math.Exp2(-float64(t.count-c.seen)/forget) / (took * took)
			sum.add([3]float64{1, c.rows, c.rows * c.length}, took, weight)
		}
	}
	if c, ok := sum.solve(); ok {
		t.cost = c
	}
}

// normal is the normal equations of a fit with three unknowns.
type normal struct {
	a [3][3]float64
	b [3]float64
}

func (n *normal) add(x [3]float64, y, weight float64) {
	for i := range x {
		for j := range x {
			n.a[i][j] += weight * x[i] * x[j]
		}
		n.b[i] += weight * x[i] * y
	}
}

// solve finds costs that are not negative: an unknown that would be is left out.
func (n *normal) solve() (Cost, bool) {
	use := [3]bool{true, true, true}
	for range len(use) {
		x, ok := n.part(use)
		if !ok {
			return Cost{}, false
		}
		worst, least := -1, 0.0
		for i := range x {
			if v := x[i] * math.Sqrt(n.a[i][i]); v < least {
				worst, least = i, v
			}
		}
		if worst < 0 {
			return Cost{Fixed: x[0], Row: x[1], Byte: x[2]}, true
		}
		for i := range use {
			use[i] = use[i] && i != worst
		}
	}
	return Cost{}, false
}

// part solves for the unknowns in use, with a small penalty on the costs that are not fixed.
func (n *normal) part(use [3]bool) ([3]float64, bool) {
	const penalty = 1e-4
	a, x := n.a, n.b
	for i := range a {
		if i > 0 {
			a[i][i] *= 1 + penalty
		}
		if !use[i] {
			a[i], x[i] = [3]float64{}, 0
			for j := range a {
				a[j][i] = 0
			}
			a[i][i] = 1
		}
	}
	for i := range a {
		if a[i][i] <= 1e-300 {
			return x, false
		}
		for j := i + 1; j < len(a); j++ {
			f := a[j][i] / a[i][i]
			for k := i; k < len(a); k++ {
				a[j][k] -= f * a[i][k]
			}
			x[j] -= f * x[i]
		}
	}
	for i := len(a) - 1; i >= 0; i-- {
		for k := i + 1; k < len(a); k++ {
			x[i] -= a[i][k] * x[k]
		}
		x[i] /= a[i][i]
	}
	return x, true
}
