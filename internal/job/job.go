package job

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
)

// ID names a job: "job_" and 26 characters that sort by the time at which they were made.
type ID string

const (
	idPrefix  = "job_"
	digits    = "0123456789abcdefghjkmnpqrstvwxyz"
	ownDigits = 26 // of an id, for its 128 bits
)

// encoding is Crockford's, in lower case: its digits sort as their values do.
func encoding() *base32.Encoding {
	return base32.NewEncoding(digits).WithPadding(base32.NoPadding)
}

// NewID makes an id: 48 bits of milliseconds and 80 random ones.
func NewID(now time.Time) ID {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(max(now.UnixMilli(), 0))<<16)
	_, _ = rand.Read(b[6:]) // it never fails
	return ID(idPrefix + encoding().EncodeToString(b[:]))
}

// maxID is the length of the longest id that a client may choose.
const maxID = 128

// ParseID reads an id, ours or one that a client chose: letters, digits, "-" and "_".
func ParseID(s string) (ID, bool) {
	if s == "" || len(s) > maxID {
		return "", false
	}
	legal := func(r rune) bool {
		return r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	}
	return ID(s), strings.IndexFunc(s, func(r rune) bool { return !legal(r) }) < 0
}

// State is the state of a job; doc.go draws the moves between them.
type State string

// The states.
const (
	Scheduled  State = "scheduled"
	Queued     State = "queued"
	Running    State = "running"
	Retrying   State = "retrying"
	Cancelling State = "cancelling"
	Succeeded  State = "succeeded"
	Failed     State = "failed"
	Cancelled  State = "cancelled"
	Expired    State = "expired"
	Erased     State = "erased"
)

// Terminal reports whether the state is final for this run of the job.
func (s State) Terminal() bool {
	switch s {
	case Succeeded, Failed, Cancelled, Expired, Erased:
		return true
	case Scheduled, Queued, Running, Retrying, Cancelling:
		return false
	}
	return false
}

// Waiting reports whether the job waits for a worker, or for the time at which it may start.
func (s State) Waiting() bool { return s == Scheduled || s == Queued || s == Retrying }

// Priority is one of three classes. None starves another.
type Priority string

// The priorities.
const (
	Interactive Priority = "interactive"
	Standard    Priority = "standard"
	Batch       Priority = "batch"
)

// Priorities lists the closed set, the most urgent first.
func Priorities() []Priority { return []Priority{Interactive, Standard, Batch} }

// Store says which of input and result are kept after a success.
type Store string

// What is kept until the result expires. The rest is dropped when the job ends.
const (
	StoreBoth    Store = "both"
	StoreInputs  Store = "inputs"
	StoreOutputs Store = "outputs"
	StoreNone    Store = "none"
)

// Body names stored bytes: an input or a result.
type Body struct {
	Bytes  int64  `json:"bytes"`
	Parts  int    `json:"parts,omitempty"` // messages that hold it; 0 = Inline holds it
	SHA256 string `json:"sha256"`
	Inline []byte `json:"-"` // stored behind the record's JSON
	// Series tells the results of different attempts apart.
	Series string `json:"series,omitempty"`
}

// Retry is a job's retry policy.
type Retry struct {
	MaxAttempts int           `json:"max_attempts"`
	MaxElapsed  time.Duration `json:"max_elapsed,omitempty"` // since the first start; 0 = until the deadline
}

// Attempt is one call to a model server on behalf of a job.
type Attempt struct {
	N         int        `json:"n"`
	Run       int        `json:"run"`
	Worker    string     `json:"worker"`
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at"`
	Outcome   string     `json:"outcome"` // running, succeeded, failed, interrupted, returned, cancelled
	Error     *Problem   `json:"error"`
}

// Problem is why an attempt or a job failed.
type Problem struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	Status    int    `json:"status,omitempty"` // of the model server
	Retryable bool   `json:"retryable"`
	// Detail is what the model server said, as JSON; only a job's own problem has it.
	Detail json.RawMessage `json:"detail,omitempty"`
}

// ProblemOf makes a problem of an error.
func ProblemOf(err error) *Problem {
	f := fault.From(err)
	return &Problem{Code: string(f.Code), Message: f.Message, Status: f.Status, Retryable: Retryable(f)}
}

// maxDetail bounds the bytes that a record keeps of a model server's error.
const maxDetail = 4 << 10

// withDetail returns the problem with what the model server said, if that is short enough.
func (p *Problem) withDetail(f *fault.Error) *Problem {
	if len(f.Detail) == 0 || len(f.Detail) > maxDetail || !json.Valid(f.Detail) {
		return p
	}
	full := *p
	full.Detail = f.Detail
	return &full
}

// Schema is raised when older versions would misunderstand a record; they then leave it alone. Edition is raised when a
// field is added that they may ignore; they then keep it.
const (
	Schema  = 0
	Edition = 1
)

// Record is everything that is known of a job except its input and a large result. Its JSON is what is stored; what callers
// see is made from it elsewhere.
type Record struct {
	ID       ID             `json:"id"`
	Run      int            `json:"run"`
	Route    string         `json:"route"`
	Provider string         `json:"provider"`
	Type     inference.Type `json:"type"`
	Priority Priority       `json:"priority"`
	State    State          `json:"state"`
	Reason   string         `json:"reason,omitempty"`

	CreatedAt      time.Time  `json:"created_at"`
	RunAt          *time.Time `json:"run_at,omitempty"`
	QueuedAt       *time.Time `json:"queued_at,omitempty"`
	StartedAt      *time.Time `json:"started_at,omitempty"`
	FinishedAt     *time.Time `json:"finished_at,omitempty"`
	NextAttemptAt  *time.Time `json:"next_attempt_at,omitempty"`
	CancelAskedAt  *time.Time `json:"cancel_asked_at,omitempty"`
	Deadline       time.Time  `json:"deadline"`
	QueueExpiresAt *time.Time `json:"queue_expires_at,omitempty"`
	ExpiresAt      *time.Time `json:"expires_at,omitempty"` // of the result; set at the end

	Total     time.Duration `json:"total"`                // from accepting to the deadline
	QueueTime time.Duration `json:"queue_time,omitempty"` // most before the first start; 0 = until the deadline
	Timeout   time.Duration `json:"timeout,omitempty"`    // of one attempt; 0 = the route's
	ResultTTL time.Duration `json:"result_ttl"`
	Retry     Retry         `json:"retry"`
	Store     Store         `json:"store"`

	Tries //nolint:embeddedstructfieldcheck // its members are stored in this place

	Input  *Body    `json:"input,omitempty"`
	Result *Body    `json:"result,omitempty"`
	Error  *Problem `json:"error,omitempty"`
	// Upstream is how long the successful call took.
	Upstream time.Duration `json:"upstream,omitempty"`

	Fingerprint    string            `json:"fingerprint"` // of what was asked
	IdempotencyKey string            `json:"idempotency_key,omitempty"`
	Metadata       map[string]string `json:"metadata,omitempty"`
	Tags           []string          `json:"tags,omitempty"`
	Durability     string            `json:"durability"`
	RequestID      string            `json:"request_id,omitempty"`
	// Form belongs to the front end: how the result is written for the caller.
	Form json.RawMessage `json:"form,omitempty"`

	// Schema and Edition are the highest of the versions that have written the record.
	Schema  int `json:"schema,omitempty"`
	Edition int `json:"edition,omitempty"`
	// Unknown holds fields that a newer version has added; they are kept.
	Unknown map[string]json.RawMessage `json:"-"`
	// Revision is the record's number in its stream; it grows with every write and is not part of the JSON.
	Revision uint64 `json:"-"`
}

// Tries is how often a job was begun, and what became of it. Its methods ask and change nothing but that; the moves of a Record
// use them.
type Tries struct {
	// Starts counts how often a worker has begun to run the job. It tells one start from all others, also from an earlier one of
	// the same worker.
	Starts             int       `json:"starts,omitempty"`
	Attempt            int       `json:"attempt"` // of this run; failed ones and the one that runs
	Interruptions      int       `json:"interruptions,omitempty"`
	AloneInterruptions int       `json:"alone_interruptions,omitempty"`
	Apart              bool      `json:"apart,omitempty"`    // a call that it shared ended badly: it shares none any more
	Attempts           []Attempt `json:"attempts,omitempty"` // the latest MaxAttemptsKept
	Owner              string    `json:"owner,omitempty"`    // worker that runs it
}

// Clone returns a copy that may be moved without changing r. The two share bodies and what the caller gave, which no move
// changes.
func (r *Record) Clone() *Record {
	c := *r
	c.Attempts = slices.Clone(r.Attempts)
	return &c
}

// Began returns when the time of this run began to count: when it was requested, or its earliest start if that was later.
func (r *Record) Began() time.Time {
	asked := r.Deadline.Add(-r.Total)
	if r.RunAt != nil && r.RunAt.After(asked) {
		return *r.RunAt
	}
	return asked
}

// Due returns the next time at which something is due about a job that is not running; zero when nothing is.
func (r *Record) Due() time.Time {
	due := time.Time{}
	earlier := func(t *time.Time) {
		if t != nil && !t.IsZero() && (due.IsZero() || t.Before(due)) {
			due = *t
		}
	}
	switch r.State {
	case Scheduled:
		earlier(r.RunAt)
		earlier(&r.Deadline)
	case Retrying:
		earlier(r.NextAttemptAt)
		earlier(&r.Deadline)
	case Queued:
		earlier(r.QueueExpiresAt)
		earlier(&r.Deadline)
	case Running, Cancelling, Succeeded, Failed, Cancelled, Expired, Erased:
	}
	return due
}
