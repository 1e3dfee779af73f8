package keeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/singleflight"

	"headrace/broker/link"
)

// Keeper creates streams when a front end or a worker first asks for one, and gives lanes their consumers. It runs in the
// broker role and is the only one that does either. It works the same on the embedded and on an external server.
type Keeper struct {
	dial   link.Dial
	owners []Streams
	log    *slog.Logger

	said link.Said
	gate link.Gate

	making singleflight.Group // by stream

	since      time.Time // when this keeper was made
	tellTheirs sync.Once

	mu      sync.Mutex
	silence silence
}

// Streams knows the configuration of some streams.
type Streams interface {
	// Config is the configuration that a stream should have; ok is false for the streams of other owners.
	Config(stream string) (config jetstream.StreamConfig, ok bool)
	// Always lists the streams that are made at the start, not when they are first used.
	Always() []string
	// Changed receives when configurations have changed, so that existing streams follow; nil when they never change.
	Changed() <-chan struct{}
}

// New returns a Keeper of the streams that owners know. It validates dial and starts nothing.
func New(dial link.Dial, log *slog.Logger, owners ...Streams) (*Keeper, error) {
	if err := dial.Validate(); err != nil {
		return nil, err
	}
	if len(owners) == 0 {
		return nil, errors.New("broker: a keeper without streams")
	}
	return &Keeper{dial: dial, owners: owners, log: log, since: time.Now(), silence: make(silence)}, nil
}

// Run answers requests until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	if s := k.dial.Server; s != nil {
		select {
		case <-s.Ready():
		case <-ctx.Done():
			return nil
		}
	}
	l, err := k.dial.Open(ctx, "keeper", k.log, link.Events{})
	if err != nil {
		return link.Stopped(ctx, err)
	}
	defer l.NC.Close()
	asked := make(chan *nats.Msg, 256)
	sub, err := l.NC.ChanQueueSubscribe(link.SubjectEnsure, link.QueueKeepers, asked)
	if err != nil {
		return fmt.Errorf("broker: keeper: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection closes next
	lanes := &laneKeeper{js: l.JS, log: k.log, rooms: make(map[string]*laneRoom), ensure: func(ctx context.Context, stream string) error {
		return k.ensure(ctx, l, stream)
	}}
	defer lanes.running.Wait()
	wished := make(chan *nats.Msg, 4096)
	sub, err = l.NC.ChanQueueSubscribe(link.SubjectWish, link.QueueKeepers, wished)
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
	for _, owner := range k.owners {
		lanes.running.Go(func() { k.follow(ctx, l, owner) })
	}
	lanes.running.Go(func() { k.makeStreams(ctx, l) })
	for {
		select {
		case <-ctx.Done():
			return nil
		case msg := <-asked:
			lanes.running.Go(func() { k.answer(ctx, l, msg) }) // one stream that takes long delays no other
		}
	}
}

// follow updates an owner's existing streams at the start, since nothing else asks for a stream that exists, and when their
// configurations change.
func (k *Keeper) follow(ctx context.Context, l *link.Link, owner Streams) {
	k.adapt(ctx, l, owner)
	for {
		select {
		case <-ctx.Done():
			return
		case <-owner.Changed():
		}
		k.adapt(ctx, l, owner)
	}
}

// adapt gives an owner's existing streams the configurations that they should have.
func (k *Keeper) adapt(ctx context.Context, l *link.Link, owner Streams) {
	names := l.JS.StreamNames(ctx)
	for name := range names.Name() {
		if _, ours := owner.Config(name); !ours || ctx.Err() != nil {
			continue
		}
		if err := k.ensure(context.WithoutCancel(ctx), l, name); err != nil && ctx.Err() == nil {
			k.log.Warn("cannot change a stream", "stream", name, "error", err)
		}
	}
	if err := names.Err(); err != nil && ctx.Err() == nil {
		k.log.Warn("cannot list streams; those that exist keep their limits", "error", err)
	}
}

// config asks the owner that knows the stream.
func (k *Keeper) config(stream string) (config jetstream.StreamConfig, ok bool) {
	for _, owner := range k.owners {
		if config, ok = owner.Config(stream); ok {
			return config, true
		}
	}
	return config, false
}

func (k *Keeper) answer(ctx context.Context, l *link.Link, msg *nats.Msg) {
	text := ""
	// An operation that the server has begun should finish before the server is stopped.
	if err := k.ensure(context.WithoutCancel(ctx), l, string(msg.Data)); err != nil {
		if k.said.News(err) {
			k.log.Error("cannot create a stream", "stream", string(msg.Data), "error", err)
		}
		text = err.Error()
	}
	if msg.Reply == "" {
		return // the asker looks for itself
	}
	if err := msg.Respond([]byte(text)); err != nil {
		k.log.Warn("answering for a stream", "error", err)
	}
}

func (k *Keeper) ensure(ctx context.Context, l *link.Link, stream string) error {
	_, err, _ := k.making.Do(stream, func() (any, error) { return nil, k.ensureOnce(ctx, l, stream) })
	return err
}

func (k *Keeper) ensureOnce(ctx context.Context, l *link.Link, stream string) error {
	config, ok := k.config(stream)
	if !ok {
		return fmt.Errorf("unknown stream %q", stream)
	}
	if err := k.recent(stream); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	// A stream that is as it should be is left alone: every process asks for it, and an update takes the server longer.
	existing, err := l.Look(ctx, stream)
	if errors.Is(err, link.ErrSilent) {
		return k.silent(ctx, l, config, err)
	}
	k.mu.Lock()
	k.silence.heard(stream)
	k.mu.Unlock()
	if err == nil {
		return k.update(ctx, l, existing.CachedInfo().Config, config)
	}
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("stream %s: %w", stream, err)
	}
	if server := k.dial.Server; server != nil && config.Storage == jetstream.FileStorage {
		if full := server.DiskFull(); full != nil {
			return full // the server would try, and leave half a stream behind
		}
	}
	return k.make(ctx, l, config)
}

// make makes a stream that is not there.
func (k *Keeper) make(ctx context.Context, l *link.Link, config jetstream.StreamConfig) error {
	if _, err := l.JS.CreateOrUpdateStream(ctx, decide(jetstream.StreamConfig{}, config, k.since).config); err != nil {
		return k.explain(err)
	}
	return nil
}

// update gives a stream the limits that it should have.
func (k *Keeper) update(ctx context.Context, l *link.Link, is, should jetstream.StreamConfig) error {
	d := decide(is, should, k.since)
	if d.theirs {
		k.tellTheirs.Do(func() {
			k.log.Warn("another broker role was started later with other settings; its limits of streams stand. "+
				"Give all broker roles the same broker.max_store, broker.durability and jobs.max_retained", "stream", is.Name)
		})
	}
	if !d.change {
		return nil
	}
	if _, err := l.JS.UpdateStream(ctx, d.config); err != nil {
		return k.explain(err)
	}
	return nil
}

// recent is why the servers did not answer for a stream a moment ago; nil when they did.
func (k *Keeper) recent(stream string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.silence.recent(stream, time.Now())
}

// silent notes that the servers do not answer for a stream. One that is in memory only is made again when it is lost with its
// server, as long as the other servers can make streams.
func (k *Keeper) silent(ctx context.Context, l *link.Link, config jetstream.StreamConfig, silent error) error {
	k.mu.Lock()
	lost := k.silence.met(&config, time.Now(), silent)
	k.mu.Unlock()
	if !lost {
		return silent
	}
	if _, err := l.JS.AccountInfo(ctx); err != nil {
		return silent // none of them leads
	}
	k.log.Warn("a stream in memory is lost with its server; it is made again", "stream", config.Name)
	deleting, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := l.JS.DeleteStream(deleting, config.Name); err != nil && deleting.Err() == nil {
		return fmt.Errorf("removing a lost stream: %w", err)
	} // otherwise it is removed, and the server that would say so is lost
	if err := k.make(ctx, l, config); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.silence.heard(config.Name)
	return nil
}

// explain says what to do about a stream that the server refuses. It leaves the stream's name out, because the reason is
// the same for all of them.
func (k *Keeper) explain(err error) error {
	api, ok := errors.AsType[*jetstream.APIError](err)
	if !ok || api.ErrorCode != insufficientStorage {
		return fmt.Errorf("creating or updating a stream: %w", err)
	}
	if k.dial.Server != nil {
		return fmt.Errorf("the streams of jobs do not fit in broker.max_store: %w", err)
	}
	return fmt.Errorf("the NATS server gives less storage than broker.max_store: lower it, or raise max_file_store of the server, "+
		"or the limit of its account: %w", err)
}

// makeAgain is the pause before streams that could not be made are tried again.
const makeAgain = time.Second

// makeStreams makes the streams that are needed at the start. It retries until all exist and the disk has room.
func (k *Keeper) makeStreams(ctx context.Context, l *link.Link) {
	for {
		err := k.makeOnce(ctx, l)
		if ctx.Err() != nil {
			return
		}
		if k.gate.Set(err) && k.said.News(err) {
			k.log.Error("no job can be accepted until this is repaired", "error", err)
		}
		if err == nil {
			return
		}
		link.PauseFor(ctx, makeAgain)
	}
}

func (k *Keeper) makeOnce(ctx context.Context, l *link.Link) error {
	for _, owner := range k.owners {
		for _, stream := range owner.Always() {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			// What the server has begun it should finish before it is stopped.
			if err := k.ensure(context.WithoutCancel(ctx), l, stream); err != nil {
				return err
			}
		}
	}
	if k.dial.Server != nil {
		return k.dial.Server.DiskFull()
	}
	return nil
}

// Ready is nil once the streams of jobs exist; otherwise it says why they do not.
func (k *Keeper) Ready() error {
	if open, reason := k.gate.Opened(); !open {
		return cmp.Or(reason, errors.New("the streams of jobs are being made"))
	}
	return nil
}

// insufficientStorage is the server's code for a stream that is larger than what is left.
const insufficientStorage = 10047
