package worker_test

import (
	"testing"
	"testing/synctest"
	"time"

	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/worker"
)

// What a probe keeps of requests and answers that have ended counts, and where there is no room for it nothing is proven:
// callers are answered all the same.
func TestWhatAProbeKeepsIsBounded(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		room   int64
		shared bool
	}{
		"room":                {1 << 20, true},
		"none for the call":   {4, false},
		"none for the second": {60, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var s *shop
				kept := int64(0)
				model := &texts{fixed: 12 * time.Millisecond, row: time.Millisecond}
				model.reply = func(inputs []string) (provider.Reply, error) {
					if len(inputs) > 1 {
						kept = max(kept, worker.Parts(s.worker))
					}
					return predict(inputs)
				}
				s = openWith(t, model, limits(inference.BatchAuto), 1, worker.Deps{MaxParts: tt.room})
				held := s.hold()
				one, two := s.ask(t.Context(), "ones"), s.ask(t.Context(), "twos")
				s.check(held, "hold")
				s.check(one, "ones")
				s.check(two, "twos")
				s.stop()
				shared := false
				for _, c := range model.calls {
					shared = shared || len(c) > 1
				}
				// Two calls of 6 bytes, and two answers of 25.
				if want := map[bool]int64{true: 62}[tt.shared]; shared != tt.shared || kept != want {
					t.Errorf("shared %v, %d bytes were kept, want %v, %d", shared, kept, tt.shared, want)
				}
			})
		})
	}
}
