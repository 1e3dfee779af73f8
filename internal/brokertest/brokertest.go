// Package brokertest runs what the rooms below broker need in tests: a NATS server with the streams of jobs and rate limits,
// front ends, sweepers, and stores over connections of their own. Begin with New or Join.
package brokertest

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/jobs"
	"headrace/broker/keeper"
	"headrace/broker/limit"
	"headrace/broker/link"
	"headrace/broker/natsd"
	"headrace/broker/records"
	"headrace/broker/sweeper"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/job"
)

// Broker is a NATS server and the keeper of its streams. All that its methods start ends with the test.
type Broker struct {
	TB     testing.TB
	Dial   link.Dial
	Shared records.Shared // of the stores of one process
	Server *natsd.Server  // nil when the server is another process's
	Keeper *keeper.Keeper
	Log    *slog.Logger
}

// Options are what tests vary.
type Options struct {
	Dir    string         // of the server's files; "" = a temporary one
	TCP    bool           // the server is dialled over TCP; otherwise it has no port
	Server natsd.Config   // beyond the directory and the names of streams; a Durability of "" is Process
	Limits records.Limits // beyond Sync
	Log    *slog.Logger   // nil = warnings to the test's output
}

// New starts an embedded server.
func New(tb testing.TB, o Options) *Broker {
	tb.Helper()
	b := &Broker{TB: tb, Log: logOf(tb, o.Log)}
	cfg := o.Server
	cfg.DataDir, cfg.MaxMemory, cfg.MaxStore, cfg.Grace, cfg.Synced = o.Dir, 64<<20, 1<<30, 5*time.Second, records.SyncedStreams()
	if cfg.DataDir == "" {
		cfg.DataDir = tb.TempDir()
	}
	if cfg.Durability == "" {
		cfg.Durability = natsd.Process
	}
	if o.TCP {
		cfg.Listen = "127.0.0.1:0"
	}
	var err error
	if b.Server, err = natsd.New(cfg, b.Log); err != nil {
		tb.Fatal(err)
	}
	Background(tb, b.Server.Run)
	Await(tb, b.Server.Ready(), "server")
	b.Dial, b.Shared = link.Dial{Server: b.Server}, records.Shared{Syncs: records.NewSyncs()}
	if o.TCP {
		b.Dial, b.Shared = link.Dial{URL: "nats://" + b.Server.Addr()}, records.Shared{}
	}
	o.Limits.Sync = b.Server.Syncs()
	b.keep(o.Limits)
	return b
}

// Join uses a server of another process, which listens at url. A nil log writes warnings to the test's output.
func Join(tb testing.TB, url string, limits records.Limits, log *slog.Logger) *Broker {
	tb.Helper()
	b := &Broker{TB: tb, Dial: link.Dial{URL: url}, Log: logOf(tb, log)}
	b.keep(limits)
	return b
}

func logOf(tb testing.TB, log *slog.Logger) *slog.Logger {
	tb.Helper()
	if log != nil {
		return log
	}
	return slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func (b *Broker) keep(limits records.Limits) {
	b.TB.Helper()
	var err error
	if b.Keeper, err = keeper.New(b.Dial, b.Log, limits, limit.Streams{}); err != nil {
		b.TB.Fatal(err)
	}
	Background(b.TB, b.Keeper.Run)
}

// Disk is that of the embedded server; nil when the server is dialled over TCP.
func (b *Broker) Disk() sweeper.Disk {
	if b.Dial.Server == nil {
		return nil
	}
	return b.Server
}

// Desk runs a front end's desk. maxWaiting bounds the waiting jobs of a route; 0 is no bound.
func (b *Broker) Desk(maxWaiting int) *jobs.Desk {
	b.TB.Helper()
	desk, err := jobs.New(jobs.Config{Dial: b.Dial, Shared: b.Shared, MaxWaiting: maxWaiting, Log: b.Log})
	if err != nil {
		b.TB.Fatal(err)
	}
	Background(b.TB, desk.Run)
	return desk
}

// Sweeper runs a sweeper, which stop ends.
func (b *Broker) Sweeper() (s *sweeper.Sweeper, stop func()) {
	b.TB.Helper()
	s, err := sweeper.New(b.Dial, b.Shared.Syncs, b.Disk(), b.Log)
	if err != nil {
		b.TB.Fatal(err)
	}
	return s, Background(b.TB, s.Run)
}

// Store is a store over a connection of its own.
func (b *Broker) Store() *records.Store {
	b.TB.Helper()
	l, err := b.Dial.Open(b.TB.Context(), "test", b.Log, link.Events{})
	if err != nil {
		b.TB.Fatal(err)
	}
	b.TB.Cleanup(l.NC.Close)
	return records.NewStore(l, nil, b.Shared)
}

// JetStream is a connection to an embedded server.
func (b *Broker) JetStream() jetstream.JetStream {
	b.TB.Helper()
	nc, err := nats.Connect("", b.Server.InProcess())
	if err != nil {
		b.TB.Fatal(err)
	}
	b.TB.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		b.TB.Fatal(err)
	}
	return js
}

// Accept fails the test unless the job is accepted. A busy machine may need longer to make the streams than a caller is
// kept waiting, so it asks again, for the same job.
func (b *Broker) Accept(desk *jobs.Desk, r *job.Record, item string) *job.Record {
	b.TB.Helper()
	for try := range 5 {
		again := *r
		got, fresh, err := desk.Accept(b.TB.Context(), &again, []byte(item), Request(r.Route, item))
		if err == nil && (fresh || try > 0) {
			*r = *got
			return r
		}
		if fault.CodeOf(err) != fault.NoWorkers {
			b.TB.Fatalf("accepting: fresh %t, %v", fresh, err)
		}
		b.TB.Logf("accepting: %v", err)
	}
	b.TB.Fatal("accepting: not in five tries")
	return nil
}

// Route is a route with no limit of calls.
func Route(name string) *inference.Route {
	return &inference.Route{
		Name: name, Type: inference.Embeddings, Provider: "mlflow-model-serving",
		SyncTimeout: time.Minute, MaxWaiting: 10_000, MaxWaitingBytes: 256 << 20, Slots: 1,
	}
}

// Request is a request with one item.
func Request(route, item string) *inference.Request {
	return &inference.Request{ID: "r1", Route: route, Type: inference.Embeddings, Items: [][]byte{[]byte(item)}}
}

// Record is a job's record as a front end makes it.
func Record(route string) *job.Record {
	return &job.Record{
		ID: job.NewID(time.Now()), Route: route, Provider: "mlflow-model-serving", Type: inference.Embeddings, Priority: job.Standard,
		Total: time.Hour, ResultTTL: time.Hour, Retry: job.Retry{MaxAttempts: 3}, Store: job.StoreBoth,
		Fingerprint: "f", Durability: "process",
	}
}

// RecordIn is Record with an id of a shard.
func RecordIn(shard, route string) *job.Record {
	for {
		if r := Record(route); records.ShardOf(string(r.ID)) == shard {
			return r
		}
	}
}

// Background runs f until stop is called or the test ends, and fails the test on its error.
func Background(tb testing.TB, f func(context.Context) error) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f(ctx); err != nil {
			tb.Errorf("Run: %v", err)
		}
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	tb.Cleanup(stop)
	return stop
}

// Eventually polls until is holds, and reports whether it did within 20 seconds.
func Eventually(is func() bool) bool {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); !is(); <-tick.C {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// Await receives from ch, or ends the test: a test must not hang because what it waits for went wrong.
func Await[T any](tb testing.TB, ch <-chan T, what string) T {
	tb.Helper()
	select {
	case got := <-ch:
		return got
	case <-time.After(20 * time.Second):
		tb.Fatalf("no %s came", what)
		return *new(T)
	}
}

// Book is a log that can be read while it is written.
type Book struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write is part of io.Writer.
func (b *Book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// Lines are those at level WARN and above.
func (b *Book) Lines() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Split(strings.TrimSpace(b.text.String()), "\n")
}

// Logger writes into the book.
func (b *Book) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelWarn}))
}
