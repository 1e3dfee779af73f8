package jobs

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/job"
)

// followAgain is the pause after a failure before a stream is followed again.
const followAgain = time.Second

// Listing gets the entry of every record that is written.
type Listing interface {
	// From returns the number after the last one that was seen of a shard; 0 means the beginning. stream names the stream that
	// the numbers are of, and still reports whether the last message seen is still in that stream. Entries of another
	// stream of the same shard, or of a stream that has lost that message, must be forgotten.
	From(ctx context.Context, shard, stream string, still func(revision uint64, at time.Time) (bool, error)) (uint64, error)
	// Note takes an entry. After an error From is called again.
	Note(ctx context.Context, e job.Entry) error
	// Seen says that a shard was followed up to a number, which was written at the given time.
	Seen(shard string, revision uint64, at time.Time)
}

// Follow passes every job, and every change of one, to list until ctx ends. It begins with what was written before.
func (j *Desk) Follow(ctx context.Context, list Listing) error {
	select {
	case <-j.ready:
	case <-ctx.Done():
		return nil
	}
	var running sync.WaitGroup
	defer running.Wait()
	for shard := range records.Shards {
		running.Go(func() {
			var said link.Said
			for ctx.Err() == nil {
				err := j.followShard(ctx, strconv.Itoa(shard), list)
				if ctx.Err() == nil && j.store.Link.News(err) && said.News(err) && j.gate.Shut() == nil {
					j.log.Warn("following the jobs' records for lists", "shard", shard, "error", err)
				}
				link.PauseFor(ctx, followAgain)
			}
		})
	}
	return nil
}

func (j *Desk) followShard(ctx context.Context, shard string, list Listing) error {
	name, reconnects := records.RecordStream+shard, j.store.Link.Reconnects()
	stream, err := j.store.Stream(ctx, name)
	if err != nil {
		return err
	}
	err = j.followStream(ctx, shard, stream, reconnects, list)
	j.store.Forget(name)
	return err
}

func (j *Desk) followStream(ctx context.Context, shard string, stream jetstream.Stream, reconnects uint64, list Listing) error {
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
	return j.store.Link.Follow(ctx, stream, config, reconnects, nil, func(msg jetstream.Msg) error { return j.tell(ctx, shard, msg, list) })
}

func (j *Desk) tell(ctx context.Context, shard string, msg jetstream.Msg, list Listing) error {
	entry, ok, err := records.ReadEntry(msg)
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

// writtenAfter returns the number of the first message that was written after a time; 0 when there is none.
func writtenAfter(ctx context.Context, stream jetstream.Stream, at time.Time) (number uint64, err error) {
	at = at.Add(time.Nanosecond)
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		HeadersOnly: true, DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &at,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: records.StorePatience, Replicas: 1,
	})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, stream.DeleteConsumer(ctx, consumer.CachedInfo().Name)) }()
	if consumer.CachedInfo().NumPending == 0 {
		return 0, nil
	}
	msg, err := consumer.Next(jetstream.FetchMaxWait(records.StorePatience))
	if err != nil {
		return 0, err
	}
	meta, err := msg.Metadata()
	if err != nil {
		return 0, err
	}
	return meta.Sequence.Stream, nil
}

// Written returns the number of the last record that was written, by shard.
func (j *Desk) Written(ctx context.Context) (map[string]uint64, error) {
	if err := j.await(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, records.StorePatience)
	defer cancel()
	written := make(map[string]uint64, records.Shards)
	for shard := range records.Shards {
		name := records.RecordStream + strconv.Itoa(shard)
		stream, err := j.store.Stream(ctx, name)
		if err == nil {
			var info *jetstream.StreamInfo
			if info, err = stream.Info(ctx); err == nil {
				written[strconv.Itoa(shard)] = info.State.LastSeq
			}
		}
		if err != nil {
			j.store.Forget(name)
			return nil, j.unread("", errors.Join(err))
		}
	}
	return written, nil
}
