package records

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/link"
	"headrace/internal/job"
)

// Journal reads the records in the order in which they were written, headers only, and keeps which queues are paused. It has
// one part for each shard, "0" to Shards-1.
type Journal struct{ store *Store }

// Reader gets what a Follow reads. Its methods are called one after the other for a shard, and at the same time for several.
type Reader interface {
	// Begin is called before the first record of a shard, and again after a connection was lost.
	Begin(shard string)
	// Left is how many entries of a shard are still to be read: 0 when all that were there have been.
	Left(shard string, entries uint64)
	// Record gets a record that was written.
	Record(n *News)
	// Paused gets whether a route's jobs are stopped from being started.
	Paused(route string, paused bool)
	// PausesRead is called when all that is known of paused queues was passed to Paused.
	PausesRead()
}

// Follow passes every record of a shard to a reader, and every one that is written, until ctx ends or the connection is lost.
// It always begins with the first one.
func (j *Journal) Follow(ctx context.Context, shard string, to Reader) error {
	reconnects := j.store.link.Reconnects()
	stream, err := j.store.stream(ctx, recordStream+shard)
	if err != nil {
		return err
	}
	err = j.follow(ctx, shard, stream, reconnects, to)
	j.store.forget(recordStream + shard)
	return err
}

func (j *Journal) follow(ctx context.Context, shard string, stream jetstream.Stream, reconnects uint64, to Reader) error {
	if shard == pauseShard {
		if err := readPauses(ctx, stream, to); err != nil {
			return err
		}
	}
	to.Begin(shard)
	config := jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{prefixRecord + shard + ".*", prefixPause + shard + ".*"}, HeadersOnly: true, DeliverPolicy: jetstream.DeliverAllPolicy,
	}
	left := func(entries uint64) { to.Left(shard, entries) }
	return j.store.link.Follow(ctx, stream, config, reconnects, left, func(msg jetstream.Msg) error {
		defer func() {
			if meta, err := msg.Metadata(); err == nil {
				left(meta.NumPending)
			}
		}()
		if strings.HasPrefix(msg.Subject(), prefixPause) {
			tellPause(msg.Subject(), msg.Headers(), to)
			to.PausesRead()
			return nil
		}
		news, err := readNews(msg)
		if err != nil {
			return err
		}
		to.Record(news)
		return nil
	})
}

// readPauses reads which queues are paused.
func readPauses(ctx context.Context, stream jetstream.Stream, to Reader) error {
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(prefixPause+pauseShard+".*"))
	if err != nil {
		return fmt.Errorf("paused queues: %w", err)
	}
	for subject := range info.State.Subjects {
		msg, err := stream.GetLastMsgForSubject(ctx, subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("paused queues: %w", err)
		}
		tellPause(subject, msg.Header, to)
	}
	to.PausesRead()
	return nil
}

func tellPause(subject string, header nats.Header, to Reader) {
	to.Paused(link.Untoken(subject[strings.LastIndexByte(subject, '.')+1:]), header.Get(headerPaused) == "true")
}

// Pause stores whether the jobs of a route are stopped from being started. It returns ErrFull when the disk or the stream is
// full.
func (j *Journal) Pause(ctx context.Context, route string, paused bool) error {
	msg := nats.NewMsg(pauseSubject(route))
	msg.Header.Set(headerPaused, strconv.FormatBool(paused))
	return j.store.publish(ctx, recordStream+pauseShard, msg)
}

// ForgetPauses removes all but the last of what Pause stored for a route.
func (j *Journal) ForgetPauses(ctx context.Context, route string) error {
	return j.store.keepLast(ctx, recordStream+pauseShard, pauseSubject(route))
}

func pauseSubject(route string) string { return prefixPause + pauseShard + "." + link.Token(route) }

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

// List passes the records of a shard to a list, from the one after the last it has seen, until ctx ends, the list fails, or
// the connection is lost. unlisted gets the error of each record that says nothing for lists; the list does not get these.
func (j *Journal) List(ctx context.Context, shard string, list Listing, unlisted func(error)) error {
	name, reconnects := recordStream+shard, j.store.link.Reconnects()
	stream, err := j.store.stream(ctx, name)
	if err != nil {
		return err
	}
	err = j.list(ctx, shard, stream, reconnects, list, unlisted)
	j.store.forget(name)
	return err
}

func (j *Journal) list(ctx context.Context, shard string, stream jetstream.Stream, reconnects uint64, list Listing, unlisted func(error)) error {
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
	return j.store.link.Follow(ctx, stream, config, reconnects, nil, func(msg jetstream.Msg) error {
		entry, ok, err := readEntry(msg)
		if err != nil {
			unlisted(err)
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
	})
}

// writtenAfter returns the number of the first message that was written after a time; 0 when there is none.
func writtenAfter(ctx context.Context, stream jetstream.Stream, at time.Time) (number uint64, err error) {
	at = at.Add(time.Nanosecond)
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		HeadersOnly: true, DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &at,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: StorePatience, Replicas: 1,
	})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, stream.DeleteConsumer(ctx, consumer.CachedInfo().Name)) }()
	if consumer.CachedInfo().NumPending == 0 {
		return 0, nil
	}
	msg, err := consumer.Next(jetstream.FetchMaxWait(StorePatience))
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
func (j *Journal) Written(ctx context.Context) (map[string]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, StorePatience)
	defer cancel()
	written := make(map[string]uint64, Shards)
	for shard := range Shards {
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
			return nil, err
		}
	}
	return written, nil
}
