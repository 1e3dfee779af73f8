package broker

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/internal/fault"
	"headrace/internal/job"
)

const (
	// storePatience bounds one read or write of the store.
	storePatience = 5 * time.Second
)

var (
	// ErrNoJob says that there is no such job, and that none of that id is remembered.
	ErrNoJob = errors.New("there is no such job")
	// ErrNoBody says that an input or a result is not stored any more.
	ErrNoBody = errors.New("it is not stored any more")
	// errUnreadable says that what is stored as a record is none that this version can read.
	errUnreadable = errors.New("the record cannot be read by this version")
	// errDamaged says that stored bytes are not those that were stored.
	errDamaged = errors.New("the stored bytes do not have the digest they were stored with")
	// errConflict says that somebody else has written the record meanwhile.
	errConflict = errors.New("the record has changed")
)

const (
	// changeTries is how often a change of a record is tried while others write it too, with pauses that grow from changePause
	// to 32 times as much: about a second in all.
	changeTries = 16
	changePause = 4 * time.Millisecond
)

// jobStore reads and writes what is stored of jobs. It decides nothing.
type jobStore struct {
	link   *link
	timer  StoreTimer  // nil: nobody wants to know
	recent *RecentJobs // nil: nothing is remembered
	known  *Syncs
	full   func() bool // nil: nobody knows whether the disk is full

	mu      sync.Mutex
	life    int // of the connection that streams are known by
	streams map[string]jetstream.Stream
	syncs   map[string]*syncGroup // of streams whose writers have to ask for a sync
}

// Shared is what everything in a process that reads and writes jobs has in common.
type Shared struct {
	// Recent is what this process remembers of jobs; nil: nothing.
	Recent *RecentJobs
	// Syncs is what this process knows to be on disk; nil: each store finds out by itself.
	Syncs *Syncs
}

func newJobStore(l *link, timer StoreTimer, here Shared) *jobStore {
	return &jobStore{
		link: l, timer: timer, recent: here.Recent, known: cmp.Or(here.Syncs, NewSyncs()),
		streams: make(map[string]jetstream.Stream), syncs: make(map[string]*syncGroup),
	}
}

// stream gives a handle; the stream is made when it is used for the first time.
func (s *jobStore) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	life := s.known.life()
	s.mu.Lock()
	if life != s.life { // the broker may have come back with other streams
		clear(s.streams)
		s.life = life
	}
	known := s.streams[name]
	s.mu.Unlock()
	if known != nil {
		return known, nil
	}
	if err := s.link.ensure(ctx, name); err != nil {
		return nil, err
	}
	fresh, err := s.link.js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams[name] = fresh
	if fresh.CachedInfo().Config.Metadata[syncMark] != "" {
		s.syncs[name] = s.known.of(name)
	} else {
		delete(s.syncs, name)
	}
	return fresh, nil
}

// durable returns when what a stream has acknowledged up to number is as durable as it can be.
func (s *jobStore) durable(ctx context.Context, stream string, number uint64) error {
	s.mu.Lock()
	group := s.syncs[stream]
	s.mu.Unlock()
	if group == nil {
		return nil
	}
	return group.upTo(ctx, s.link, number)
}

// noRoom reports whether the disk is known to be full.
func (s *jobStore) noRoom() bool { return s.full != nil && s.full() }

// forget makes the next use ask for the stream again.
func (s *jobStore) forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, name)
}

// publish stores one message durably. The stream is made when there is none. After an error the message may be stored.
func (s *jobStore) publish(ctx context.Context, stream string, msg *nats.Msg, opts ...jetstream.PublishOpt) error {
	ack, err := s.write(ctx, stream, msg, opts...)
	if err == nil {
		err = s.durable(ctx, stream, ack.Sequence)
	}
	return err
}

// write is publish without the durability.
func (s *jobStore) write(ctx context.Context, stream string, msg *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if _, err := s.stream(ctx, stream); err != nil {
		return nil, err
	}
	ack, err := s.link.js.PublishMsg(ctx, msg, append(opts, jetstream.WithExpectStream(stream))...)
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		s.forget(stream)
	}
	return ack, err
}

func (s *jobStore) get(ctx context.Context, id job.ID) (*job.Record, error) {
	defer s.timed(storeRead)()
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	stream, err := s.stream(ctx, recordStream+jobShard(string(id)))
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
	return r, s.shown(ctx, r)
}

// shown returns when a record may be shown: an end that somebody has seen must not be lost.
func (s *jobStore) shown(ctx context.Context, r *job.Record) error {
	if !r.State.Terminal() {
		return nil
	}
	return s.settle(ctx, r)
}

// writeRecord makes what is stored of a record: a line of JSON, and behind it the input and the result, as far as the
// record holds them, as they are.
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
			return nil, fmt.Errorf("%w: it has %d bytes behind it, and should have %d", errUnreadable, len(rest), body.Bytes)
		}
		body.Inline, rest = rest[:body.Bytes:body.Bytes], rest[body.Bytes:]
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%w: %d bytes behind it are nobody's", errUnreadable, len(rest))
	}
	r.Revision = revision
	return r, nil
}

// put writes a record on the condition that it is still at the revision it was read at; 0 = that there is none.
// It sets the new revision. errConflict: somebody else was first. What is written is durable a moment later: whoever
// tells anybody of it asks for that, see settle and shown.
func (s *jobStore) put(ctx context.Context, r *job.Record, now time.Time) error {
	defer s.timed(storeWrite)()
	data, err := writeRecord(r)
	if err != nil {
		return fmt.Errorf("writing job %s: %w", r.ID, err)
	}
	ctx, cancel := context.WithTimeout(ctx, storePatience)
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
	ack, err := s.write(ctx, recordStream+jobShard(string(r.ID)), msg, opts...)
	if err != nil {
		s.recent.written(r.ID, tag, 0)
	}
	if wrongLast(err) {
		return errConflict
	}
	if err != nil {
		return fmt.Errorf("writing job %s: %w", r.ID, err)
	}
	r.Revision = ack.Sequence
	s.recent.written(r.ID, tag, r.Revision)
	return nil
}

// settle returns when a record is durable as it was written or read. It takes no longer than a machine that has lost its
// power takes to be back, so the broker that answers has all that the one that wrote it had.
func (s *jobStore) settle(ctx context.Context, r *job.Record) error {
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	return s.durable(ctx, recordStream+jobShard(string(r.ID)), r.Revision)
}

// wrongLast tells a failed condition from other errors.
func wrongLast(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == 10164)
}

// full tells the refusal of a stream that has reached a limit, or of a server whose disk is full.
func full(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == 10077 || api.ErrorCode == 10047 || api.ErrorCode == 10023)
}

// change reads a record, makes a move on it and writes it, again and again while others write it too. A move that
// leaves the state, or fails, ends it; same reports that nothing had to be written.
func (s *jobStore) change(ctx context.Context, id job.ID, move func(*job.Record, time.Time) (same bool, err error)) (*job.Record, error) {
	return s.changeFrom(ctx, id, nil, move)
}

// changeFrom is change for a caller that has read the record before and does not use it afterwards. A nil record is read
// first. It gives up after changeTries with a fault of code NoWorkers: nothing of the move is written then.
func (s *jobStore) changeFrom(ctx context.Context, id job.ID, r *job.Record, move func(*job.Record, time.Time) (same bool, err error)) (*job.Record, error) {
	for try := range changeTries {
		if r == nil || try > 0 {
			var err error
			if r, err = s.get(ctx, id); err != nil {
				return nil, err
			}
		}
		now := time.Now().UTC()
		same, err := move(r, now)
		if err != nil || same {
			return r, err
		}
		err = s.put(ctx, r, now)
		if !errors.Is(err, errConflict) {
			return r, err
		}
		if try > 0 { // the first time what was read before may just be old
			pauseFor(ctx, rand.N(changePause<<min(try, 5)))
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	f := fault.Wrap(fault.NoWorkers, errConflict, "job %s is being changed by others all the time, and this change was not made; try again", id)
	f.RetryAfter = time.Second
	return nil, f
}
