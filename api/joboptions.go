package api

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"headrace/api/dialect"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/job"
)

const (
	headerPrefer = "Prefer"
	headerKey    = "Idempotency-Key"
	// headerApplied says which preferences were followed.
	headerApplied = "Preference-Applied"
	// optionPrefix begins the names of headers with a job's options.
	optionPrefix = "Job-"
	// headerReplayed says that the job was there already.
	headerReplayed = "Idempotency-Replayed"

	maxKey      = 255 // characters of an idempotency key
	maxMetadata = 16  // pairs
	maxTags     = 16
	maxTag      = 128 // bytes of a tag or a metadata key; a value may have four times as many
	minTTL      = time.Second
	mostSeconds = 1e9                  // of any duration: what is more is beyond every limit, and near the end of time.Duration
	furthest    = 365 * 24 * time.Hour // start of a job
)

// preference is what a caller prefers, by RFC 7240: a job at once, or a job and its result if it comes in time.
type preference struct {
	async bool          // respond-async
	wait  time.Duration // as granted; 0 = not at all
	asked bool          // wait was asked for
	idle  []string      // preferences that are not ours, as Headrace-Dropped names them
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

// preferenceOf reads Prefer, and grants a wait of at most longest. Preferences that are not ours have no effect and are named, and of one that is given twice
// the first one counts, as the RFC wants.
func preferenceOf(r *http.Request, longest time.Duration) (preference, error) {
	var p preference
	for _, line := range r.Header.Values(headerPrefer) {
		for part := range strings.SplitSeq(line, ",") {
			part, _, _ = strings.Cut(part, ";")
			name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "respond-async":
				p.async = true
			case "wait":
				if p.asked {
					continue
				}
				n, err := strconv.Atoi(strings.Trim(strings.TrimSpace(value), `"`))
				if errors.Is(err, strconv.ErrRange) {
					err = nil // n is the furthest in its direction then
				}
				if err != nil || n < 0 {
					f := fault.New(fault.Invalid, "Prefer: wait takes a whole number of seconds, as in wait=10")
					f.Param = headerPrefer
					return p, f
				}
				p.asked, p.wait = true, min(time.Duration(min(n, 1<<30))*time.Second, longest)
			case "":
			default:
				p.idle = append(p.idle, idlePreference(name))
			}
		}
	}
	return p, nil
}

// idlePreference is how a preference without effect is named.
func idlePreference(name string) string {
	if name = strings.TrimSpace(name); !sane(name) || len(name) > maxTag {
		return headerPrefer
	}
	return headerPrefer + ": " + name
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

	// Deadline and Timeout are what was asked for; Total is made of them and of the time of asking.
	Deadline *time.Time
	Timeout  time.Duration

	key string
	// awaited: somebody waits for the job, which makes it interactive unless it says otherwise. Whether one asks for a
	// job with or without waiting does not make it another one.
	awaited bool
}

// priority is the one that the job has.
func (o *jobOptions) priority() job.Priority {
	if o.Priority != "" {
		return o.Priority
	}
	if o.awaited {
		return job.Interactive
	}
	return job.Standard
}

// span is a duration: a number of seconds, or a string such as "90s" or "1h30m". wrong says why it is none, for the
// reader that can name the field.
type span struct {
	d     time.Duration
	wrong string
}

// UnmarshalJSON reads both forms. It never fails: see wrong.
func (s *span) UnmarshalJSON(text []byte) error {
	var words string
	if string(text) == "null" {
		return nil
	}
	if json.Unmarshal(text, &words) != nil {
		words = string(text)
	}
	s.parse(words)
	return nil
}

func (s *span) parse(words string) {
	*s = span{}
	d, err := time.ParseDuration(words)
	if err != nil {
		seconds, numErr := strconv.ParseFloat(words, 64)
		if numErr == nil && seconds >= mostSeconds || errors.Is(numErr, strconv.ErrRange) {
			s.wrong = fmt.Sprintf("is %.40q, which is too large: it must be less than %.0f seconds", words, float64(mostSeconds))
			return
		}
		if numErr != nil || seconds != seconds {
			s.wrong = fmt.Sprintf("is %.40q; it must be a number of seconds, or a duration such as \"90s\" or \"1h30m\"", words)
			return
		}
		d = time.Duration(max(seconds, -1) * float64(time.Second))
	}
	if d <= 0 { // 0 would be taken for what is not given, which mostly means without a limit
		s.wrong = fmt.Sprintf("is %.40q; it must be more than 0; leave it out for the default", words)
		return
	}
	s.d = d
}

// instant is a time as RFC 3339 has it; wrong as for span.
type instant struct {
	at    *time.Time
	wrong string
}

// UnmarshalJSON never fails: see wrong.
func (i *instant) UnmarshalJSON(text []byte) error {
	var words string
	if string(text) == "null" {
		return nil
	}
	if json.Unmarshal(text, &words) != nil {
		words = string(text)
	}
	i.parse(words)
	return nil
}

func (i *instant) parse(words string) {
	*i = instant{}
	at, err := time.Parse(time.RFC3339, words)
	if err != nil {
		i.wrong = fmt.Sprintf("is %.40q; it must be a time such as \"2026-01-31T12:00:00Z\"", words)
		return
	}
	i.at = &at
}

// envelope is the body of POST /v1/jobs.
type envelope struct {
	Route    string          `json:"route"`
	Input    json.RawMessage `json:"input"`
	ID       string          `json:"id"`
	Key      string          `json:"idempotency_key"`
	Priority string          `json:"priority"`
	RunAt    instant         `json:"run_at"`
	Timeouts struct {
		Queue   span `json:"queue"`
		Attempt span `json:"attempt"`
		Total   span `json:"total"`
	} `json:"timeouts"`
	Deadline instant `json:"deadline"`
	Retry    struct {
		MaxAttempts *int `json:"max_attempts"`
		MaxElapsed  span `json:"max_elapsed"`
	} `json:"retry"`
	ResultTTL span              `json:"result_ttl"`
	Store     string            `json:"store"`
	Metadata  map[string]string `json:"metadata"`
	Tags      []string          `json:"tags"`

	headers *envelope // the options that headers gave; nil where they give none
}

func readEnvelope(body []byte) (*envelope, error) {
	e := new(envelope)
	return e, e.read(body)
}

func (e *envelope) read(body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return fault.New(fault.Invalid, `the body is missing; write {"route": "...", "input": {...}}`)
	}
	err := readObject(body, e)
	if typed, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return wrongType(typed)
	}
	if err != nil {
		return fault.New(fault.Invalid, "the body is not a job: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// wrongType names the field and what it takes, without Go's words for it.
func wrongType(err *json.UnmarshalTypeError) error {
	want := "an object"
	switch err.Type.Kind() { //nolint:exhaustive // these are the kinds that an envelope has
	case reflect.String:
		want = "a string"
	case reflect.Int:
		want = "a whole number"
	case reflect.Slice:
		want = "a list of strings"
	}
	if err.Field == "" {
		return fault.New(fault.Invalid, `a job is %s, not a JSON %s; write {"route": "...", "input": {...}}`, want, err.Value)
	}
	return badOption(err.Field, "takes %s, not a JSON %s", want, err.Value)
}

// options checks what was asked for and fills in the rest. route is the one to ask.
func (e *envelope) options(cfg JobsConfig, route *inference.Route, now time.Time) (jobOptions, error) {
	o, err := e.each(cfg, route)
	if err == nil {
		o.Total, err = e.total(cfg, now)
	}
	return o, err
}

// each is the options without Total; each of them is checked by itself.
func (e *envelope) each(cfg JobsConfig, route *inference.Route) (jobOptions, error) {
	o := jobOptions{
		Priority: job.Priority(e.Priority), Store: job.Store(cmp.Or(e.Store, string(job.StoreBoth))),
		RunAt: e.RunAt.at, Queue: e.Timeouts.Queue.d, Attempt: e.Timeouts.Attempt.d, ResultTTL: cmp.Or(e.ResultTTL.d, cfg.ResultTTL),
		Retry:    job.Retry{MaxAttempts: cfg.MaxAttempts, MaxElapsed: e.Retry.MaxElapsed.d},
		Metadata: e.Metadata, Tags: e.Tags, Deadline: e.Deadline.at, Timeout: e.Timeouts.Total.d, key: e.Key,
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
		return o, badOption("priority", "is %.40q; it must be interactive, standard or batch", e.Priority)
	case !slices.Contains(stores, o.Store):
		return o, badOption("store", "is %.40q; it must be both, inputs, outputs or none", e.Store)
	case o.ResultTTL < minTTL || o.ResultTTL > cfg.MaxTTL:
		return o, badOption("result_ttl", "must be between %s and %s", minTTL, cfg.MaxTTL)
	case o.Retry.MaxAttempts < 1 || o.Retry.MaxAttempts > cfg.MaxAttempts:
		return o, badOption("retry.max_attempts", "must be between 1 and %d", cfg.MaxAttempts)
	case route.Timeout > 0 && o.Attempt > route.Timeout:
		return o, badOption("timeouts.attempt", "is over the limit of %s of route %q", route.Timeout, route.Name)
	}
	return o, o.label()
}

// readable names the first field whose text is no duration or no time.
func (e *envelope) readable() error {
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
			return badOption(field.name, "%s", field.wrong)
		}
	}
	return nil
}

func badOption(field, format string, args ...any) error {
	f := fault.New(fault.Invalid, field+" "+format, args...)
	f.Param = field
	return f
}

// total is the time from now to the job's deadline. One that is given as a duration begins at the earliest start.
func (e *envelope) total(cfg JobsConfig, now time.Time) (time.Duration, error) {
	start := now
	if e.RunAt.at != nil && e.RunAt.at.After(now) {
		start = *e.RunAt.at
	}
	if start.Sub(now) > furthest {
		return 0, badOption("run_at", "is more than a year away")
	}
	total := start.Sub(now) + cmp.Or(e.Timeouts.Total.d, cfg.Deadline)
	if e.Deadline.at != nil && e.Timeouts.Total.d > 0 {
		return 0, badOption("deadline", "and timeouts.total say the same; give one of them")
	}
	if e.Deadline.at != nil {
		if total = e.Deadline.at.Sub(now); !e.Deadline.at.After(start) {
			return 0, badOption("deadline", "is not after the earliest start")
		}
	}
	if total-start.Sub(now) > cfg.MaxDeadline {
		field := "timeouts.total"
		if e.Deadline.at != nil {
			field = "deadline"
		}
		return 0, badOption(field, "is over the limit of %s from the earliest start", cfg.MaxDeadline)
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
			return badOption("metadata", "has a key over %d or a value over %d bytes", maxTag, 4*maxTag)
		}
	}
	for _, tag := range o.Tags {
		if tag == "" || len(tag) > maxTag {
			return badOption("tags", "must have 1 to %d bytes each", maxTag)
		}
	}
	return nil
}

// fingerprint tells one request for a job from another: route, form, body and options as they were asked for. When it was
// asked does not count.
func fingerprint(rec *job.Record, o jobOptions, body []byte) (string, error) {
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
