package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// maxStreamMessages bounds one shard; front ends refuse long before.
const maxStreamMessages = 1_000_000

// Keeper is the broker role's other half: it alone creates streams, when a front end or a worker first asks
// for one. It works the same on the embedded and on an external server.
type Keeper struct {
	dial   Dial
	jobs   JobLimits
	longer chan time.Duration
	log    *slog.Logger

	callLanes, jobLanes int // most consumers of one stream

	said said
	gate jobGate

	mu      sync.Mutex // held while streams are made
	maxWait time.Duration
}

// NewKeeper makes a keeper. maxWait is the longest synchronous wait of any route: the age at which a message
// that nobody claimed is dropped.
func NewKeeper(dial Dial, maxWait time.Duration, log *slog.Logger) (*Keeper, error) {
	if err := dial.Validate(); err != nil {
		return nil, err
	}
	if maxWait <= 0 {
		return nil, fmt.Errorf("broker: longest wait %s is not positive", maxWait)
	}
	return &Keeper{dial: dial, maxWait: maxWait, longer: make(chan time.Duration, 1), log: log, callLanes: maxCallLanes, jobLanes: maxJobLanes}, nil
}

// JobLimits bounds what is stored of jobs.
type JobLimits struct {
	MaxStore    int64 // bytes on disk, over all streams
	MaxRetained int   // records, over all streams
	Replicas    int   // copies of each stream; 0 counts as 1
	// Sync says that the server syncs what is asked for, and nothing else before it acknowledges.
	Sync bool
}

// KeepJobs sets the limits of the jobs' streams. It must be called before Run.
func (k *Keeper) KeepJobs(limits JobLimits) { k.jobs = limits }

// SetMaxWait changes the longest synchronous wait while the keeper runs. Messages may be kept for longer from
// then on, never shorter.
func (k *Keeper) SetMaxWait(maxWait time.Duration) {
	select {
	case <-k.longer: // an older one that nobody has taken
	default:
	}
	select {
	case k.longer <- maxWait:
	default:
	}
}

// Run answers until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	if s := k.dial.Server; s != nil {
		select {
		case <-s.Ready():
		case <-ctx.Done():
			return nil
		}
	}
	l, err := k.dial.dial(ctx, "keeper", k.log, linkEvents{})
	if err != nil {
		return stopped(ctx, err)
	}
	defer l.nc.Close()
	asked := make(chan *nats.Msg, 256)
	sub, err := l.nc.ChanQueueSubscribe(subjectEnsure, queueKeepers, asked)
	if err != nil {
		return fmt.Errorf("broker: keeper: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection closes next
	lanes := &laneKeeper{js: l.js, log: k.log, rooms: make(map[string]*laneRoom), ensure: func(ctx context.Context, stream string) error {
		return k.ensure(ctx, l, stream)
	}}
	defer lanes.running.Wait()
	wished := make(chan *nats.Msg, 4096)
	sub, err = l.nc.ChanQueueSubscribe(subjectLane, queueKeepers, wished)
	if err != nil {
		return fmt.Errorf("broker: keeper: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	lanes.running.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case msg := <-wished:
				lanes.take(ctx, msg)
			}
		}
	})
	var making sync.WaitGroup
	defer making.Wait()
	making.Go(func() { k.makeStreams(ctx, l) })
	for {
		select {
		case <-ctx.Done():
			return nil
		case msg := <-asked:
			k.answer(ctx, l, msg)
		case maxWait := <-k.longer:
			k.lengthen(ctx, l, maxWait)
		}
	}
}

// lengthen changes the streams that exist.
func (k *Keeper) lengthen(ctx context.Context, l *link, maxWait time.Duration) {
	k.mu.Lock()
	longer := maxWait > k.maxWait
	k.maxWait = max(maxWait, k.maxWait)
	k.mu.Unlock()
	if !longer {
		return
	}
	names := l.js.StreamNames(ctx)
	for name := range names.Name() {
		if _, ours := shardOfStream(name); !ours {
			continue
		}
		if err := k.ensure(ctx, l, name); err != nil {
			k.log.Error("cannot keep calls for longer", "stream", name, "error", err)
		}
	}
	if err := names.Err(); err != nil {
		k.log.Error("cannot list streams", "error", err)
	}
}

func (k *Keeper) answer(ctx context.Context, l *link, msg *nats.Msg) {
	text := ""
	// What the server has begun it should finish before it is stopped.
	if err := k.ensure(context.WithoutCancel(ctx), l, string(msg.Data)); err != nil {
		if k.said.news(err) {
			k.log.Error("cannot create a stream", "stream", string(msg.Data), "error", err)
		}
		text = err.Error()
	}
	if err := msg.Respond([]byte(text)); err != nil {
		k.log.Warn("answering for a stream", "error", err)
	}
}

func (k *Keeper) ensure(ctx context.Context, l *link, stream string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	config, ok := k.jobs.config(stream)
	if strings.HasPrefix(stream, queueStream) {
		config.MaxConsumers = k.jobLanes
	}
	if limits, counts := limitConfig(stream); counts {
		config, ok = limits, true
	}
	if shard, sync := shardOfStream(stream); sync {
		config, ok = k.syncConfig(stream, shard), true
	}
	if !ok {
		return fmt.Errorf("no stream of this version is called %q", stream)
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	// A stream that is as it should be is left alone: everybody asks for it, and an update takes the server longer.
	existing, err := l.js.Stream(ctx, stream)
	switch {
	case err == nil && sameLimits(existing.CachedInfo().Config, config):
		return nil
	case err != nil && !errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("stream %s: %w", stream, err)
	}
	if server := k.dial.Server; err != nil && server != nil && config.Storage == jetstream.FileStorage {
		if full := server.DiskFull(); full != nil {
			return full // the server would try, and leave half a stream behind
		}
	}
	if _, err := l.js.CreateOrUpdateStream(ctx, config); err != nil {
		return k.explain(err)
	}
	return nil
}

// explain says what to do about a stream that the server refuses. It leaves the stream's name out: the reason is the same
// for all of them.
func (k *Keeper) explain(err error) error {
	api, ok := errors.AsType[*jetstream.APIError](err)
	if !ok || api.ErrorCode != insufficientStorage {
		return fmt.Errorf("creating or updating a stream: %w", err)
	}
	if k.dial.Server != nil {
		return fmt.Errorf("the streams of jobs do not fit in broker.max_store: %w", err)
	}
	return fmt.Errorf("the NATS server gives less storage than broker.max_store (%d MiB): lower it, or raise max_file_store of the "+
		"server, or the limit of its account: %w", k.jobs.MaxStore>>20, err)
}

// makeStreams makes the streams of jobs, trying again until all are there and the disk has room.
func (k *Keeper) makeStreams(ctx context.Context, l *link) {
	for {
		err := k.makeOnce(ctx, l)
		if ctx.Err() != nil {
			return
		}
		if k.gate.set(err) && k.said.news(err) {
			k.log.Error("no job can be accepted until this is mended", "error", err)
		}
		if err == nil {
			return
		}
		pauseFor(ctx, sweepAgain)
	}
}

func (k *Keeper) makeOnce(ctx context.Context, l *link) error {
	for shard := range jobShards {
		for _, kind := range []string{recordStream, dataStream} {
			if err := k.ensure(ctx, l, kind+strconv.Itoa(shard)); err != nil {
				return err
			}
		}
	}
	for shard := range Shards {
		if err := k.ensure(ctx, l, queueStream+strconv.Itoa(shard)); err != nil {
			return err
		}
	}
	if k.dial.Server != nil {
		return k.dial.Server.DiskFull()
	}
	return nil
}

// Ready is nil once the streams of jobs are there; else it says why they are not.
func (k *Keeper) Ready() error {
	if open, reason := k.gate.opened(); !open {
		return cmp.Or(reason, errors.New("the streams of jobs are being made"))
	}
	return nil
}

// insufficientStorage is the server's code for a stream that is larger than what is left.
const insufficientStorage = 10047

// sameLimits compares what a configuration can change. Servers write -1 where we write nothing.
func sameLimits(is, should jetstream.StreamConfig) bool {
	limit := func(n int64) int64 { return max(n, 0) }
	return slices.Equal(is.Subjects, should.Subjects) && is.MaxAge == should.MaxAge && is.Replicas == should.Replicas && is.AllowDirect == should.AllowDirect &&
		limit(is.MaxBytes) == limit(should.MaxBytes) && limit(is.MaxMsgs) == limit(should.MaxMsgs) &&
		limit(is.MaxMsgsPerSubject) == limit(should.MaxMsgsPerSubject) &&
		limit(int64(is.MaxConsumers)) == limit(int64(should.MaxConsumers)) && is.Metadata[syncMark] == should.Metadata[syncMark]
}

func (k *Keeper) syncConfig(stream string, shard int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:         stream,
		Description:  "Headrace: synchronous requests that wait for a worker",
		Subjects:     []string{streamSubject(shard)},
		Retention:    jetstream.WorkQueuePolicy,
		Storage:      jetstream.MemoryStorage,
		Discard:      jetstream.DiscardNew,
		MaxMsgs:      maxStreamMessages,
		MaxAge:       k.maxWait,
		MaxConsumers: k.callLanes,
		Replicas:     1,
		AllowDirect:  true,
		Duplicates:   100 * time.Millisecond, // no message carries an id; the least the server allows
	}
}

// ensureTime bounds how long a stream is asked for.
const ensureTime = 3 * time.Second

// ensure is ensureStream for many at the same time: they ask once, because the keeper answers one after the other.
func (l *link) ensure(ctx context.Context, stream string) error {
	asked := l.ensuring.DoChan(stream, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ensureTime)
		defer cancel()
		return nil, ensureStream(ctx, l.nc, stream)
	})
	select {
	case result := <-asked:
		return result.Err
	case <-ctx.Done():
		return fmt.Errorf("no broker role answers: %w", context.Cause(ctx))
	}
}

// ensureStream asks the keeper for a stream and waits until it is there, as long as ctx allows. It asks again after
// a second: a question is lost with its connection.
func ensureStream(ctx context.Context, nc *nats.Conn, stream string) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, presenceWait)
		msg, err := nc.RequestWithContext(attempt, subjectEnsure, []byte(stream))
		cancel()
		switch {
		case err == nil && len(msg.Data) == 0:
			return nil
		case err == nil:
			return fmt.Errorf("%w: %s", errRefused, msg.Data)
		case ctx.Err() != nil:
			return fmt.Errorf("no broker role answers: %w", context.Cause(ctx))
		case errors.Is(err, nats.ErrConnectionClosed):
			return fmt.Errorf("this process stops: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no broker role answers: %w", context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}
