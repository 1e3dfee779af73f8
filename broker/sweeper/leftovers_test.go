package sweeper_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headrace/internal/brokertest"
)

// waiting is a broker in dir with one waiting job, the same one each time, and its queue.
func waiting(t *testing.T, dir string) (*brokertest.Broker, jetstream.Stream, jetstream.Consumer) {
	t.Helper()
	b := brokertest.New(t, brokertest.Options{Dir: dir})
	rec := brokertest.Record("jobs")
	rec.ID = "waits"
	if _, _, err := b.Desk(0).Accept(t.Context(), rec, []byte(`"x"`), brokertest.Request(rec.Route, `"x"`)); err != nil {
		t.Fatal(err)
	}
	stream, consumer := b.Queue(rec.Route, rec.Priority)
	return b, stream, consumer
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

// A broker that was killed may come back with messages in a work queue that their consumer holds for acknowledged: it does
// not deliver them again. They are taken out, and a job that waits behind its own is queued once more.
func TestLeftoversOfAKilledBroker(t *testing.T) { //nolint:tparallel // its lives follow each other
	t.Parallel()
	dir, before := t.TempDir(), t.TempDir()
	messages := ""
	t.Run("accepted", func(t *testing.T) { //nolint:paralleltest // one life after the other
		_, stream, _ := waiting(t, dir)
		messages = filepath.Join(dir, "jetstream", "$G", "streams", stream.CachedInfo().Config.Name, "msgs")
	})
	if err := os.CopyFS(before, os.DirFS(messages)); err != nil {
		t.Fatal(err)
	}
	t.Run("acknowledged", func(t *testing.T) { //nolint:paralleltest // one life after the other
		_, _, consumer := waiting(t, dir)
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
		b, stream, consumer := waiting(t, dir)
		info, err := stream.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if state := consumer.CachedInfo(); info.State.Msgs != 1 || state.NumPending != 0 || state.AckFloor.Stream != 1 {
			t.Fatalf("this is no leftover: %+v, %+v", info.State, state)
		}
		b.Sweeper()
		if got := leased(t, consumer, 40*time.Second); !strings.HasSuffix(got, ".waits") {
			t.Errorf("got %q", got)
		}
		if info, err = stream.Info(t.Context()); err != nil || info.State.Msgs != 0 {
			t.Errorf("what is left: %+v, %v", info.State, err)
		}
	})
}

// A broker that was killed may come back with the message of a job that has ended since. No worker asks for it, because
// it was never announced. It is taken out, and one of a waiting job is not.
func TestMessageOfAnEndedJobIsTakenOut(t *testing.T) {
	t.Parallel()
	b := brokertest.New(t, brokertest.Options{})
	desk := b.Desk(0)
	ended, waits := brokertest.Record("jobs"), brokertest.Record("jobs")
	ended.ID, waits.ID = "ended", "waits"
	b.Accept(desk, ended, `"x"`)
	b.Accept(desk, waits, `"y"`)
	stream, _ := b.Queue(ended.Route, ended.Priority)
	last, err := stream.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := desk.Cancel(t.Context(), ended.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := b.JetStream().Publish(t.Context(), last.Subject, last.Data); err != nil {
		t.Fatal(err)
	}
	b.Sweeper()
	at := time.Now().Add(60 * time.Second)
	for left := uint64(0); left != 1; {
		info, err := stream.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if left = info.State.Msgs; left != 1 && time.Now().After(at) {
			t.Fatalf("%d messages are left", left)
		}
		<-time.After(100 * time.Millisecond)
	}
	if msg, err := stream.GetLastMsgForSubject(t.Context(), strings.TrimSuffix(last.Subject, "ended")+"waits"); err != nil {
		t.Errorf("the waiting job's place: %v, %v", msg, err)
	}
}
