package calls_test

import (
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/link"
	"headrace/internal/lanetest"
)

// A server that is lost takes waiting requests along that only it has. They are sent again.
func TestLostRequestsAreSentAgain(t *testing.T) {
	t.Parallel()
	r := lanetest.NewRig(t, lanetest.OverTCP)
	route := lanetest.TestRoute("lost")
	handle, claimed, proceed := lanetest.Hold(r)
	r.Serve(1, handle, route)
	var callers sync.WaitGroup
	for _, text := range []string{`"first"`, `"second"`, `"third"`} {
		callers.Go(func() {
			res, err := r.Front.Call(t.Context(), route, lanetest.Request(route, text))
			if err != nil {
				t.Errorf("the call %s: %v", text, err)
			}
			res.Release()
		})
	}
	lanetest.Await(t, claimed, "claim")
	nc, err := nats.Connect(r.Dial.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	waiting := func() uint64 {
		stream, err := js.Stream(t.Context(), link.LaneOf(route).Stream)
		if err != nil {
			t.Error(err)
			return 0
		}
		return stream.CachedInfo().State.Msgs
	}
	if !lanetest.Eventually(func() bool { return waiting() == 2 }) {
		t.Fatalf("%d requests wait, want 2", waiting())
	}
	stream, err := js.Stream(t.Context(), link.LaneOf(route).Stream)
	if err == nil {
		err = stream.Purge(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if !lanetest.Eventually(func() bool { return waiting() == 2 }) {
		t.Errorf("%d of 2 lost requests were sent again", waiting())
	}
	t.Logf("sent again after %s", time.Since(began).Round(time.Millisecond))
	close(proceed)
	callers.Wait()
}
