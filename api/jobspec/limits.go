package jobspec

import (
	"cmp"
	"time"
)

const (
	// HeaderPrefer asks for a job, by RFC 7240.
	HeaderPrefer = "Prefer"
	// HeaderKey makes a job repeatable: the same key is the same job.
	HeaderKey = "Idempotency-Key"
	// HeaderApplied says which preferences were followed.
	HeaderApplied = "Preference-Applied"
	// HeaderReplayed says that the job was there already.
	HeaderReplayed = "Idempotency-Replayed"
	// optionPrefix begins the names of headers with a job's options.
	optionPrefix = "Job-"
)

const (
	// MaxKey is how many characters an idempotency key may have.
	MaxKey = 255
	// MaxMetadata is how many pairs of metadata a job may have.
	MaxMetadata = 16
	// MaxTags is how many tags a job may have.
	MaxTags = 16
	// MaxTag is how many bytes a tag or a metadata key may have; a value may have four times as many.
	MaxTag = 128
	// Furthest is how far away the start of a job may be.
	Furthest = 365 * 24 * time.Hour
	// MaxBatch is how many jobs one request may place.
	MaxBatch = 1000
	// BatchName is what the path for them has where others have an id.
	BatchName = "batch"

	minTTL      = time.Second
	mostSeconds = 1e9 // of any duration: what is more is beyond every limit, and near the end of time.Duration
)

// Limits say what jobs may ask for. Zero values mean the defaults.
type Limits struct {
	MaxWait     time.Duration // the longest that a caller may wait for a job in one request; default 60 s
	Deadline    time.Duration // from accepting to the end of everything, where the job does not say; default 24 h
	MaxDeadline time.Duration // the most that a job may ask for; default 7 d
	ResultTTL   time.Duration // how long a result is kept, where the job does not say; default 24 h
	MaxTTL      time.Duration // the most that a job may ask for; default 7 d
	KeyLife     time.Duration // how long an idempotency key is remembered; default 24 h
	MaxAttempts int           // attempts, where the job does not say, and the most that it may ask for; default 4
	MaxWaiting  int           // waiting jobs of one route; shown only, the store enforces it
	Durability  string        // named in every job
}

// WithDefaults fills in what is not set.
func (c Limits) WithDefaults() Limits {
	const day = 24 * time.Hour
	c.MaxWait = cmp.Or(c.MaxWait, time.Minute)
	c.Deadline = cmp.Or(c.Deadline, day)
	c.MaxDeadline = max(cmp.Or(c.MaxDeadline, 7*day), c.Deadline)
	c.ResultTTL = cmp.Or(c.ResultTTL, day)
	c.MaxTTL = max(cmp.Or(c.MaxTTL, 7*day), c.ResultTTL)
	c.KeyLife = cmp.Or(c.KeyLife, day)
	c.MaxAttempts = cmp.Or(c.MaxAttempts, 4)
	c.Durability = cmp.Or(c.Durability, "power")
	return c
}
