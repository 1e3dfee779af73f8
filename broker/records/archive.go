package records

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	"headrace/broker/link"
	"headrace/internal/job"
)

// Archive is everything that one connection reaches of jobs, in four parts. The rooms that use it know no streams, subjects,
// headers or error codes.
type Archive struct {
	// Store has the records, the bodies and the entries in work queues: what is read and written for one job.
	Store *Store
	// Queues has the work queues as a whole: positions, depths, leftovers.
	Queues *Queues
	// Journal has the records in the order in which they were written.
	Journal *Journal
	// Wire carries what processes tell each other of jobs. Nothing depends on it: a lost message costs a read.
	Wire *Wire

	link *link.Link
}

// Options are what users of an Archive differ in. The zero value is of use.
type Options struct {
	Events link.Events
	Timer  StoreTimer // nil: no times are taken
	Shared Shared
	// Full reports whether the disk is full; nothing is removed then. nil: not known.
	Full func() bool
}

// Open connects under a name, waiting for the broker as long as ctx allows. Close the archive when it is no longer needed.
func Open(ctx context.Context, dial link.Dial, name string, log *slog.Logger, o Options) (*Archive, error) {
	l, err := dial.Open(ctx, name, log, o.Events)
	if err != nil {
		return nil, err
	}
	s := NewStore(l, o.Timer, o.Shared)
	s.full = o.Full
	return &Archive{Store: s, Queues: &Queues{store: s, tooMany: make(map[int]bool)}, Journal: &Journal{s}, Wire: &Wire{nc: l.NC}, link: l}, nil
}

// Close ends the connection.
func (a *Archive) Close() { a.link.NC.Close() }

// Connected reports whether the connection stands now.
func (a *Archive) Connected() bool { return a.link.NC.IsConnected() }

// News reports whether the error that ended a Follow or a List is worth a log line: a lost connection has its own.
func (a *Archive) News(err error) bool { return a.link.News(err) }

// OpenStreams returns when all streams of records and bodies exist, or why one of them does not.
func (s *Store) OpenStreams(ctx context.Context) error {
	for shard := range Shards {
		for _, kind := range []string{recordStream, dataStream} {
			if _, err := s.stream(ctx, kind+strconv.Itoa(shard)); err != nil {
				return err
			}
		}
	}
	return nil
}

// usedPatience bounds how long a new job waits to learn how much is used.
const usedPatience = time.Second

// Used returns the share that is used of the streams that would hold a job, of their bytes or messages, whichever is larger.
// After an error it is what is known of the first one.
func (s *Store) Used(ctx context.Context, id job.ID) (share float64, err error) {
	for _, kind := range []string{recordStream, dataStream} {
		ctx, cancel := context.WithTimeout(ctx, usedPatience)
		used, err := s.used(ctx, kind+ShardOf(string(id)))
		cancel()
		if err != nil {
			return share, err
		}
		share = max(share, used)
	}
	return share, nil
}

func (s *Store) used(ctx context.Context, name string) (share float64, err error) {
	stream, err := s.stream(ctx, name)
	if err != nil {
		return 0, err
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return 0, err
	}
	if most := info.Config.MaxBytes; most > 0 {
		share = float64(info.State.Bytes) / float64(most)
	}
	if most := info.Config.MaxMsgs; most > 0 {
		share = max(share, float64(info.State.Msgs)/float64(most))
	}
	return share, nil
}

// life is how long a message is kept; the server refuses less than a second.
func life(d time.Duration) time.Duration { return max(d, time.Second) }
