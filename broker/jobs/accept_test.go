package jobs_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/records"
	"headrace/internal/brokertest"
	"headrace/internal/job"
)

// An idempotency key belongs to the first job that claims it.
func TestKeyBelongsToItsFirstJob(t *testing.T) {
	t.Parallel()
	b := brokertest.New(t, brokertest.Options{})
	desk := b.Desk(0)
	won := make(chan job.ID, 100)
	var asking sync.WaitGroup
	for range cap(won) {
		asking.Go(func() {
			id, _, err := desk.Key(t.Context(), "route", "key", job.NewID(time.Now()), "f", time.Hour)
			if err != nil {
				t.Error(err)
			}
			won <- id
		})
	}
	asking.Wait()
	first := <-won
	for range cap(won) - 1 {
		if id := <-won; id != first {
			t.Errorf("the key belongs to %s and to %s", first, id)
		}
	}
	if id, _, err := desk.Key(t.Context(), "another route", "key", "mine", "f", time.Hour); err != nil || id != "mine" {
		t.Errorf("the key of another scope belongs to %s, %v", id, err)
	}
}

// A front end tells what it has accepted.
func TestPlacedIsTold(t *testing.T) {
	t.Parallel()
	b := brokertest.New(t, brokertest.Options{})
	desk := b.Desk(0)
	nc, err := nats.Connect("", b.Server.InProcess())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	told, err := nc.SubscribeSync("hr.job.placed")
	if err != nil {
		t.Fatal(err)
	}
	first := b.Accept(desk, brokertest.Record("jobs"), `"a"`) // which makes the streams, and may have to be repeated until they exist
	second := brokertest.Record("jobs")
	for records.ShardOf(string(second.ID)) != records.ShardOf(string(first.ID)) {
		second.ID = job.NewID(time.Now())
	}
	b.Accept(desk, second, `"b"`)
	want := fmt.Sprintf("%s %d\n", second.ID, second.Revision)
	for {
		msg, err := told.NextMsg(20 * time.Second)
		if err != nil {
			t.Fatalf("%q is not told: %v", want, err)
		}
		if bytes.Contains(msg.Data, []byte(want)) {
			return
		}
	}
}

// A job that is cancelled leaves the leases of other jobs alone: those that are not acknowledged come back.
func TestCancelLeavesOtherLeases(t *testing.T) {
	t.Parallel()
	b := brokertest.New(t, brokertest.Options{})
	desk := b.Desk(0)
	const n = 10
	for range n {
		b.Accept(desk, brokertest.Record("jobs"), `"x"`)
	}
	stream, consumer := b.Queue("jobs", job.Standard)
	config := consumer.CachedInfo().Config
	config.AckWait = 2 * time.Second
	consumer, err := stream.CreateOrUpdateConsumer(t.Context(), config)
	if err != nil {
		t.Fatal(err)
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
	if rec, err := desk.Cancel(t.Context(), job.ID(id)); err != nil || rec.State != job.Cancelled {
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
