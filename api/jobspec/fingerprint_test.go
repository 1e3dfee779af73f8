package jobspec_test

import (
	"fmt"
	"testing"
	"time"

	"headrace/api/jobspec"
	"headrace/internal/inference"
	"headrace/internal/job"
)

// The same request is the same job, whenever it is repeated; another deadline is another request.
func TestTheSameRequestIsTheSameJob(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	seen := make(map[string]string)
	for _, options := range []string{
		``, `,"timeouts":{"total":"1h"}`, `,"timeouts":{"total":3601}`, `,"deadline":"2026-01-31T14:00:00Z"`, `,"deadline":"2026-01-31T14:00:01Z"`,
		`,"run_at":"2026-01-31T12:00:40Z"`, `,"run_at":"2026-01-31T12:00:40Z","timeouts":{"total":"1h"}`, `,"run_at":"2026-01-31T12:20:00Z"`,
		`,"priority":"batch"`,
	} {
		body := fmt.Sprintf(`{"route":"a","input":{"input":"x"}%s}`, options)
		first, err := fingerprintOf(body, now)
		if err != nil {
			t.Fatal(err)
		}
		if other, twice := seen[first]; twice {
			t.Errorf("%s and %s are the same job", options, other)
		}
		seen[first] = options
		for _, later := range []time.Duration{time.Second, 15 * time.Second, time.Minute, 30 * time.Minute} {
			if again, err := fingerprintOf(body, now.Add(later)); err != nil || again != first {
				t.Errorf("%s is another job after %s (%v)", options, later, err)
			}
		}
	}
}

// fingerprintOf is that of a job whose envelope was read at now.
func fingerprintOf(envelope string, now time.Time) (string, error) {
	e, err := jobspec.ReadEnvelope([]byte(envelope))
	if err != nil {
		return "", err
	}
	o, err := e.Options(jobspec.Limits{}.WithDefaults(), &inference.Route{Name: e.Route}, now)
	if err != nil {
		return "", err
	}
	return jobspec.Fingerprint(&job.Record{Route: e.Route, Form: []byte("{}")}, o, e.Input)
}

// Fingerprints are stored: another version must find the same one for the same request.
func TestFingerprintsStayAsTheyWereStored(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for envelope, want := range map[string]string{
		`{"route":"a","input":{"input":"x"}}`: "46399348fb263ad2b78a3324d0b85b0f",
		`{"route":"a","input":{"input":"x"},"priority":"batch","run_at":"2026-02-01T00:00:00Z","timeouts":{"queue":60,"attempt":"1m","total":"1h"},` +
			`"retry":{"max_attempts":2,"max_elapsed":5},"result_ttl":"2h","store":"outputs","metadata":{"k":"v"},"tags":["t"],"idempotency_key":"k"}`: "c02f3993f44de2275e926b9d3b937333",
	} {
		if got, err := fingerprintOf(envelope, now); got != want {
			t.Errorf("%s: %s, want %s (%v)", envelope, got, want, err)
		}
	}
}
