package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headrace/internal/job"
)

// followAgain is the pause before a stream is followed again after a failure.
const followAgain = time.Second

// listed is what a record's headers say of a job for those who list jobs without reading the records.
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

// asciiJSON escapes what is not ASCII: headers are no place for it.
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

// readEntry reads the headers of a record. ok is false for other messages.
func readEntry(msg jetstream.Msg) (e job.Entry, ok bool, err error) {
	if !strings.HasPrefix(msg.Subject(), prefixRecord) {
		return e, false, nil
	}
	meta, err := msg.Metadata()
	if err != nil {
		return e, false, err
	}
	e.ID, e.State = idOfEvent(msg.Subject()), job.State(msg.Headers().Get(headerState))
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
	e.Route, e.Provider, e.Priority = lane.Route, lane.provider, lane.Priority
	e.CreatedAt, e.ErrorCode, e.Tags, e.Metadata = time.UnixMicro(l.Created), l.Error, l.Tags, l.Metadata
	if l.Finished > 0 {
		e.FinishedAt = time.UnixMilli(l.Finished)
	}
	if l.Until > 0 {
		e.Until = time.UnixMilli(l.Until)
	}
	return e, true, nil
}

// Listing takes what is written of jobs.
type Listing interface {
	// From is the number after the last one that was seen of a shard; 0 = the beginning. stream names the stream
	// that the numbers are of, and still reports whether what was seen last is still the past of that stream: what was noted
	// of another stream of the same shard, or of another past, is to be forgotten.
	From(ctx context.Context, shard, stream string, still func(revision uint64, at time.Time) (bool, error)) (uint64, error)
	// Note takes an entry. After an error From is asked again.
	Note(ctx context.Context, e job.Entry) error
	// Seen says that a shard was followed up to a number, which was written at a time.
	Seen(shard string, revision uint64, at time.Time)
}

// Follow tells list of every job, and of every change, until ctx ends. What was written before is told first.
func (j *Jobs) Follow(ctx context.Context, list Listing) error {
	select {
	case <-j.ready:
	case <-ctx.Done():
		return nil
	}
	var running sync.WaitGroup
	defer running.Wait()
	for shard := range jobShards {
		running.Go(func() {
			var said said
			for ctx.Err() == nil {
				err := j.followShard(ctx, strconv.Itoa(shard), list)
				if ctx.Err() == nil && j.store.link.news(err) && said.news(err) && j.gate.shut() == nil {
					j.log.Warn("following the jobs' records for lists", "shard", shard, "error", err)
				}
				pauseFor(ctx, followAgain)
			}
		})
	}
	return nil
}

func (j *Jobs) followShard(ctx context.Context, shard string, list Listing) error {
	name, reconnects := recordStream+shard, j.store.link.reconnects()
	stream, err := j.store.stream(ctx, name)
	if err != nil {
		return err
	}
	err = j.followStream(ctx, shard, stream, reconnects, list)
	j.store.forget(name)
	return err
}

func (j *Jobs) followStream(ctx context.Context, shard string, stream jetstream.Stream, reconnects uint64, list Listing) error {
	info, err := stream.Info(ctx)
	if err != nil {
		return err
	}
	from, err := list.From(ctx, shard, info.Created.UTC().Format(time.RFC3339Nano), func(revision uint64, at time.Time) (bool, error) {
		if info.State.LastSeq < revision {
			return false, nil
		}
		next, err := writtenAfter(ctx, stream, at)
		return next == 0 || next > revision, err
	})
	if err != nil {
		return err
	}
	config := jetstream.OrderedConsumerConfig{HeadersOnly: true, DeliverPolicy: jetstream.DeliverAllPolicy}
	if from > 0 {
		config.DeliverPolicy, config.OptStartSeq = jetstream.DeliverByStartSequencePolicy, from
	}
	return j.store.link.follow(ctx, stream, config, reconnects, nil, func(msg jetstream.Msg) error { return j.tell(ctx, shard, msg, list) })
}

func (j *Jobs) tell(ctx context.Context, shard string, msg jetstream.Msg, list Listing) error {
	entry, ok, err := readEntry(msg)
	if err != nil {
		j.log.Warn("a record cannot be listed", "subject", msg.Subject(), "error", err)
	}
	if ok {
		if err := list.Note(ctx, entry); err != nil {
			return err
		}
	}
	if meta, err := msg.Metadata(); err == nil {
		list.Seen(shard, meta.Sequence.Stream, meta.Timestamp)
	}
	return nil
}

// writtenAfter is the number of the first message that was written after a time; 0 = there is none.
func writtenAfter(ctx context.Context, stream jetstream.Stream, at time.Time) (number uint64, err error) {
	at = at.Add(time.Nanosecond)
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		HeadersOnly: true, DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &at,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: storePatience, Replicas: 1,
	})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, stream.DeleteConsumer(ctx, consumer.CachedInfo().Name)) }()
	if consumer.CachedInfo().NumPending == 0 {
		return 0, nil
	}
	msg, err := consumer.Next(jetstream.FetchMaxWait(storePatience))
	if err != nil {
		return 0, err
	}
	meta, err := msg.Metadata()
	if err != nil {
		return 0, err
	}
	return meta.Sequence.Stream, nil
}

// Written is the number of the last record that was written, by shard.
func (j *Jobs) Written(ctx context.Context) (map[string]uint64, error) {
	if err := j.await(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	written := make(map[string]uint64, jobShards)
	for shard := range jobShards {
		name := recordStream + strconv.Itoa(shard)
		stream, err := j.store.stream(ctx, name)
		if err == nil {
			var info *jetstream.StreamInfo
			if info, err = stream.Info(ctx); err == nil {
				written[strconv.Itoa(shard)] = info.State.LastSeq
			}
		}
		if err != nil {
			j.store.forget(name)
			return nil, j.unread("", errors.Join(err))
		}
	}
	return written, nil
}
