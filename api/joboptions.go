package api

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"headrace/internal/fault"
	"headrace/internal/job"
)

const (
	headerPrefer = "Prefer"
	headerKey    = "Idempotency-Key"
	// headerReplayed says that the job was there already.
	headerReplayed = "Idempotency-Replayed"

	maxKey      = 255 // characters of an idempotency key
	maxMetadata = 16  // pairs
	maxTags     = 16
	maxTag      = 128 // characters of a tag, a metadata key or value
	minTTL      = time.Second
	furthest    = 365 * 24 * time.Hour // start of a job
)

// preference is what a caller prefers, by RFC 7240: a job at once, or a job and its result if it comes in time.
type preference struct {
	async bool          // respond-async
	wait  time.Duration // as granted; 0 = not at all
	asked bool          // wait was asked for
}

// durable reports whether the caller wants a job.
func (p preference) durable() bool { return p.async || p.asked }

func (p preference) applied() string {
	var all []string
	if p.async {
		all = append(all, "respond-async")
	}
	if p.asked {
		all = append(all, "wait="+strconv.Itoa(int(p.wait/time.Second)))
	}
	return strings.Join(all, ", ")
}

// preference reads Prefer. Preferences that are not ours are ignored, as the RFC wants.
func (s *Server) preference(r *http.Request) (preference, error) {
	var p preference
	for _, line := range r.Header.Values(headerPrefer) {
		for part := range strings.SplitSeq(line, ",") {
			part, _, _ = strings.Cut(part, ";")
			name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "respond-async":
				p.async = true
			case "wait":
				n, err := strconv.Atoi(strings.Trim(strings.TrimSpace(value), `"`))
				if err != nil || n < 0 {
					return p, fault.New(fault.Invalid, "Prefer: wait takes a whole number of seconds, as in wait=10")
				}
				p.asked, p.wait = true, min(time.Duration(min(n, 1<<30))*time.Second, s.cfg.Jobs.MaxWait)
			}
		}
	}
	return p, nil
}

// jobOptions are a job's options, complete.
type jobOptions struct {
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

	key string
}

// span is a duration: a number of seconds, or a string such as "90s" or "1h30m".
type span time.Duration

// UnmarshalJSON reads both forms.
func (s *span) UnmarshalJSON(text []byte) error {
	var seconds float64
	if err := json.Unmarshal(text, &seconds); err == nil {
		if seconds < 0 || seconds > 1e9 {
			return fmt.Errorf("%s seconds are out of range", text)
		}
		*s = span(seconds * float64(time.Second))
		return nil
	}
	var words string
	if err := json.Unmarshal(text, &words); err != nil {
		return errors.New("a duration is a number of seconds or a string such as \"90s\"")
	}
	return s.parse(words)
}

func (s *span) parse(words string) error {
	d, err := time.ParseDuration(words)
	if err != nil {
		seconds, numErr := strconv.ParseFloat(words, 64)
		if numErr != nil || seconds > 1e9 {
			return fmt.Errorf("%q is no duration; write seconds, or \"90s\", \"1h30m\"", words)
		}
		d = time.Duration(seconds * float64(time.Second))
	}
	if d < 0 {
		return fmt.Errorf("%q is negative", words)
	}
	*s = span(d)
	return nil
}

// envelope is the body of POST /v1/jobs.
type envelope struct {
	Route    string          `json:"route"`
	Input    json.RawMessage `json:"input"`
	ID       string          `json:"id"` // in a batch
	Key      string          `json:"idempotency_key"`
	Priority string          `json:"priority"`
	RunAt    *time.Time      `json:"run_at"`
	Timeouts struct {
		Queue   span `json:"queue"`
		Attempt span `json:"attempt"`
		Total   span `json:"total"`
	} `json:"timeouts"`
	Deadline *time.Time `json:"deadline"`
	Retry    struct {
		MaxAttempts int  `json:"max_attempts"`
		MaxElapsed  span `json:"max_elapsed"`
	} `json:"retry"`
	ResultTTL span              `json:"result_ttl"`
	Store     string            `json:"store"`
	Metadata  map[string]string `json:"metadata"`
	Tags      []string          `json:"tags"`
}

func readEnvelope(body []byte) (*envelope, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, fault.New(fault.Invalid, `the body is missing; write {"route": "...", "input": {...}}`)
	}
	e := new(envelope)
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(e)
	if err == nil {
		if _, more := decoder.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the object")
		}
	}
	if err != nil {
		f := fault.New(fault.Invalid, "the body is not a job: %s", strings.TrimPrefix(err.Error(), "json: "))
		if typed, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			f.Param = typed.Field
		}
		return nil, f
	}
	return e, nil
}

// headerOptions reads the options of a job whose body is the route's own.
func headerOptions(h http.Header) (*envelope, error) {
	e := &envelope{Priority: h.Get("Job-Priority"), Store: h.Get("Job-Store")}
	for name, into := range map[string]**time.Time{"Job-Run-At": &e.RunAt, "Job-Deadline": &e.Deadline} {
		if text := h.Get(name); text != "" {
			t, err := time.Parse(time.RFC3339, text)
			if err != nil {
				return nil, badHeader(name, `a time such as "2026-01-31T12:00:00Z"`)
			}
			*into = &t
		}
	}
	for name, into := range map[string]*span{
		"Job-Queue-Timeout": &e.Timeouts.Queue, "Job-Attempt-Timeout": &e.Timeouts.Attempt,
		"Job-Total-Timeout": &e.Timeouts.Total, "Job-Result-Ttl": &e.ResultTTL, "Job-Max-Elapsed": &e.Retry.MaxElapsed,
	} {
		if text := h.Get(name); text != "" && into.parse(text) != nil {
			return nil, badHeader(name, "a number of seconds, or a duration such as 90s")
		}
	}
	if text := h.Get("Job-Max-Attempts"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, badHeader("Job-Max-Attempts", "a whole number of at least 1")
		}
		e.Retry.MaxAttempts = n
	}
	for tag := range strings.SplitSeq(h.Get("Job-Tags"), ",") {
		if tag = strings.TrimSpace(tag); tag != "" {
			e.Tags = append(e.Tags, tag)
		}
	}
	return e, nil
}

func badHeader(name, want string) error {
	f := fault.New(fault.Invalid, "the header %s must be %s", name, want)
	f.Param = name
	return f
}

func idempotencyKey(h http.Header) (string, error) {
	key := h.Get(headerKey)
	if len(key) > maxKey {
		return "", badHeader(headerKey, fmt.Sprintf("at most %d characters long", maxKey))
	}
	if strings.IndexFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
		return "", badHeader(headerKey, "printable ASCII")
	}
	return key, nil
}

// options checks what was asked for and fills in the rest.
func (e *envelope) options(cfg JobsConfig, now time.Time) (jobOptions, error) {
	o := jobOptions{
		Priority: job.Priority(cmp.Or(e.Priority, string(job.Standard))), Store: job.Store(cmp.Or(e.Store, string(job.StoreBoth))),
		RunAt: e.RunAt, Queue: time.Duration(e.Timeouts.Queue), Attempt: time.Duration(e.Timeouts.Attempt),
		ResultTTL: cmp.Or(time.Duration(e.ResultTTL), cfg.ResultTTL),
		Retry:     job.Retry{MaxAttempts: cmp.Or(e.Retry.MaxAttempts, cfg.MaxAttempts), MaxElapsed: time.Duration(e.Retry.MaxElapsed)},
		Metadata:  e.Metadata, Tags: e.Tags, key: e.Key,
	}
	stores := []job.Store{job.StoreBoth, job.StoreInputs, job.StoreOutputs, job.StoreNone}
	switch {
	case !slices.Contains(job.Priorities(), o.Priority):
		return o, badOption("priority", "is %q; it must be interactive, standard or batch", e.Priority)
	case !slices.Contains(stores, o.Store):
		return o, badOption("store", "is %q; it must be both, inputs, outputs or none", e.Store)
	case o.ResultTTL < minTTL || o.ResultTTL > cfg.MaxTTL:
		return o, badOption("result_ttl", "must be between %s and %s", minTTL, cfg.MaxTTL)
	case o.Retry.MaxAttempts < 1 || o.Retry.MaxAttempts > cfg.MaxAttempts:
		return o, badOption("retry.max_attempts", "must be between 1 and %d", cfg.MaxAttempts)
	}
	if err := o.label(); err != nil {
		return o, err
	}
	var err error
	o.Total, err = e.total(cfg, now)
	return o, err
}

func badOption(field, format string, args ...any) error {
	f := fault.New(fault.Invalid, field+" "+format, args...)
	f.Param = field
	return f
}

// total is the time from now to the job's deadline. One that is given as a duration begins at the earliest start.
func (e *envelope) total(cfg JobsConfig, now time.Time) (time.Duration, error) {
	start := now
	if e.RunAt != nil && e.RunAt.After(now) {
		start = *e.RunAt
	}
	if start.Sub(now) > furthest {
		return 0, badOption("run_at", "is more than a year away")
	}
	total := start.Sub(now) + cmp.Or(time.Duration(e.Timeouts.Total), cfg.Deadline)
	if e.Deadline != nil {
		if total = e.Deadline.Sub(now); !e.Deadline.After(start) {
			return 0, badOption("deadline", "is not after the earliest start")
		}
	}
	if total-start.Sub(now) > cfg.MaxDeadline {
		return 0, badOption("timeouts.total", "is over the limit of %s", cfg.MaxDeadline)
	}
	return total, nil
}

// label checks metadata and tags.
func (o *jobOptions) label() error {
	if len(o.Metadata) > maxMetadata {
		return badOption("metadata", "has %d entries; %d are allowed", len(o.Metadata), maxMetadata)
	}
	if len(o.Tags) > maxTags {
		return badOption("tags", "has %d entries; %d are allowed", len(o.Tags), maxTags)
	}
	for key, value := range o.Metadata {
		if len(key) > maxTag || len(value) > 4*maxTag {
			return badOption("metadata", "has a key over %d or a value over %d characters", maxTag, 4*maxTag)
		}
	}
	for _, tag := range o.Tags {
		if tag == "" || len(tag) > maxTag {
			return badOption("tags", "must have 1 to %d characters each", maxTag)
		}
	}
	return nil
}

// fingerprint tells one request for a job from another: route, form, body and options. The times that options are
// relative to do not count.
func fingerprint(rec *job.Record, o jobOptions, body []byte) (string, error) {
	var f jobForm
	if err := json.Unmarshal(rec.Form, &f); err != nil {
		return "", fmt.Errorf("reading a form: %w", err)
	}
	f.Created = time.Time{}
	o.Total = o.Total.Round(time.Minute) // of a deadline, which is absolute, a little has passed
	text, err := json.Marshal([]any{rec.Route, f, o})
	if err != nil {
		return "", fmt.Errorf("writing a fingerprint: %w", err)
	}
	hash := sha256.New()
	hash.Write(text)
	hash.Write(body)
	return hex.EncodeToString(hash.Sum(nil)[:16]), nil
}
