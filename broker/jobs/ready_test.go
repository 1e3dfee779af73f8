package jobs_test

import (
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"headrace/broker/natsd"
	"headrace/broker/records"
	"headrace/internal/brokertest"
	"headrace/internal/fault"
	"headrace/internal/job"
	"headrace/internal/natstest"
)

// TestNotReadyWithoutStorage joins a NATS server that has less storage than broker.max_store: the front end is not ready and
// says why, a caller hears it, the log has it once, and it mends itself when the server is given more.
func TestNotReadyWithoutStorage(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t, natstest.Options{MaxStore: 64 << 20})
	book := new(brokertest.Book)
	b := brokertest.Join(t, server.URL(), records.Limits{MaxStore: 1 << 30}, book.Logger())
	keeper, desk := b.Keeper, b.Desk(0)
	const key = "broker.max_store"
	if !brokertest.Eventually(func() bool { return desk.Ready() != nil && strings.Contains(desk.Ready().Error(), key) }) {
		t.Fatalf("the front end is not ready because of %v, want a reason that names %s", desk.Ready(), key)
	}
	if err := keeper.Ready(); err == nil || !strings.Contains(err.Error(), key) {
		t.Errorf("the broker role: %v, want a reason that names %s", err, key)
	}
	for range 5 {
		_, _, err := desk.Accept(t.Context(), brokertest.Record("jobs"), []byte(`"x"`), brokertest.Request("jobs", `"x"`))
		if f := fault.From(err); f == nil || f.Code != fault.QueueFull || f.RetryAfter <= 0 || !strings.Contains(f.Message, key) {
			t.Fatalf("got %v, want queue_full that names %s and says when to come again", err, key)
		}
	}
	if _, err := desk.Written(t.Context()); fault.CodeOf(err) != fault.QueueFull || !strings.Contains(err.Error(), key) {
		t.Errorf("a list: %v, want queue_full that names %s", err, key)
	}
	said := 0
	for _, line := range book.Lines() {
		if strings.Contains(line, "level=ERROR") {
			said++
		}
	}
	if said > 2 { // one of each role, which have a log of their own elsewhere
		t.Errorf("the reason is logged %d times, want once for each role:\n%s", said, strings.Join(book.Lines(), "\n"))
	}
	server.Restart(func(o *natstest.Options) { o.MaxStore = 2 << 30 })
	if !brokertest.Eventually(func() bool { return desk.Ready() == nil && keeper.Ready() == nil }) {
		t.Fatalf("with enough storage: %v, %v", desk.Ready(), keeper.Ready())
	}
	b.Accept(desk, brokertest.Record("jobs"), `"x"`)
}

// TestQueuesAreCountedAfterRestart has a new front end ask at once how many wait.
func TestQueuesAreCountedAfterRestart(t *testing.T) {
	t.Parallel()
	b := brokertest.New(t, brokertest.Options{})
	_, stop := b.Sweeper()
	desk := b.Desk(0)
	const n = 50
	for range n {
		b.Accept(desk, brokertest.Record("jobs"), `"x"`)
	}
	stop()
	b.Sweeper()
	later := b.Desk(0)
	if err := later.Counted(t.Context()); err != nil {
		t.Fatal(err)
	}
	if lane := later.Queue("jobs")[job.Standard]; lane.Waiting != n {
		t.Errorf("%d jobs wait as far as is known, want %d", lane.Waiting, n)
	}
}

// A disk that cannot be synced refuses jobs, and goes on to do so when it says that all is well again: what it could not
// write is lost.
func TestFailedSyncIsNotForgotten(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	if !natsd.SyncOnRequest {
		t.Skip("the server syncs each write by itself here")
	}
	b := brokertest.New(t, brokertest.Options{Limits: records.Limits{MaxStore: 64 << 20}, Server: natsd.Config{
		Durability: natsd.Power, Flush: func(f *os.File) error {
			if broken.Load() {
				return errors.New("input/output error")
			}
			return f.Sync()
		},
	}})
	desk := b.Desk(0)
	rec := b.Accept(desk, brokertest.Record("jobs"), `"a"`)
	broken.Store(true)
	other := func() job.ID { // of the same shard
		for {
			if id := job.NewID(time.Now()); records.ShardOf(string(id)) == records.ShardOf(string(rec.ID)) {
				return id
			}
		}
	}
	first := other()
	for _, id := range []job.ID{first, first, other()} { // the second one finds what the first one left
		next := brokertest.Record("jobs")
		next.ID = id
		_, _, err := desk.Accept(t.Context(), next, []byte(`"b"`), brokertest.Request("jobs", `"b"`))
		if fault.CodeOf(err) != fault.NoWorkers || !strings.Contains(err.Error(), "check GET /v1/jobs/"+string(next.ID)) {
			t.Errorf("got %v", err)
		}
		broken.Store(false)
	}
}
