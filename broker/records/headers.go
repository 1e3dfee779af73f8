package records

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
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
	Lane     LaneName // shares memory, too
	Due      Instant
	Shard    string
	Revision uint64
	At       time.Time
}

// readNews reads the headers of a record.
func readNews(msg jetstream.Msg) (*News, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return nil, fmt.Errorf("a record without its number: %w", err)
	}
	header := msg.Headers()
	n := &News{
		ID: IdOfEvent(msg.Subject()), State: job.State(header.Get(headerState)),
		Shard: meta.Stream[len(recordStream):], Revision: meta.Sequence.Stream, At: meta.Timestamp,
	}
	n.Lane = LaneName(strings.TrimSuffix(header.Get(headerLane), "."+string(n.ID)))
	if ms, err := strconv.ParseInt(header.Get(headerDue), 10, 64); err == nil {
		n.Due = Instant(ms)
	}
	return n, nil
}

// listed is the part of a job that its record's headers carry, so that jobs can be listed without reading the records.
type listed struct {
	Created  int64             `json:"c"`           // unix microseconds
	Finished int64             `json:"f,omitempty"` // of its end, unix milliseconds
	Until    int64             `json:"u,omitempty"` // of its result's expiry, unix milliseconds
	Error    string            `json:"e,omitempty"`
	Tags     []string          `json:"t,omitempty"`
	Metadata map[string]string `json:"m,omitempty"`
}

func listedOf(r *job.Record) (string, error) {
	l := listed{Created: r.CreatedAt.UnixMicro(), Tags: r.Tags, Metadata: r.Metadata}
	if r.State.Terminal() {
		if r.FinishedAt != nil {
			l.Finished = r.FinishedAt.UnixMilli()
		}
		if r.ExpiresAt != nil {
			l.Until = r.ExpiresAt.UnixMilli()
		}
	}
	if r.Error != nil {
		l.Error = r.Error.Code
	}
	text, err := json.Marshal(l)
	return asciiJSON(text), err
}

// asciiJSON escapes what is not ASCII, which headers cannot hold.
func asciiJSON(text []byte) string {
	var b strings.Builder
	for _, r := range string(text) {
		switch {
		case r < 0x80:
			b.WriteByte(byte(r))
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		}
	}
	return b.String()
}

// readEntry reads the headers of a record. ok is false for messages that are not records.
func readEntry(msg jetstream.Msg) (e job.Entry, ok bool, err error) {
	if !strings.HasPrefix(msg.Subject(), prefixRecord) {
		return e, false, nil
	}
	meta, err := msg.Metadata()
	if err != nil {
		return e, false, err
	}
	e.ID, e.State = IdOfEvent(msg.Subject()), job.State(msg.Headers().Get(headerState))
	e.Shard, e.Revision = meta.Stream[len(recordStream):], meta.Sequence.Stream
	text := msg.Headers().Get(headerList)
	lane, known := parseLane(strings.TrimSuffix(msg.Headers().Get(headerLane), "."+string(e.ID)))
	if text == "" || !known {
		return e, false, fmt.Errorf("the record of job %s says nothing for lists", e.ID)
	}
	var l listed
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		return e, false, fmt.Errorf("the record of job %s: %w", e.ID, err)
	}
	e.Route, e.Provider, e.Priority = lane.Route, lane.Provider, lane.Priority
	e.CreatedAt, e.ErrorCode, e.Tags, e.Metadata = time.UnixMicro(l.Created), l.Error, l.Tags, l.Metadata
	if l.Finished > 0 {
		e.FinishedAt = time.UnixMilli(l.Finished)
	}
	if l.Until > 0 {
		e.Until = time.UnixMilli(l.Until)
	}
	return e, true, nil
}
