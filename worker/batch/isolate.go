package batch

import (
	"net/http"
	"time"
)

// Failure is what became of a call that was not answered well.
type Failure uint8

// The failures.
const (
	Status   Failure = iota // the model server answered with a status of 400 or more
	BadShape                // its answer could not be divided: wrong counts, no list, not JSON
	Refused                 // the connection was not made, or broke before the call was sent
	Broken                  // the connection broke afterwards; the call may have run
	TimedOut                // no answer in time; the call probably runs on
)

// Step is what to do next with the members of a failed call.
type Step uint8

// The steps. A member is never told the outcome of a call that it shared, except by Fail with an error that names
// no row.
const (
	Tell  Step = iota // the member was alone: it gets the error as it is
	Halve             // ask again in halves, single ones at the end; Isolation says how
	Again             // ask again all together, once, on another replica
	Fail              // every member gets the error in our own words: alone it would have met the same
)

// Verdict is the judgement of a failed call.
type Verdict struct {
	Step Step
	// Shrink: the call was too large for the model server; tell Learner.Shrink.
	Shrink bool
	// Replica: the failure is the replica's, not a member's; it counts for its breaker.
	Replica bool
	// Hold: the model server probably computes on, so the slot stays taken for a while.
	Hold bool
}

// Ended is a call that was not answered well.
type Ended struct {
	Failure Failure
	Status  int // what the server answered; for Status only
	Members int // items that shared the call
	// Elsewhere says that another replica could be asked, and the call was not asked again before.
	Elsewhere bool
}

// Judge says what to do about a failed call.
//
//	what happened                    one member   several
//	4xx but 408 and 429, and 500     Tell         Halve: MLflow answers 400 to all when one row is bad
//	a reply that cannot be divided   Tell         Halve
//	broken connection, 502, 413      Tell         Halve, Shrink: a row may have killed the server
//	no answer in time, 408, 504      Tell         Halve, Shrink, Hold: members without time get the deadline's error
//	no connection, 503               Again, else Tell or Fail
//	429                              Tell         Fail, with its Retry-After
func Judge(e Ended) Verdict {
	v := verdict(e.Failure, e.Status)
	if v.Step == Again && !e.Elsewhere {
		v.Step = Fail
	}
	if e.Members <= 1 {
		v.Shrink = false
		if v.Step != Again {
			v.Step = Tell
		}
	}
	return v
}

func verdict(failure Failure, status int) Verdict {
	switch failure {
	case BadShape:
		return Verdict{Step: Halve}
	case Refused:
		return Verdict{Step: Again, Replica: true}
	case Broken:
		return Verdict{Step: Halve, Shrink: true, Replica: true}
	case TimedOut:
		return Verdict{Step: Halve, Shrink: true, Replica: true, Hold: true}
	case Status:
	}
	switch status {
	case http.StatusTooManyRequests:
		return Verdict{Step: Fail}
	case http.StatusServiceUnavailable:
		return Verdict{Step: Again, Replica: true}
	case http.StatusBadGateway:
		return Verdict{Step: Halve, Shrink: true, Replica: true}
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return Verdict{Step: Halve, Shrink: true, Replica: true, Hold: true}
	case http.StatusRequestEntityTooLarge:
		return Verdict{Step: Halve, Shrink: true}
	}
	return Verdict{Step: Halve}
}

// aloneAt is the number of members up to which a failed group is asked one by one.
const aloneAt = 4

// Isolation asks the members of a failed call again: groups are halved until they succeed, small ones taken apart.
// Only the answer to a single member speaks for it, so a good one is never blamed. Of n members with one bad one
// about 2*log2(n) calls are made.
type Isolation struct{ todo [][]int }

// Isolate begins with the members of the failed call, by their index.
func Isolate(members []int) *Isolation {
	i := &Isolation{}
	i.Failed(members)
	return i
}

// Next is the next group to ask; nil: all members have been answered.
func (i *Isolation) Next() []int {
	if len(i.todo) == 0 {
		return nil
	}
	group := i.todo[0]
	i.todo = i.todo[1:]
	return group
}

// Failed takes a group of several that failed as well, by Halve. A single one is answered with its own error.
func (i *Isolation) Failed(group []int) {
	if len(group) < 2 {
		return
	}
	var next [][]int
	if len(group) <= aloneAt {
		for k := range group {
			next = append(next, group[k:k+1:k+1])
		}
	} else {
		half := len(group) / 2
		next = [][]int{group[:half:half], group[half:]}
	}
	i.todo = append(next, i.todo...)
}

// Isolation may take half of a replica's time over ten seconds.
const (
	isolationOver  = 10 * time.Second
	isolationShare = 0.5
)

// Spent watches how much of a replica's time isolation takes. The zero Spent is ready.
type Spent struct {
	took  float64 // seconds, fading
	calls int     // of isolation, since the size was halved last
	at    time.Time
}

// Add counts a call of isolation that ended now, on a replica with so many slots, and says whether the budget is
// spent: then tell Learner.Shrink. Isolation that runs goes on, since its members must be answered; smaller calls
// need less of it. After a yes the count starts again.
func (s *Spent) Add(took time.Duration, slots int, now time.Time) bool {
	if !s.at.IsZero() {
		gone := now.Sub(s.at).Seconds() / isolationOver.Seconds()
		s.took *= max(0, 1-gone)
	}
	s.at = now
	s.calls++
	s.took += took.Seconds()
	if s.calls < 3 || s.took < isolationShare*isolationOver.Seconds()*float64(max(slots, 1)) {
		return false
	}
	s.took, s.calls = 0, 0
	return true
}
