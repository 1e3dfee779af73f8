package upstream

import (
	"cmp"
	"net/http"
	"slices"
	"time"
)

// The constants of putting replicas aside. A mark never refuses a call: where all are aside, or there is only one, they
// are called all the same.
const (
	healthWindow = 10 * time.Second
	breakCalls   = 10 // in a window, of which at least half must have failed
	breakFirst   = 5 * time.Second
	breakLongest = time.Minute
	slowTimes    = 3                     // as long as the middle of all replicas
	slowLeast    = 20 * time.Millisecond // and at least so much longer: less is chance
	slowCalls    = 8                     // calls that must have been measured
	slowPause    = 10 * time.Second
	tookGain     = 0.1
)

// health is what the calls to one replica say of it. Only what is the replica's own fault counts: a connection that
// breaks, no answer in a time in which it usually gives one, 502, 503 and 504. MLflow answers 400 and 500 to what its
// model cannot take, which is the caller's fault.
type health struct {
	began         time.Time // of the window
	calls, failed int       // in it
	broke         int       // windows in a row that ended with the replica put aside
	took          float64   // seconds of good calls, of late
	measured      int       // good calls in took
	aside         time.Time // until when; zero: it is not
}

// isAside says whether others are to be called first.
func (h *health) isAside(now time.Time) bool { return now.Before(h.aside) }

// good adds a call that was answered.
func (h *health) good(took time.Duration, now time.Time) {
	h.turn(now)
	h.calls++
	h.measured++
	h.took += max(tookGain, 1/float64(h.measured)) * (took.Seconds() - h.took)
}

// bad adds a call that failed by the replica's fault, and puts it aside when half of them do.
func (h *health) bad(now time.Time) {
	h.turn(now)
	h.calls++
	h.failed++
	if h.calls < breakCalls || 2*h.failed < h.calls || h.isAside(now) {
		return
	}
	h.aside = now.Add(min(breakFirst<<min(h.broke, 10), breakLongest))
	h.broke++
	h.calls, h.failed, h.began = 0, 0, now
}

// turn begins a new window when the old one is over.
func (h *health) turn(now time.Time) {
	if now.Sub(h.began) < healthWindow {
		return
	}
	if h.calls >= breakCalls && 2*h.failed < h.calls {
		h.broke = 0
	}
	h.calls, h.failed, h.began = 0, 0, now
}

// unanswered says whether a call that was given up after took was the replica's fault, and not that of a caller with little
// time: it usually answers much sooner.
func (h *health) unanswered(took time.Duration) bool {
	return h.measured == 0 || took.Seconds() > slowTimes*h.took
}

// putSlowAside puts a replica aside that takes several times as long as the middle of all, unless half of them are aside
// already. Calls are spread over replicas as they come, so on average they are of one size.
func putSlowAside(r *health, all []*health, now time.Time) {
	if r.measured < slowCalls || r.isAside(now) {
		return
	}
	var times []float64
	aside := 0
	for _, h := range all {
		if h.isAside(now) {
			aside++
		}
		if h.measured >= slowCalls {
			times = append(times, h.took)
		}
	}
	slices.SortFunc(times, cmp.Compare)
	if len(times) < 2 || 2*(aside+1) > len(all) {
		return
	}
	if middle := times[(len(times)-1)/2]; r.took <= slowTimes*middle || r.took-middle <= slowLeast.Seconds() {
		return
	}
	r.aside = now.Add(slowPause)
	r.measured, r.took = 0, 0 // it is measured again afterwards
}

// own says that a status is the replica's fault.
func own(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}
