package calls

import (
	"testing"
	"time"

	"headrace/internal/inference"
)

// A worker claims a call early and may keep it waiting for a slot: that counts as the queue, too.
func TestWaitingInTheWorkerCountsAsTheQueue(t *testing.T) {
	t.Parallel()
	began := time.Now().Add(-time.Second)
	for name, claimed := range map[string]time.Time{"claimed at once": began.Add(time.Millisecond), "claimed late": began.Add(900 * time.Millisecond)} {
		c := &call{began: began, claimedAt: claimed}
		result, err := (&FrontEnd{}).receiveOutcome(t.Context(), c, outcome{result: &inference.Result{Upstream: 300 * time.Millisecond}})
		if err != nil {
			t.Fatal(err)
		}
		if least := max(700*time.Millisecond, claimed.Sub(began)); result.Queue < least || result.Queue > least+time.Minute {
			t.Errorf("%s: %s", name, result.Queue)
		}
	}
}
