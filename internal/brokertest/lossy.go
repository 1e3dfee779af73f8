package brokertest

import (
	"os"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/jobs"
	"headrace/broker/records"
	"headrace/internal/job"
	"headrace/internal/natstest"
)

// Lossy is a broker on another machine, which can lose what it wrote last.
type Lossy struct {
	*Broker

	Desk *jobs.Desk

	server     *natstest.Server
	dir, saved string
	shard      string // of the first job that was placed; "" before
}

// NewLossy starts one, and a desk.
func NewLossy(tb testing.TB) *Lossy {
	tb.Helper()
	dir := tb.TempDir()
	server := natstest.Start(tb, natstest.Options{Dir: dir})
	l := &Lossy{Broker: Join(tb, server.URL(), records.Limits{MaxStore: 64 << 20}, nil), server: server, dir: dir, saved: tb.TempDir()}
	l.Shared = records.Shared{Recent: records.NewRecent(1 << 20)}
	l.Desk = l.Broker.Desk(0)
	return l
}

// Save remembers what is on disk now.
func (l *Lossy) Save() {
	l.TB.Helper()
	l.server.Stop()
	if err := os.CopyFS(l.saved, os.DirFS(l.dir)); err != nil {
		l.TB.Fatal(err)
	}
	l.server.Restart(nil)
}

// Lose starts the broker with what was saved.
func (l *Lossy) Lose() {
	l.TB.Helper()
	l.server.Stop()
	if err := os.RemoveAll(l.dir); err != nil {
		l.TB.Fatal(err)
	}
	if err := os.CopyFS(l.dir, os.DirFS(l.saved)); err != nil {
		l.TB.Fatal(err)
	}
	l.server.Restart(nil)
}

// Place accepts a job once the broker is back. All jobs are of one shard.
func (l *Lossy) Place(item string, priority job.Priority) *job.Record {
	l.TB.Helper()
	var got *job.Record
	var err error
	if !Eventually(func() bool {
		r := Record("numbers")
		if l.shard != "" {
			r = RecordIn(l.shard, "numbers")
		}
		r.Priority = priority
		got, _, err = l.Desk.Accept(l.TB.Context(), r, []byte(item), Request(r.Route, item))
		return err == nil
	}) {
		l.TB.Fatal(err)
	}
	l.shard = records.ShardOf(string(got.ID))
	return got
}

// Queue is a route's jobs of one priority as a worker sees them: their stream and a consumer in place of the worker's. The
// stream must exist.
func (b *Broker) Queue(route string, priority job.Priority) (jetstream.Stream, jetstream.Consumer) {
	b.TB.Helper()
	js, lane := b.JetStream(), records.LaneOf(Route(route), priority)
	stream, err := js.Stream(b.TB.Context(), lane.Stream)
	if err != nil {
		b.TB.Fatal(err)
	}
	consumer, err := js.CreateOrUpdateConsumer(b.TB.Context(), lane.Stream, jetstream.ConsumerConfig{
		Durable: lane.Consumer, FilterSubject: lane.Subject, AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		b.TB.Fatal(err)
	}
	return stream, consumer
}
