package job

import (
	"encoding/binary"
	"strings"
	"time"
)

// Entry is what a list of jobs knows of one job: enough to find it. The record decides.
type Entry struct {
	ID         ID
	Route      string
	Provider   string
	Priority   Priority
	State      State
	CreatedAt  time.Time
	FinishedAt time.Time // zero = it has not ended
	Until      time.Time // after which nothing is left to read; zero = it has not ended
	ErrorCode  string
	Tags       []string
	Metadata   map[string]string
	// Shard and Revision say where in the records' streams the entry was read.
	Shard    string
	Revision uint64
}

// Filter selects jobs. Zero values do not restrict. The newest jobs come first.
type Filter struct {
	States         []State
	Route          string
	Provider       string
	Priority       Priority
	ErrorCode      string
	Tags           []string          // all of them
	Metadata       map[string]string // all of them
	CreatedAfter   time.Time
	CreatedBefore  time.Time
	FinishedAfter  time.Time
	FinishedBefore time.Time
	After          ID // go on behind this job
	Before         ID // the jobs right before this one
	Limit          int
}

// Order returns a text by which jobs sort in the order in which they were accepted: an id of ours itself, an id that a client
// chose after the time at which it was accepted.
func Order(id ID, created time.Time) string {
	if Ours(id) {
		return string(id)
	}
	var b [16]byte
	micros := uint64(max(created.UnixMicro(), 0))
	binary.BigEndian.PutUint64(b[:8], micros/1000<<16|micros%1000<<6)
	return idPrefix + encoding().EncodeToString(b[:]) + string(id)
}

// Ours reports whether an id has the form of NewID's.
func Ours(id ID) bool {
	rest, found := strings.CutPrefix(string(id), idPrefix)
	return found && len(rest) == ownDigits && strings.Trim(rest, digits) == ""
}
