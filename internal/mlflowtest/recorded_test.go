package mlflowtest_test

import (
	"testing"

	"headrace/internal/mlflowtest"
)

func TestExchangesAreComplete(t *testing.T) {
	t.Parallel()
	want := map[mlflowtest.Era]int{mlflowtest.EraA: 604, mlflowtest.EraB: 742, mlflowtest.EraC: 761}
	for _, era := range mlflowtest.Eras() {
		seen := make(map[string]bool)
		asked := 0
		for _, e := range mlflowtest.Exchanges(t, era) {
			if e.ID == "" || seen[e.ID] || e.Request.Method == "" || e.Reply.Status == 0 {
				t.Errorf("era %s: exchange %q is incomplete or there twice", era, e.ID)
			}
			seen[e.ID] = true
			if e.Upstream != nil {
				asked++
				if e.Upstream.Status == 0 && e.Upstream.Fault == "" {
					t.Errorf("era %s: %s has neither an answer nor a fault", era, e.ID)
				}
				_ = e.Upstream.Body(t)
			}
			_ = e.Request.Body(t)
		}
		if len(seen) != want[era] || asked < 300 {
			t.Errorf("era %s: %d exchanges, want %d; %d of them reached the model server", era, len(seen), want[era], asked)
		}
	}
}
