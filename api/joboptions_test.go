package api_test

import (
	"fmt"
	"testing"
	"time"

	"headrace/api"
)

// The same request is the same job, whenever it is repeated; another deadline is another request.
func TestFingerprint(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	seen := make(map[string]string)
	for _, options := range []string{
		``, `,"timeouts":{"total":"1h"}`, `,"timeouts":{"total":3601}`, `,"deadline":"2026-01-31T14:00:00Z"`, `,"deadline":"2026-01-31T14:00:01Z"`,
		`,"run_at":"2026-01-31T12:00:40Z"`, `,"run_at":"2026-01-31T12:00:40Z","timeouts":{"total":"1h"}`, `,"run_at":"2026-01-31T12:20:00Z"`,
		`,"priority":"batch"`,
	} {
		body := fmt.Sprintf(`{"route":"a","input":{"input":"x"}%s}`, options)
		first, err := api.Fingerprint(body, now)
		if err != nil {
			t.Fatal(err)
		}
		if other, twice := seen[first]; twice {
			t.Errorf("%s and %s are the same job", options, other)
		}
		seen[first] = options
		for _, later := range []time.Duration{time.Second, 15 * time.Second, time.Minute, 30 * time.Minute} {
			if again, err := api.Fingerprint(body, now.Add(later)); err != nil || again != first {
				t.Errorf("%s is another job after %s (%v)", options, later, err)
			}
		}
	}
}
