package cli

import (
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// jobOptions are the options of jobs that a command line gives. They count for every job that it places.
type jobOptions struct {
	priority    string
	tags        []string
	metadata    []string
	runAt       string
	deadline    string
	ttl         string
	maxAttempts int
}

func jobOptionFlags(cmd *cobra.Command) *jobOptions {
	o, set := new(jobOptions), cmd.Flags()
	set.StringVar(&o.priority, "priority", "", "interactive, standard or batch (default: standard)")
	set.StringArrayVar(&o.tags, "tag", nil, "a `TAG` to find the job by; may be repeated")
	set.StringArrayVar(&o.metadata, "metadata", nil, "a `KEY=VALUE` of your own; may be repeated")
	set.StringVar(&o.runAt, "run-at", "", "do not start before this `TIME`, as 2026-01-31T12:00:00Z, or in 2h")
	set.StringVar(&o.deadline, "deadline", "", "the end of everything, retries included: a `TIME`, or a duration such as 2h")
	set.StringVar(&o.ttl, "ttl", "", "how long input and result are kept after the end: a `DURATION` such as 48h")
	set.IntVar(&o.maxAttempts, "max-attempts", 0, "how often the model server may be asked")
	choices(cmd, "priority", "interactive", "standard", "batch")
	return o
}

// members are the options as a job has them. Relative times count from at; a file takes none for --run-at, because the
// same command would ask for another time when it is repeated.
func (o *jobOptions) members(at time.Time, file bool) (map[string]any, error) {
	m := make(map[string]any)
	if o.priority != "" {
		m["priority"] = o.priority
	}
	if len(o.tags) > 0 {
		m["tags"] = o.tags
	}
	if len(o.metadata) > 0 {
		pairs, err := pairsOf(o.metadata)
		if err != nil {
			return nil, err
		}
		m["metadata"] = pairs
	}
	if o.maxAttempts != 0 {
		m["retry"] = map[string]any{"max_attempts": o.maxAttempts}
	}
	if o.ttl != "" {
		if d, err := time.ParseDuration(o.ttl); err != nil || d <= 0 {
			return nil, usagef("--ttl %q: write a duration such as 48h", o.ttl)
		}
		m["result_ttl"] = o.ttl
	}
	return m, o.times(m, at, file)
}

func pairsOf(metadata []string) (map[string]string, error) {
	pairs := make(map[string]string)
	for _, pair := range metadata {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, usagef("--metadata %q: write KEY=VALUE", pair)
		}
		pairs[key] = value
	}
	return pairs, nil
}

// times adds when a job may start and when it must have ended.
func (o *jobOptions) times(m map[string]any, at time.Time, file bool) error {
	if o.runAt != "" {
		when, after, err := timeOrDuration(o.runAt)
		switch {
		case err != nil:
			return usagef("--run-at %q: %w", o.runAt, err)
		case after > 0 && file:
			return usagef("--run-at %s: with --file it takes a time, such as %s, so that the same command again places nothing twice",
				o.runAt, at.Add(after).UTC().Format(time.RFC3339))
		case after > 0:
			when = at.Add(after).UTC().Format(time.RFC3339Nano)
		}
		m["run_at"] = when
	}
	if o.deadline != "" {
		when, after, err := timeOrDuration(o.deadline)
		if err != nil {
			return usagef("--deadline %q: %w", o.deadline, err)
		}
		if after > 0 {
			m["timeouts"] = map[string]any{"total": after.String()}
		} else {
			m["deadline"] = when
		}
	}
	return nil
}

// timeOrDuration reads either.
func timeOrDuration(text string) (when string, after time.Duration, err error) {
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return "", d, nil
	}
	if _, err := time.Parse(time.RFC3339, text); err != nil {
		return "", 0, errors.New("write a time such as 2026-01-31T12:00:00Z, or a duration such as 2h")
	}
	return text, 0, nil
}
