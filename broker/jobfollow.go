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
	// From is the number after the last one that was noted of a shard; 0 = the beginning. stream names the stream
	// that the numbers are of: what was noted of another one of the same shard is to be forgotten.
	From(ctx context.Context, shard, stream string) (uint64, error)
	// Note takes an entry. After an error From is asked again.
	Note(ctx context.Context, e job.Entry) error
	// Seen says that a shard was followed up to a number.
	Seen(shard string, revision uint64)
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
			for ctx.Err() == nil {
				if err := j.followShard(ctx, strconv.Itoa(shard), list); err != nil && ctx.Err() == nil {
					j.log.Warn("following the jobs' records for lists", "shard", shard, "error", err)
				}
				pauseFor(ctx, sweepAgain)
			}
		})
	}
	return nil
}

func (j *Jobs) followShard(ctx context.Context, shard string, list Listing) error {
	name := recordStream + shard
	stream, err := j.store.stream(ctx, name)
	if err != nil {
		return err
	}
	info, err := stream.Info(ctx)
	if err != nil {
		j.store.forget(name)
		return err
	}
	from, err := list.From(ctx, shard, info.Created.UTC().Format(time.RFC3339Nano))
	if err != nil {
		return err
	}
	config := jetstream.OrderedConsumerConfig{HeadersOnly: true, DeliverPolicy: jetstream.DeliverAllPolicy}
	if from > 0 {
		config.DeliverPolicy, config.OptStartSeq = jetstream.DeliverByStartSequencePolicy, from
	}
	consumer, err := stream.OrderedConsumer(ctx, config)
	if err != nil {
		j.store.forget(name)
		return err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, messages.Stop)
	defer stop()
	for {
		msg, err := messages.Next()
		if err != nil {
			j.store.forget(name)
			return err
		}
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
			list.Seen(shard, meta.Sequence.Stream)
		}
	}
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
