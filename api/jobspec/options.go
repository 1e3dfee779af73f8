package jobspec

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"headrace/api/dialect"
	"headrace/api/problem"
	"headrace/internal/inference"
	"headrace/internal/job"
)

// Options are a job's options, complete. Its fields are part of the job's fingerprint, by name and in their order: a field that
// is renamed makes another job of each repeated request.
type Options struct {
	Priority  job.Priority
	RunAt     *time.Time
	Queue     time.Duration
	Attempt   time.Duration
	Total     time.Duration
	ResultTTL time.Duration
	Retry     job.Retry
	Store     job.Store
	Metadata  map[string]string
	Tags      []string

	// Deadline and Timeout are what was asked for; Total is made of them and of the time of asking.
	Deadline *time.Time
	Timeout  time.Duration

	Key string `json:"-"` // the idempotency key; "" = none
	// Awaited: a caller waits for the job, which makes it interactive unless it says otherwise. Whether one asks for a
	// job with or without waiting does not make it another one.
	Awaited bool `json:"-"`
}

// Ranked is the priority that the job gets.
func (o *Options) Ranked() job.Priority {
	if o.Priority != "" {
		return o.Priority
	}
	if o.Awaited {
		return job.Interactive
	}
	return job.Standard
}

// Options checks what was asked for and fills in the rest. route is the one to ask.
func (e *Envelope) Options(l Limits, route *inference.Route, now time.Time) (Options, error) {
	o, err := e.each(l, route)
	if err == nil {
		o.Total, err = e.total(l, now)
	}
	return o, err
}

// each is the options without Total; each of them is checked by itself.
func (e *Envelope) each(l Limits, route *inference.Route) (Options, error) {
	o := Options{
		Priority: job.Priority(e.Priority), Store: job.Store(cmp.Or(e.Store, string(job.StoreBoth))),
		RunAt: e.RunAt.at, Queue: e.Timeouts.Queue.d, Attempt: e.Timeouts.Attempt.d, ResultTTL: cmp.Or(e.ResultTTL.d, l.ResultTTL),
		Retry:    job.Retry{MaxAttempts: l.MaxAttempts, MaxElapsed: e.Retry.MaxElapsed.d},
		Metadata: e.Metadata, Tags: e.Tags, Deadline: e.Deadline.at, Timeout: e.Timeouts.Total.d, Key: e.Key,
	}
	if e.Retry.MaxAttempts != nil {
		o.Retry.MaxAttempts = *e.Retry.MaxAttempts
	}
	if err := e.readable(); err != nil {
		return o, err
	}
	stores := []job.Store{job.StoreBoth, job.StoreInputs, job.StoreOutputs, job.StoreNone}
	switch {
	case o.Priority != "" && !slices.Contains(job.Priorities(), o.Priority):
		return o, problem.Option("priority", "is %.40q; it must be interactive, standard or batch", e.Priority)
	case !slices.Contains(stores, o.Store):
		return o, problem.Option("store", "is %.40q; it must be both, inputs, outputs or none", e.Store)
	case o.ResultTTL < minTTL || o.ResultTTL > l.MaxTTL:
		return o, problem.Option("result_ttl", "must be between %s and %s", minTTL, l.MaxTTL)
	case o.Retry.MaxAttempts < 1 || o.Retry.MaxAttempts > l.MaxAttempts:
		return o, problem.Option("retry.max_attempts", "must be between 1 and %d", l.MaxAttempts)
	case route.Timeout > 0 && o.Attempt > route.Timeout:
		return o, problem.Option("timeouts.attempt", "is over the limit of %s of route %q", route.Timeout, route.Name)
	}
	return o, o.label()
}

// readable names the first field whose text is no duration or no time.
func (e *Envelope) readable() error {
	for _, field := range []struct{ name, wrong string }{
		{"run_at", e.RunAt.wrong},
		{"deadline", e.Deadline.wrong},
		{"timeouts.queue", e.Timeouts.Queue.wrong},
		{"timeouts.attempt", e.Timeouts.Attempt.wrong},
		{"timeouts.total", e.Timeouts.Total.wrong},
		{"retry.max_elapsed", e.Retry.MaxElapsed.wrong},
		{"result_ttl", e.ResultTTL.wrong},
	} {
		if field.wrong != "" {
			return problem.Option(field.name, "%s", field.wrong)
		}
	}
	return nil
}

// total is the time from now to the job's deadline. One that is given as a duration begins at the earliest start.
func (e *Envelope) total(l Limits, now time.Time) (time.Duration, error) {
	start := now
	if e.RunAt.at != nil && e.RunAt.at.After(now) {
		start = *e.RunAt.at
	}
	if start.Sub(now) > Furthest {
		return 0, problem.Option("run_at", "is more than a year away")
	}
	total := start.Sub(now) + cmp.Or(e.Timeouts.Total.d, l.Deadline)
	if e.Deadline.at != nil && e.Timeouts.Total.d > 0 {
		return 0, problem.Option("deadline", "and timeouts.total say the same; give one of them")
	}
	if e.Deadline.at != nil {
		if total = e.Deadline.at.Sub(now); !e.Deadline.at.After(start) {
			return 0, problem.Option("deadline", "is not after the earliest start")
		}
	}
	if total-start.Sub(now) > l.MaxDeadline {
		field := "timeouts.total"
		if e.Deadline.at != nil {
			field = "deadline"
		}
		return 0, problem.Option(field, "is over the limit of %s from the earliest start", l.MaxDeadline)
	}
	return total, nil
}

// label checks metadata and tags.
func (o *Options) label() error {
	if len(o.Metadata) > MaxMetadata {
		return problem.Option("metadata", "has %d entries; %d are allowed", len(o.Metadata), MaxMetadata)
	}
	if len(o.Tags) > MaxTags {
		return problem.Option("tags", "has %d entries; %d are allowed", len(o.Tags), MaxTags)
	}
	for key, value := range o.Metadata {
		if len(key) > MaxTag || len(value) > 4*MaxTag {
			return problem.Option("metadata", "has a key over %d or a value over %d bytes", MaxTag, 4*MaxTag)
		}
	}
	for _, tag := range o.Tags {
		if tag == "" || len(tag) > MaxTag {
			return problem.Option("tags", "must have 1 to %d bytes each", MaxTag)
		}
	}
	return nil
}

// Fingerprint tells one request for a job from another: route, form, body and options as they were asked for. When it was
// asked does not count.
func Fingerprint(rec *job.Record, o Options, body []byte) (string, error) {
	var f dialect.Form
	if err := json.Unmarshal(rec.Form, &f); err != nil {
		return "", fmt.Errorf("reading a form: %w", err)
	}
	f.Created = time.Time{}
	o.Total = 0
	text, err := json.Marshal([]any{rec.Route, f, o})
	if err != nil {
		return "", fmt.Errorf("writing a fingerprint: %w", err)
	}
	hash := sha256.New()
	hash.Write(text)
	hash.Write(body)
	return hex.EncodeToString(hash.Sum(nil)[:16]), nil
}
