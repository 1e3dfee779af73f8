package limit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/link"
	"headrace/internal/inference"
)

const (
	windowStream = "LIMITWIN"
	countStream  = "LIMITCNT"
	prefixWindow = "hrl.w."
	prefixCount  = "hrl.c."

	// maxWindows bounds how many windows are remembered, over all routes and callers. Beyond it the oldest ones are
	// forgotten, and their callers start new ones.
	maxWindows = 200_000
	// limitPatience bounds how long a call waits for a slow broker to count it. A call does not wait for a broker that is away, nor
	// for limitPause after another one has waited in vain.
	limitPatience = time.Second
	limitPause    = time.Second
	// clockEvery is how often the server's clock is read.
	clockEvery = 10 * time.Second
)

// Limiter counts calls in fixed windows, exactly over all front ends that share a broker. A window begins with its first
// call, as in MLflow's gateway. Its beginning is a message, so that all front ends agree on it, and its length is
// measured by the server's clock. The count is a JetStream counter.
type Limiter struct {
	dial  link.Dial
	log   *slog.Logger
	ready chan struct{}
	link  *link.Link

	mu      sync.Mutex
	streams map[string]jetstream.Stream
	silent  time.Time     // when a call last waited in vain
	ahead   time.Duration // of the server's clock
	synced  time.Time
}

// New returns a Limiter that connects when Run is called. It validates dial.
func New(dial link.Dial, log *slog.Logger) (*Limiter, error) {
	if err := dial.Validate(); err != nil {
		return nil, err
	}
	return &Limiter{dial: dial, log: log, ready: make(chan struct{}), streams: make(map[string]jetstream.Stream)}, nil
}

// Run connects, waiting for the broker as long as it takes, and serves Take until ctx ends.
func (l *Limiter) Run(ctx context.Context) error {
	connection, err := l.dial.Open(ctx, "limits", l.log, link.Events{Lost: l.forget})
	if err != nil {
		return link.Stopped(ctx, err)
	}
	defer connection.NC.Close()
	l.link = connection
	close(l.ready)
	<-ctx.Done()
	return nil
}

// forget makes the next call look the streams up again: they are in memory and may have gone with the server.
func (l *Limiter) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.streams)
	l.synced = time.Time{}
}

// Take counts one call of key on route. ok is false when the calls of the window are used up; the next window begins
// after retryAfter. An error means that the call could not be counted.
func (l *Limiter) Take(ctx context.Context, route *inference.Route, key string) (ok bool, retryAfter time.Duration, err error) {
	if route.Limit == nil {
		return true, 0, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limitPatience, errSlow)
	defer cancel()
	select {
	case <-l.ready:
	case <-time.After(link.PresenceWait):
		return false, 0, errors.New("broker: limiter: the broker was not reached yet")
	}
	if !l.link.NC.IsConnected() {
		return false, 0, errors.New("broker: limiter: the broker is away")
	}
	l.mu.Lock()
	silent := time.Since(l.silent) < limitPause
	l.mu.Unlock()
	if silent {
		return false, 0, errors.New("broker: limiter: the broker did not answer a moment ago")
	}
	for again := range 2 {
		ok, retryAfter, err = l.take(ctx, route, key)
		if err == nil {
			return ok, retryAfter, nil
		}
		if ctx.Err() != nil {
			break
		}
		if again == 0 {
			l.forget()
		}
	}
	if errors.Is(context.Cause(ctx), errSlow) {
		l.report()
	}
	return false, 0, fmt.Errorf("broker: limiter: %w", err)
}

// errSlow ends the wait of a call for a slow broker.
var errSlow = errors.New("the broker does not answer")

// report makes the next calls not wait, and has the keeper look after the streams.
func (l *Limiter) report() {
	l.mu.Lock()
	l.silent = time.Now()
	l.mu.Unlock()
	for _, stream := range []string{windowStream, countStream} {
		if err := l.link.NC.Publish(link.SubjectEnsure, []byte(stream)); err != nil {
			l.log.Debug("the keeper is not told of a silent stream", "error", err)
		}
	}
}

func (l *Limiter) take(ctx context.Context, route *inference.Route, key string) (bool, time.Duration, error) {
	// A changed limit begins another window: what was counted by the old rule does not fit the new one.
	name := windowName(route, key)
	began, window, err := l.window(ctx, name, route.Limit.Window)
	if err != nil {
		return false, 0, err
	}
	n, err := l.count(ctx, prefixCount+name+"."+strconv.FormatUint(window, 10))
	if err != nil {
		return false, 0, err
	}
	if n <= uint64(max(route.Limit.Calls, 0)) {
		return true, 0, nil
	}
	now, err := l.now(ctx)
	if err != nil {
		return false, 0, err
	}
	return false, max(began.Add(route.Limit.Window).Sub(now), time.Millisecond), nil
}

func windowName(route *inference.Route, key string) string {
	rule := strconv.Itoa(route.Limit.Calls) + "/" + route.Limit.Window.String()
	sum := sha256.Sum256([]byte(route.Name + "\x00" + rule + "\x00" + key))
	return hex.EncodeToString(sum[:16])
}

// window returns the window of the present moment: when it began, and its number.
func (l *Limiter) window(ctx context.Context, name string, length time.Duration) (began time.Time, number uint64, err error) {
	stream, err := l.stream(ctx, windowStream)
	if err != nil {
		return began, 0, err
	}
	for {
		now, err := l.now(ctx)
		if err != nil {
			return began, 0, err
		}
		last := uint64(0)
		switch msg, err := stream.GetLastMsgForSubject(ctx, prefixWindow+name); {
		case errors.Is(err, jetstream.ErrMsgNotFound):
		case err != nil:
			return began, 0, fmt.Errorf("reading a window: %w", err)
		case now.Before(msg.Time.Add(length)):
			return msg.Time, msg.Sequence, nil
		default:
			last = msg.Sequence
		}
		ack, err := l.link.JS.Publish(ctx, prefixWindow+name, nil, jetstream.WithExpectLastSequencePerSubject(last))
		if link.WrongLast(err) {
			continue // another front end has begun it
		}
		if err != nil {
			return began, 0, fmt.Errorf("beginning a window: %w", err)
		}
		return now, ack.Sequence, nil
	}
}

// count adds one to a counter and returns its value.
func (l *Limiter) count(ctx context.Context, subject string) (uint64, error) {
	if _, err := l.stream(ctx, countStream); err != nil {
		return 0, err
	}
	msg := nats.NewMsg(subject)
	msg.Header.Set("Nats-Incr", "1")
	ack, err := l.link.JS.PublishMsg(ctx, msg)
	if err != nil {
		return 0, fmt.Errorf("counting: %w", err)
	}
	n, err := strconv.ParseUint(ack.Value, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("counting: %w", err)
	}
	return n, nil
}

// now returns the time of the server's clock, since the clocks of front ends on different machines differ.
func (l *Limiter) now(ctx context.Context) (time.Time, error) {
	l.mu.Lock()
	ahead, synced := l.ahead, l.synced
	l.mu.Unlock()
	if time.Since(synced) < clockEvery {
		return time.Now().Add(ahead), nil
	}
	stream, err := l.stream(ctx, windowStream)
	if err != nil {
		return time.Time{}, err
	}
	asked := time.Now()
	info, err := stream.Info(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("asking for the server's time: %w", err)
	}
	answered := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ahead, l.synced = info.TimeStamp.Sub(asked.Add(answered.Sub(asked)/2)), answered
	return answered.Add(l.ahead), nil
}

func (l *Limiter) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	l.mu.Lock()
	known := l.streams[name]
	l.mu.Unlock()
	if known != nil {
		return known, nil
	}
	fresh, err := l.link.Stream(ctx, name)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.streams[name] = fresh
	return fresh, nil
}

// Streams knows the streams of rate limits, for a keeper.
type Streams struct {
	Copies int // of each message on the servers of a cluster; 0 counts as 1
}

// Always is empty: the streams are made when they are first used.
func (Streams) Always() []string { return nil }

// Changed is nil: the configurations stay as they are.
func (Streams) Changed() <-chan struct{} { return nil }

// Config is the configuration of one of the streams; ok is false for other names.
func (s Streams) Config(name string) (config jetstream.StreamConfig, ok bool) {
	config = jetstream.StreamConfig{
		Name: name, Storage: jetstream.MemoryStorage, Replicas: max(s.Copies, 1), Discard: jetstream.DiscardOld,
		MaxMsgs: maxWindows, MaxMsgsPerSubject: 1,
	}
	switch name {
	case windowStream:
		config.Description = "Headrace: when windows of rate limits began"
		config.Subjects = []string{prefixWindow + "*"}
		config.AllowDirect = true
	case countStream:
		config.Description = "Headrace: calls in windows of rate limits"
		config.Subjects = []string{prefixCount + "*.*"}
		config.AllowMsgCounter = true
	default:
		return config, false
	}
	return config, true
}
