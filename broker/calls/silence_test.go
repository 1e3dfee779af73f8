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

	"headrace/broker/calls"
	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/inference"
)

// silence is the time within which a connection that carries nothing any more is noticed by both of its ends, with as much
// again for a machine that is busy.
const silence = 2 * 15 * time.Second

// A connection on which nothing arrives any more, and nothing says so, is given up by the worker; when the way is free again
// it comes back by itself.
func TestSilentBroker(t *testing.T) {
	t.Parallel()
	r := newRig(t, overTCP)
	way := newSeverable(t, r.server.Addr())
	route := testRoute("silent")
	end, err := calls.NewWorkerEnd(link.Dial{URL: "nats://" + way.listener.Addr().String()}, nil, records.Shared{}, r.budget("bodies"), r.log)
	if err != nil {
		t.Fatal(err)
	}
	end.Serve(map[string]int{route.Name: 1})
	background(t, end.Run)
	background(t, func(ctx context.Context) error {
		r.lease(ctx, end.Intake([]*inference.Route{route}), 1, r.echo)
		return nil
	})
	if !recovered(r, route) {
		t.Fatal("nothing works")
	}
	way.stall()
	since := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end.Ready() == nil && time.Since(since) < 2*silence {
		<-tick.C
	}
	if took := time.Since(since); took > silence {
		t.Errorf("after %s: %v", took, end.Ready())
	}
	way.resume()
	if !recovered(r, route) {
		t.Error("nothing works after the way is free again")
	}
}

// The server gives up a client that says nothing any more.
func TestSilentClient(t *testing.T) {
	t.Parallel()
	r := newRig(t, overTCP)
	conn, err := net.Dial("tcp", r.server.Addr())
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
