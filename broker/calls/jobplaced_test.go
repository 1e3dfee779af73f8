package calls_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/records"
	"headrace/internal/job"
)

// A front end tells what it has accepted.
func TestPlacedIsTold(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, inProcess)
	nc, err := nats.Connect("", r.server.InProcess())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	told, err := nc.SubscribeSync(records.SubjectPlaced)
	if err != nil {
		t.Fatal(err)
	}
	first := r.accept(r.record(), `"a"`) // which makes the streams, and may have to be asked for again meanwhile
	second := r.record()
	for records.ShardOf(string(second.ID)) != records.ShardOf(string(first.ID)) {
		second.ID = job.NewID(time.Now())
	}
	r.accept(second, `"b"`)
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
