// Package fault holds the one error type of Headrace and its closed set of codes.
//
// A code says what went wrong in words that no dialect owns. It is read in exactly two tables:
// api/problem (code to HTTP status and body) and the worker's verdict (code to retry or give up).
// Anything that is not a *Error counts as Internal and its text never reaches a caller.
package fault

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Code names a kind of failure. The set is closed: every switch over it is checked to be exhaustive.
type Code string

// The codes, in the order of the error table in docs/errors.md.
const (
	// Invalid: the body, a parameter or a header is wrong. Repeating the call cannot help.
	Invalid Code = "invalid"
	// NotFound: no such route, model or path.
	NotFound Code = "not_found"
	// MethodNotAllowed: the path exists, the method does not.
	MethodNotAllowed Code = "method_not_allowed"
	// TooLarge: the body is over max_body.
	TooLarge Code = "too_large"
	// RateLimited: the route's own limit is used up for this period.
	RateLimited Code = "rate_limited"
	// QueueFull: as many calls wait, or as many bytes are held, as the configuration allows.
	QueueFull Code = "queue_full"
	// NoWorkers: no live worker serves the route, or the broker is out of reach. The call did not run.
	NoWorkers Code = "no_workers"
	// UpstreamUnavailable: the model server refused or dropped the connection, or the worker that ran
	// the call is lost. The call may have run.
	UpstreamUnavailable Code = "upstream_unavailable"
	// UpstreamTimeout: the model server did not answer in time.
	UpstreamTimeout Code = "upstream_timeout"
	// UpstreamError: the model server answered 4xx or 5xx; Error.Status and Error.Detail carry it.
	UpstreamError Code = "upstream_error"
	// UpstreamBadResponse: the model server's answer has the wrong shape, is not JSON, or is too large.
	UpstreamBadResponse Code = "upstream_bad_response"
	// Deadline: the caller's or the route's time ran out while the call waited. It did not run.
	Deadline Code = "deadline"
	// NotImplemented: the provider cannot do this, for example stream.
	NotImplemented Code = "not_implemented"
	// Conflict: what was asked for does not fit the state of the job it was asked of.
	Conflict Code = "conflict"
	// KeyReused: an idempotency key, or a job's id, was used for something else before.
	KeyReused Code = "idempotency_conflict"
	// Gone: the job was here, and its input and result are not any more.
	Gone Code = "job_gone"
	// JobFailed: the job whose result was asked for has failed.
	JobFailed Code = "job_failed"
	// Unauthorized: what was asked for wants the admin token, which the request does not have.
	Unauthorized Code = "unauthorized"
	// ShuttingDown: this process drains.
	ShuttingDown Code = "shutting_down"
	// Internal: our own fault. The cause stays in the log.
	Internal Code = "internal"
)

// Codes lists the closed set, for tables that must cover it.
func Codes() []Code {
	return []Code{
		Invalid, NotFound, MethodNotAllowed, TooLarge, RateLimited, QueueFull, NoWorkers,
		UpstreamUnavailable, UpstreamTimeout, UpstreamError, UpstreamBadResponse, Deadline,
		NotImplemented, Conflict, KeyReused, Gone, JobFailed, Unauthorized, ShuttingDown, Internal,
	}
}

// Issue is one thing that is wrong with a request, located from the root of its body.
type Issue struct {
	Loc  []any           // path of strings and ints, without the leading "body"
	Type string          // machine-readable kind, for example "missing" or "string_type"
	Msg  string          // one sentence for a person
	In   json.RawMessage // the offending value as it was sent; nil leaves it out
	Ctx  map[string]any  // the bounds that were broken; nil leaves it out
}

// Repeat says whether repeating a call can help.
type Repeat int

// The answers.
const (
	RepeatByStatus Repeat = iota // what the status says
	RepeatHelps
	RepeatVain
)

// Error is a failure with a code. Message is for the caller: what happened, and what to do.
type Error struct {
	Code    Code
	Message string
	// Issues are the single faults of an Invalid request; may be empty.
	Issues []Issue
	// Param is the one body field an Invalid error is about, when there is one.
	Param string
	// Status is the model server's HTTP status, or the one that stands for it, for UpstreamError only.
	Status int
	// Raised: the model itself raised an exception, whatever Status says; MLflow's servers answer 400 then. Message ends
	// with the exception.
	Raised bool
	// Repeat says whether repeating the call can help, of an UpstreamError whose model server told.
	Repeat Repeat
	// Kind and Reason are what a vendor calls its error, in its own words, for UpstreamError only: OpenAI's type and code.
	Kind, Reason string
	// Detail is the JSON value MLflow's gateway would put under "detail"; nil means Message.
	Detail json.RawMessage
	// RetryAfter is how long the caller should wait before it tries again; 0 leaves it to the code.
	RetryAfter time.Duration
	// Err is the cause. It is logged, never sent to a caller.
	Err error
}

// New makes an Error whose message is formatted; a %w verb sets the cause.
func New(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
}

// Wrap makes an Error with a cause that callers do not see.
func Wrap(code Code, cause error, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Err: cause}
}

// Error is the text for logs: code, message and cause.
func (e *Error) Error() string {
	if e.Err != nil {
		return string(e.Code) + ": " + e.Message + ": " + e.Err.Error()
	}
	return string(e.Code) + ": " + e.Message
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// From returns the *Error in err's chain, or an Internal one that wraps err. From(nil) is nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return Wrap(Internal, err, "internal error")
}

// CodeOf is the code of err; "" for nil, Internal for anything that is not an *Error.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	return From(err).Code
}
