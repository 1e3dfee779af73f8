package calls_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"headrace/broker/link"
	"headrace/broker/runner"
	"headrace/internal/inference"
	"headrace/internal/lanetest"
)

// silence is the time within which a connection that carries nothing any more is noticed by both of its ends, with as much
// again for a machine that is busy.
const silence = 2 * 15 * time.Second

// A connection on which nothing arrives any more, and nothing says so, is given up by the worker; when the way is free again
// it comes back by itself.
func TestSilentBroker(t *testing.T) {
	t.Parallel()
	r := lanetest.NewRig(t, lanetest.OverTCP)
	way := lanetest.NewSeverable(t, r.Server.Addr())
	route := lanetest.TestRoute("silent")
	end, err := lanetest.NewWorker(link.Dial{URL: way.URL()}, nil, runner.Config{Bodies: r.Budget("bodies"), Log: r.Log})
	if err != nil {
		t.Fatal(err)
	}
	end.Serve(map[string]int{route.Name: 1})
	lanetest.Background(t, end.Run)
	lanetest.Background(t, func(ctx context.Context) error {
		r.Lease(ctx, end.Intake([]*inference.Route{route}), 1, r.Echo)
		return nil
	})
	if !lanetest.Recovered(r, route) {
		t.Fatal("nothing works")
	}
	way.Stall()
	since := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end.Ready() == nil && time.Since(since) < 2*silence {
		<-tick.C
	}
	if took := time.Since(since); took > silence {
		t.Errorf("after %s: %v", took, end.Ready())
	}
	way.Resume()
	if !lanetest.Recovered(r, route) {
		t.Error("nothing works after the way is free again")
	}
}

// The server gives up a client that says nothing any more.
func TestSilentClient(t *testing.T) {
	t.Parallel()
	r := lanetest.NewRig(t, lanetest.OverTCP)
	conn, err := net.Dial("tcp", r.Server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }() // the server has
	if _, err := fmt.Fprint(conn, "CONNECT {\"verbose\":false}\r\nPING\r\n"); err != nil {
		t.Fatal(err)
	}
	since := time.Now()
	if err := conn.SetReadDeadline(since.Add(2 * silence)); err != nil {
		t.Fatal(err)
	}
	lines, last := bufio.NewReader(conn), ""
	for {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("after %s: %v", time.Since(since), err)
		}
		last = line
	}
	if took := time.Since(since); took > silence || !strings.Contains(last, "Stale Connection") {
		t.Errorf("after %s: %q", took, last)
	}
}
