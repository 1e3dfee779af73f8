package calls

import (
	"errors"
	"testing"
	"time"

	"headrace/internal/inference"
)

// TestCallMoves takes a call into each of its states and tries every move there.
func TestCallMoves(t *testing.T) {
	t.Parallel()
	claim := func(c *call) { c.claim("a", time.Now()) }
	end := func(c *call) { c.end(outcome{result: &inference.Result{}}) }
	lose := func(c *call) { c.end(outcome{err: errors.New("its worker is gone")}) }
	leave := func(c *call) { c.state = callWithdrawn }
	for _, tt := range []struct {
		name        string
		before      []func(*call)
		state       callState
		mine, other bool      // a claim by a, and by b, is granted
		ended       callState // the state after an end
		counts      bool      // that end is the one the caller hears of
	}{
		{"waiting", nil, callWaiting, true, true, callEnded, true},
		{"claimed", []func(*call){claim}, callClaimed, true, false, callEnded, true},
		{"answered", []func(*call){claim, end}, callEnded, false, false, callEnded, false},
		{"its worker was lost", []func(*call){claim, lose}, callEnded, false, false, callEnded, false},
		{"ended before any claim", []func(*call){lose}, callEnded, false, false, callEnded, false},
		{"the caller has left while it waited", []func(*call){leave}, callWithdrawn, false, false, callWithdrawn, false},
		{"the caller has left while it ran", []func(*call){claim, leave}, callWithdrawn, false, false, callWithdrawn, false},
		{"the caller has its answer", []func(*call){claim, end, leave}, callWithdrawn, false, false, callWithdrawn, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			reach := func() *call {
				c := &call{deadline: time.Now().Add(time.Minute), outcome: make(chan outcome, 1)}
				for _, move := range tt.before {
					move(c)
				}
				return c
			}
			if got := reach().state; got != tt.state {
				t.Errorf("state %d, want %d", got, tt.state)
			}
			if _, got := reach().claim("a", time.Now()); got != tt.mine {
				t.Errorf("a claim by the same worker: granted %v, want %v", got, tt.mine)
			}
			if _, got := reach().claim("b", time.Now()); got != tt.other {
				t.Errorf("a claim by another worker: granted %v, want %v", got, tt.other)
			}
			c := reach()
			told(c)
			late, released := &inference.Result{}, 0
			late.OnRelease(func() { released++ })
			c.end(outcome{result: late})
			if got := c.state; got != tt.ended {
				t.Errorf("after an end: state %d, want %d", got, tt.ended)
			}
			o := told(c)
			if counts := o != nil && o.result == late; counts != tt.counts || released > 0 == tt.counts {
				t.Errorf("the end counts: %v, released %d times; want %v and the bytes given back once if not", counts, released, tt.counts)
			}
		})
	}
}

// told is the outcome that waits for the caller; nil when there is none.
func told(c *call) *outcome {
	select {
	case o := <-c.outcome:
		return &o
	default:
		return nil
	}
}
