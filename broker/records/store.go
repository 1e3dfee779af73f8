package records

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/link"
	"headrace/internal/fault"
	"headrace/internal/job"
)

const (
	// StorePatience bounds one read or write of the store.
	StorePatience = 5 * time.Second
)

var (
	// ErrNoJob reports that there is no job of an id, and that none is remembered.
	ErrNoJob = errors.New("there is no such job")
	// ErrNoBody reports that an input or a result is no longer stored.
	ErrNoBody = errors.New("it is not stored any more")
	// ErrUnreadable reports a stored record that this version cannot read.
	ErrUnreadable = errors.New("the record cannot be read by this version")
	// ErrDamaged reports stored bytes that differ from those that were written.
	ErrDamaged = errors.New("the stored bytes do not have the digest they were stored with")
	// ErrFull reports that a write was refused because a stream or the disk is full.
	ErrFull = errors.New("the store is full")
	// ErrConflict reports that another writer has changed the record since it was read.
	ErrConflict = errors.New("the record has changed")
)

const (
	// changeTries is how often a change of a record is tried while other writers change it, with pauses that grow from
	// changePause to 32 times as much: about a second in all.
	changeTries = 16
	changePause = 4 * time.Millisecond
)

// Store reads and writes what is stored of jobs. It makes no decisions.
type Store struct {
	*streams

	timer  StoreTimer // nil: no times are taken
	recent *Recent    // nil: nothing is remembered
}

// Shared is what all stores of one process share.
type Shared struct {
	// Recent is what this process remembers of jobs; nil remembers nothing.
	Recent *Recent
	// Syncs is what this process knows to be on disk; nil gives each store its own.
	Syncs *Syncs
}

// NewStore returns a store over one connection. timer may be nil.
func NewStore(l *link.Link, timer StoreTimer, here Shared) *Store {
	return &Store{streams: newStreams(l, cmp.Or(here.Syncs, NewSyncs())), timer: timer, recent: here.Recent}
}

// Get reads a job's record. It returns ErrNoJob when there is none.
func (s *Store) Get(ctx context.Context, id job.ID) (*job.Record, error) {
	defer s.timed(storeRead)()
	ctx, cancel := context.WithTimeout(ctx, StorePatience)
	defer cancel()
	stream, err := s.stream(ctx, recordStream+ShardOf(string(id)))
	if err != nil {
		return nil, err
	}
	msg, err := stream.GetLastMsgForSubject(ctx, recordSubject(id))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, ErrNoJob
	}
	if err != nil {
		return nil, fmt.Errorf("reading job %s: %w", id, err)
	}
	r, err := readRecord(msg.Data, msg.Sequence)
	if err != nil {
		return nil, err
	}
	return r, s.Shown(ctx, r)
}

// Shown returns when a record may be shown to a caller: an end that a caller has seen must not be lost.
func (s *Store) Shown(ctx context.Context, r *job.Record) error {
	if !r.State.Terminal() {
		return nil
	}
	return s.Settle(ctx, r)
}

// writeRecord encodes a record for storage: a line of JSON, followed by the bytes of the input and the result that the
// record holds.
func writeRecord(r *job.Record) ([]byte, error) {
	text, err := encodeRecord(r)
	if err != nil {
		return nil, err
	}
	text = append(text, '\n')
	for _, body := range []*job.Body{r.Input, r.Result} {
		if body != nil {
			text = append(text, body.Inline...)
		}
	}
	return text, nil
}

func readRecord(data []byte, revision uint64) (*job.Record, error) {
	text, rest, _ := bytes.Cut(data, []byte{'\n'})
	r, err := decodeRecord(text)
	if err != nil {
		return nil, err
	}
	for _, body := range []*job.Body{r.Input, r.Result} {
		if body == nil || body.Parts > 0 {
			continue
		}
		if body.Bytes < 0 || body.Bytes > int64(len(rest)) {
			return nil, fmt.Errorf("%w: its body has %d bytes, want %d", ErrUnreadable, len(rest), body.Bytes)
		}
		body.Inline, rest = rest[:body.Bytes:body.Bytes], rest[body.Bytes:]
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%w: %d unexpected trailing bytes", ErrUnreadable, len(rest))
	}
	r.Revision = revision
	return r, nil
}

// Put writes a record on the condition that the stored one still has the revision that r was read at; 0 means that there is
// none. It sets the new revision. It returns ErrConflict when another writer was first. The write becomes durable a moment
// later: call Settle or Shown before you tell anyone of it.
func (s *Store) Put(ctx context.Context, r *job.Record, now time.Time) error {
	defer s.timed(storeWrite)()
	data, err := writeRecord(r)
	if err != nil {
		return fmt.Errorf("writing job %s: %w", r.ID, err)
	}
	ctx, cancel := context.WithTimeout(ctx, StorePatience)
	defer cancel()
	msg := nats.NewMsg(recordSubject(r.ID))
	msg.Data = data
	msg.Header.Set(headerState, string(r.State))
	msg.Header.Set(headerLane, queueSubject(r))
	msg.Header.Set(headerRun, strconv.Itoa(r.Run))
	list, err := listedOf(r)
	if err != nil {
		return fmt.Errorf("writing job %s: %w", r.ID, err)
	}
	msg.Header.Set(headerList, list)
	if due := r.Due(); !due.IsZero() {
		msg.Header.Set(headerDue, strconv.FormatInt(due.UnixMilli(), 10))
	}
	opts := []jetstream.PublishOpt{jetstream.WithExpectLastSequencePerSubject(r.Revision)}
	if life := r.Life(now); life > 0 {
		opts = append(opts, jetstream.WithMsgTTL(max(life, time.Second)))
	}
	tag := s.recent.writing(r, len(data))
	if tag != "" {
		msg.Header.Set(headerTag, tag)
	}
	ack, err := s.write(ctx, recordStream+ShardOf(string(r.ID)), msg, opts...)
	if err != nil {
		s.recent.written(r.ID, tag, 0)
	}
	if link.WrongLast(err) {
		return ErrConflict
	}
	if err != nil {
		return fmt.Errorf("writing job %s: %w", r.ID, err)
	}
	r.Revision = ack.Sequence
	s.recent.written(r.ID, tag, r.Revision)
	return nil
}

// Settle returns when a record, as it was written or read, is durable. A broker that lost its power takes longer to return
// than Settle waits, so the broker that answers has everything that was written to it.
func (s *Store) Settle(ctx context.Context, r *job.Record) error {
	ctx, cancel := context.WithTimeout(ctx, StorePatience)
	defer cancel()
	return s.durable(ctx, recordStream+ShardOf(string(r.ID)), r.Revision)
}

// Change reads a record, applies move and writes the result, repeating while other writers change it too. It stops when
// move fails, or reports with same that there is nothing to write.
func (s *Store) Change(ctx context.Context, id job.ID, move func(*job.Record, time.Time) (same bool, err error)) (*job.Record, error) {
	return s.ChangeFrom(ctx, id, nil, move)
}

// ChangeFrom is Change for a caller that already has the record, which it must not use afterwards. A nil record is read
// first. After changeTries it gives up with a fault of code NoWorkers, and nothing of the move is written.
func (s *Store) ChangeFrom(ctx context.Context, id job.ID, r *job.Record, move func(*job.Record, time.Time) (same bool, err error)) (*job.Record, error) {
	for try := range changeTries {
		if r == nil || try > 0 {
			var err error
			if r, err = s.Get(ctx, id); err != nil {
				return nil, err
			}
		}
		now := time.Now().UTC()
		same, err := move(r, now)
		if err != nil || same {
			return r, err
		}
		err = s.Put(ctx, r, now)
		if !errors.Is(err, ErrConflict) {
			return r, err
		}
		if try > 0 { // the first conflict may only mean that r was old
			link.PauseFor(ctx, rand.N(changePause<<min(try, 5)))
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	f := fault.Wrap(fault.NoWorkers, ErrConflict, "job %s was not changed, because other changes kept coming first; try again", id)
	f.RetryAfter = time.Second
	return nil, f
}

// UnlessConflict ignores ErrConflict: another writer was first, and its version stands.
func UnlessConflict(err error) error {
	if errors.Is(err, ErrConflict) {
		return nil
	}
	return err
}
