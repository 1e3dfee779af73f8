package probe

import (
	"strings"
	"testing"

	"headrace/internal/inference"
)

// What times of calls say of sharing them.
func TestVerdictOnSizes(t *testing.T) {
	t.Parallel()
	sizes := func(gains ...float64) []Size {
		var all []Size
		for i, gain := range gains {
			all = append(all, Size{Items: 1 << i, Gain: gain})
		}
		return all
	}
	for name, c := range map[string]struct {
		mode  inference.BatchMode
		sizes []Size
		says  string
	}{
		"it pays":                 {inference.BatchAuto, sizes(1, 1.8, 3.1, 5.2, 5.1), "sharing calls gives up to 5.2 times the answers when 8 wait at once"},
		"it pays and is off":      {inference.BatchOff, sizes(1, 1.8), `up to 1.8 times the answers; write [routes.batch] mode = "auto"`},
		"it does not pay":         {inference.BatchAuto, sizes(1, 1.05, 0.9), "does not pay here"},
		"it costs":                {inference.BatchAuto, sizes(1, 0.6, 0.4), "does not pay here"},
		"one row takes very long": {inference.BatchAuto, sizes(1), "does not pay here"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := verdict(&inference.Route{Batch: inference.Batch{Mode: c.mode}}, c.sizes); !strings.Contains(got, c.says) {
				t.Errorf("got %q, want %q", got, c.says)
			}
		})
	}
}
