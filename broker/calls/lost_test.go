package calls_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/link"
	"headrace/internal/lanetest"
	"headrace/internal/natstest"
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

// The server that a front end is connected to is lost, and there are others: a call that no worker has claimed is not.
func TestWaitingCallsOutliveTheirConnection(t *testing.T) {
	t.Parallel()
	c := natstest.StartCluster(t, 3)
	r := lanetest.NewClusterRig(t, c, 3)
	r.Keep()
	way := natstest.NewSeverable(t, strings.TrimPrefix(c.Nodes[0].URL(), "nats://"))
	r.Front = r.NewFrontBy(link.Dial{URL: way.URL() + "," + c.Nodes[1].URL()})
	route := lanetest.TestRoute("waiting")
	handle, claimed, proceed := lanetest.Hold(r)
	r.Serve(1, handle, route)
	var first, second sync.WaitGroup
	call := func() error {
		res, err := r.Front.Call(t.Context(), route, lanetest.Request(route, `"x"`))
		res.Release()
		return err
	}
	first.Go(func() { _ = call() }) // it runs, so it may end with the connection
	lanetest.Await(t, claimed, "claim")
	second.Go(func() {
		if err := call(); err != nil {
			t.Errorf("the waiting call: %v", err)
		}
	})
	if !lanetest.Eventually(func() bool { return r.Front.State(route.Name).Waiting == 1 }) {
		t.Fatal("the second call does not wait")
	}
	for _, node := range c.Nodes {
		node.Blink()
	}
	way.Lose()
	first.Wait()
	close(proceed)
	second.Wait()
}
