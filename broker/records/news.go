package records

import (
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headrace/internal/job"
)

// Instant is a time in unix milliseconds; 0 means never.
type Instant int64

// InstantOf converts a time.
func InstantOf(t time.Time) Instant { return Instant(t.UnixMilli()) }

// In returns how long it is from now until i; negative when i is past.
func (i Instant) In(now time.Time) time.Duration { return time.UnixMilli(int64(i)).Sub(now) }

// Past reports whether i is set and has come.
func (i Instant) Past(now time.Time) bool { return i != 0 && i.In(now) <= 0 }

// Future reports whether i is set and has not come.
func (i Instant) Future(now time.Time) bool { return i != 0 && i.In(now) > 0 }

// News is what the headers of a stored record say.
type News struct {
	ID       job.ID // shares memory with the message's text
	State    job.State
	Place    string // subject in the work queue; "" when it should not be there
	Due      Instant
	Shard    string
	Revision uint64
	At       time.Time
}

// ReadNews reads the headers of a record.
func ReadNews(msg jetstream.Msg) (*News, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return nil, fmt.Errorf("a record without its number: %w", err)
	}
	header := msg.Headers()
	n := &News{
		ID: IdOfEvent(msg.Subject()), State: job.State(header.Get(HeaderState)), Place: header.Get(HeaderLane),
		Shard: meta.Stream[len(RecordStream):], Revision: meta.Sequence.Stream, At: meta.Timestamp,
	}
	if ms, err := strconv.ParseInt(header.Get(headerDue), 10, 64); err == nil {
		n.Due = Instant(ms)
	}
	return n, nil
}
