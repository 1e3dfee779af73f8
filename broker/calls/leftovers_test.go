package calls_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/natsd"
	"headrace/broker/records"
	"headrace/broker/sweeper"
	"headrace/internal/job"
)

// queueRig is a broker on a directory, and a consumer of a route's jobs in place of a worker.
func queueRig(t *testing.T, dir string) (*jobRig, jetstream.Stream, jetstream.Consumer) {
	t.Helper()
	r := &jobRig{rig: bareRig(t), route: testRoute("jobs")}
	r.serveBrokerIn(dir, natsd.Config{MaxMemory: 64 << 20})
	r.keep()
	r.jobs = r.newJobs()
	nc, err := nats.Connect("", r.server.InProcess())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	rec := r.record()
	rec.ID = "waits"
	if _, _, err := r.jobs.Accept(t.Context(), rec, []byte(`"x"`), request(r.route, `"x"`)); err != nil { // the same one each time
		t.Fatal(err)
	}
	at := records.LaneOf(r.route, job.Standard)
	name, subject, durable := at.Stream, at.Subject, at.Consumer
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := js.CreateOrUpdateConsumer(t.Context(), name, jetstream.ConsumerConfig{
		Durable: durable, FilterSubject: subject, AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r, stream, consumer
}

// leased is the next message of the queue, acknowledged; "" when there is none.
func leased(t *testing.T, c jetstream.Consumer, within time.Duration) string {
	t.Helper()
	batch, err := c.Fetch(1, jetstream.FetchMaxWait(within))
	if err != nil {
		t.Fatal(err)
	}
	subject := ""
	for msg := range batch.Messages() {
		subject = msg.Subject()
		if err := msg.DoubleAck(t.Context()); err != nil {
			t.Error(err)
		}
	}
	return subject
}

// A broker that was killed may come back with messages in a work queue that their consumer holds for acknowledged: nobody
// is given them again. They are taken out, and a job that waits behind its own is queued once more.
func TestLeftoversOfAKilledBroker(t *testing.T) { //nolint:tparallel // its lives follow each other
	t.Parallel()
	dir, before := t.TempDir(), t.TempDir()
	messages := ""
	t.Run("accepted", func(t *testing.T) { //nolint:paralleltest // one life after the other
		_, stream, _ := queueRig(t, dir)
		messages = filepath.Join(dir, "jetstream", "$G", "streams", stream.CachedInfo().Config.Name, "msgs")
	})
	if err := os.CopyFS(before, os.DirFS(messages)); err != nil {
		t.Fatal(err)
	}
	t.Run("acknowledged", func(t *testing.T) { //nolint:paralleltest // one life after the other
		_, _, consumer := queueRig(t, dir)
		if got := leased(t, consumer, 10*time.Second); !strings.HasSuffix(got, ".waits") {
			t.Fatalf("got %q", got)
		}
	})
	if err := os.RemoveAll(messages); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(messages, os.DirFS(before)); err != nil { // the removal of the message was lost
		t.Fatal(err)
	}
	t.Run("killed", func(t *testing.T) { //nolint:paralleltest // one life after the other
		r, stream, consumer := queueRig(t, dir)
		info, err := stream.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if state := consumer.CachedInfo(); info.State.Msgs != 1 || state.NumPending != 0 || state.AckFloor.Stream != 1 {
			t.Fatalf("this is no leftover: %+v, %+v", info.State, state)
		}
		sweeper, err := sweeper.New(r.dial, r.shared.Syncs, r.disk(), r.log)
		if err != nil {
			t.Fatal(err)
		}
		background(t, sweeper.Run)
		if got := leased(t, consumer, 40*time.Second); !strings.HasSuffix(got, ".waits") {
			t.Errorf("got %q", got)
		}
		if info, err = stream.Info(t.Context()); err != nil || info.State.Msgs != 0 {
			t.Errorf("what is left: %+v, %v", info.State, err)
		}
	})
}

// A job that is cancelled takes nobody else's lease along: those that are not acknowledged come back.
func TestCancelLeavesOtherLeases(t *testing.T) {
	t.Parallel()
	r, stream, consumer := queueRig(t, t.TempDir())
	config := consumer.CachedInfo().Config
	config.AckWait = 2 * time.Second
	consumer, err := stream.CreateOrUpdateConsumer(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	const n = 10
	for range n - 1 { // there is one already
		r.accept(r.record(), `"x"`)
	}
	fetch := func(most int) (got []jetstream.Msg) {
		t.Helper()
		batch, err := consumer.Fetch(most, jetstream.FetchMaxWait(15*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		for msg := range batch.Messages() {
			got = append(got, msg)
		}
		return got
	}
	first := fetch(n)
	if len(first) != n {
		t.Fatalf("%d of %d jobs were leased", len(first), n)
	}
	id := first[7].Subject()[strings.LastIndexByte(first[7].Subject(), '.')+1:]
	if rec, err := r.jobs.Cancel(t.Context(), job.ID(id)); err != nil || rec.State != job.Cancelled {
		t.Fatalf("cancelling: %+v, %v", rec, err)
	}
	if err := first[8].DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again := fetch(n - 2); len(again) != n-2 {
		t.Errorf("%d leases came back, want %d", len(again), n-2)
	}
	if info, err := stream.Info(t.Context()); err != nil || info.State.Msgs != n-2 {
		t.Errorf("%+v, %v", info, err)
	}
}
