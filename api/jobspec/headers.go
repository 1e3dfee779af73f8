package jobspec

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"headrace/api/problem"
	"headrace/internal/fault"
)

// OptionHeaders are the headers by which a call becomes a job with options.
func OptionHeaders() []string {
	return []string{
		HeaderPrefer, "Job-Priority", "Job-Run-At", "Job-Deadline", "Job-Queue-Timeout", "Job-Attempt-Timeout",
		"Job-Total-Timeout", "Job-Result-TTL", "Job-Max-Attempts", "Job-Max-Elapsed", "Job-Store", "Job-Tags",
	}
}

// IdleHeaders are the headers of a call that only jobs know: all of them on a call that makes none, else those that
// name no option.
func IdleHeaders(h http.Header, job bool) []string { //nolint:revive // job says which of two lists of known headers counts
	var idle, options []string
	if job {
		options = append(OptionHeaders(), HeaderKey)
	}
	for name := range h {
		known := func(option string) bool { return strings.EqualFold(option, name) }
		if (strings.HasPrefix(name, "Job-") || name == HeaderKey) && !slices.ContainsFunc(options, known) {
			idle = append(idle, name)
		}
	}
	slices.Sort(idle)
	return idle
}

// FromHeaders reads the options of a job whose body is the route's own.
func FromHeaders(h http.Header) (*Envelope, error) {
	e := &Envelope{Priority: h.Get("Job-Priority"), Store: h.Get("Job-Store")}
	for name, values := range h {
		if !strings.HasPrefix(name, optionPrefix) {
			continue
		}
		switch text := strings.Join(values, ","); {
		case strings.Trim(text, ", \t") == "":
			return nil, problem.Header(name, "left out, or given a value: it is empty")
		case !utf8.ValidString(text):
			return nil, problem.Header(name, "UTF-8")
		}
	}
	for name, into := range map[string]*instant{"Job-Run-At": &e.RunAt, "Job-Deadline": &e.Deadline} {
		if text := h.Get(name); text != "" {
			into.parse(text)
		}
	}
	for name, into := range map[string]*span{
		"Job-Queue-Timeout": &e.Timeouts.Queue, "Job-Attempt-Timeout": &e.Timeouts.Attempt,
		"Job-Total-Timeout": &e.Timeouts.Total, "Job-Result-Ttl": &e.ResultTTL, "Job-Max-Elapsed": &e.Retry.MaxElapsed,
	} {
		if text := h.Get(name); text != "" {
			into.parse(text)
		}
	}
	if text := h.Get("Job-Max-Attempts"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, problem.Header("Job-Max-Attempts", "a whole number of at least 1")
		}
		e.Retry.MaxAttempts = &n
	}
	for tag := range strings.SplitSeq(strings.Join(h.Values("Job-Tags"), ","), ",") {
		if tag = strings.TrimSpace(tag); tag != "" {
			e.Tags = append(e.Tags, tag)
		}
	}
	return e, nil
}

// InHeaders gives an error about an option the name of the header that the option came in.
func InHeaders(err error) error {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return err
	}
	name := map[string]string{
		"priority": "Job-Priority", "store": "Job-Store", "run_at": "Job-Run-At", "deadline": "Job-Deadline",
		"timeouts.queue": "Job-Queue-Timeout", "timeouts.attempt": "Job-Attempt-Timeout", "timeouts.total": "Job-Total-Timeout",
		"result_ttl": "Job-Result-TTL", "retry.max_attempts": "Job-Max-Attempts", "retry.max_elapsed": "Job-Max-Elapsed",
		"tags": "Job-Tags",
	}[f.Param]
	if name == "" {
		return err
	}
	said := strings.TrimPrefix(f.Message, f.Param+" ")
	return problem.Option(name, "%s", strings.Replace(said, "timeouts.total", "Job-Total-Timeout", 1)) // the one that another's error names
}

// KeyOf is the idempotency key of a request; "" when it has none.
func KeyOf(h http.Header) (string, error) {
	if values := h.Values(HeaderKey); len(values) > 0 && values[0] == "" {
		return "", problem.Header(HeaderKey, "left out, or given a value: it is empty")
	}
	return checkKey(h.Get(HeaderKey))
}

func checkKey(key string) (string, error) {
	if len(key) > MaxKey {
		return "", problem.Header(HeaderKey, fmt.Sprintf("at most %d characters long", MaxKey))
	}
	if strings.IndexFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
		return "", problem.Header(HeaderKey, "printable ASCII")
	}
	return key, nil
}
