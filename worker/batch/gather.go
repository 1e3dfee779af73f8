package batch

import "time"

// The constants of gathering.
const (
	paidGain    = 0.1
	paidLeast   = 0.3  // share of gatherings that must have paid
	paidRetry   = 0.03 // share that is tried all the same
	returnGain  = 0.2
	returnLeast = 0.3 // share of answered rows that are followed by others at once, for them to be waited for
	returnSlack = 1.5 // how much later than usual they may come
	gatherLeast = 50 * time.Microsecond
)

// Gather decides whether a free slot waits a moment for company. Waiting g for m more rows pays when they come faster
// than the batch's n rows in one fixed cost a: m/g > n/a. Closed-loop clients come back right after an answer; a slot
// that takes only what waits already leaves them to the next call, and two groups take turns for ever. So Gather learns
// how many rows follow an answer, and how soon. It never waits after idleness, and only where waiting has paid before.
// It is not safe for concurrent use.
type Gather struct {
	most time.Duration
	paid float64 // share of gatherings that paid, of late

	freed   time.Time
	rows    int           // answered at freed
	back    int           // rows that came since, within most
	last    time.Duration // when the last of them came, after freed
	returns float64       // back/rows, of late
	lag     float64       // seconds; last, of late
}

// NewGather makes a Gather that waits at most so long in all; 0 never.
func NewGather(most time.Duration) *Gather { return &Gather{most: most, paid: 0.5} }

// Freed is told of each slot that becomes free, with the rows of its call.
func (g *Gather) Freed(rows int, now time.Time) {
	if g.rows > 0 {
		g.returns += returnGain * (min(1, float64(g.back)/float64(g.rows)) - g.returns)
		if g.back > 0 {
			g.lag += returnGain * (g.last.Seconds() - g.lag)
		}
	}
	g.freed, g.rows, g.back, g.last = now, rows, 0, 0
}

// Arrived is told of each arrival.
func (g *Gather) Arrived(rows int, now time.Time) {
	if since := now.Sub(g.freed); since <= g.most {
		g.back += rows
		g.last = since
	}
}

// Moment is what a decision to gather looks at.
type Moment struct {
	Load  Load
	Limit int // Batch.Limit
	// Began is when the batch could have gone out, zero when it is only now formed; First when its head arrived.
	Began, First time.Time
	// Slack is how long the tightest deadline can wait; 0: there is none.
	Slack time.Duration
}

// Wait is how long to wait for the next arrival from now on; 0: send. It is asked again after each arrival, with the
// new batch. chance is a random number from 0 to 1 that tries gathering now and then where it has not paid.
func (g *Gather) Wait(m Moment, cost Cost, now time.Time, chance float64) time.Duration {
	fixed := seconds(cost.Fixed)
	total := min(g.most, fixed/4)
	waited := time.Duration(0)
	if !m.Began.IsZero() {
		waited = now.Sub(m.Began)
	}
	switch {
	case total < gatherLeast, waited >= total, m.Load.Rows >= m.Limit:
		return 0
	case m.First.Sub(g.freed) > total: // idle before
		return 0
	case m.Slack != 0 && m.Slack < 2*total:
		return 0
	case waited == 0 && g.paid < paidLeast && chance > paidRetry:
		return 0
	}
	n := float64(m.Load.Rows)
	if more := g.returns*float64(g.rows) - float64(g.back); more >= 1 && g.returns >= returnLeast {
		left := seconds(returnSlack*g.lag) - now.Sub(g.freed)
		if left > 0 && more*cost.Fixed > n*left.Seconds() {
			return min(max(left, fixed/time.Duration(m.Load.Rows)), total-waited)
		}
	}
	if n*cost.marginal(m.Load.Length) > cost.Fixed { // rows cost more than calls
		return 0
	}
	return min(fixed/time.Duration(m.Load.Rows), total-waited)
}

// Report tells how a gathering ended that waited at all: with how many rows it began and went out.
func (g *Gather) Report(began, sent int, waited time.Duration, cost Cost) {
	paid := 0.0
	if more := float64(sent - began); more*cost.Fixed > float64(began)*waited.Seconds() {
		paid = 1
	}
	g.paid += paidGain * (paid - g.paid)
}
