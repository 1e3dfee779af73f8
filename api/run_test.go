package api_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"headrace/api"
	"headrace/internal/inference"
)

// running is a server that serves, and what stops it.
type running struct {
	address string
	stop    context.CancelFunc
	ended   chan error
}

func run(t *testing.T, s *api.Server) running {
	t.Helper()
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	r := running{address: s.Addr().String(), stop: stop, ended: make(chan error, 1)}
	go func() { r.ended <- s.Run(ctx) }()
	t.Cleanup(stop)
	return r
}

// held answers calls when it is released.
func held(entered chan<- struct{}, release <-chan struct{}) *fakeBroker {
	return &fakeBroker{answer: func(ctx context.Context, r *inference.Route, req *inference.Request) (*inference.Result, error) {
		entered <- struct{}{}
		select {
		case <-release:
			return echo(ctx, r, req)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
}

const own = "/v1/routes/completions/invocations"

func post(t *testing.T, address string) reply {
	t.Helper()
	return exchange(t, address, wire{method: http.MethodPost, target: own, body: []byte(ask), hasBody: true})
}

func get(t *testing.T, address, path string) reply {
	t.Helper()
	return exchange(t, address, wire{method: http.MethodGet, target: path})
}

func TestDrainFinishesWhatWasAccepted(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	r := run(t, newServer(t, held(entered, release)))
	accepted := make(chan reply, 1)
	go func() { accepted <- post(t, r.address) }()
	<-entered
	if got := get(t, r.address, "/readyz"); got.status != http.StatusOK {
		t.Errorf("readyz before: %d", got.status)
	}
	r.stop()
	for got := get(t, r.address, "/readyz"); got.status != http.StatusServiceUnavailable; got = get(t, r.address, "/readyz") {
		if t.Context().Err() != nil {
			t.Fatal("never drains")
		}
	}
	if got := post(t, r.address); got.status != http.StatusServiceUnavailable || !strings.Contains(string(got.body), "shutting_down") || got.header.Get("Retry-After") == "" {
		t.Errorf("a new call: %d %s", got.status, got.body)
	}
	if got := get(t, r.address, "/health"); got.status != http.StatusOK {
		t.Errorf("health: %d", got.status)
	}
	close(release)
	if got := <-accepted; got.status != http.StatusOK {
		t.Errorf("the accepted call: %d %s", got.status, got.body)
	}
	if err := <-r.ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestDrainEndsWithTheGrace(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{})
	r := run(t, newServer(t, held(entered, nil), func(c *api.Config, _ *api.Deps) { c.ShutdownGrace = 50 * time.Millisecond }))
	accepted := make(chan reply, 1)
	go func() { accepted <- post(t, r.address) }()
	<-entered
	r.stop()
	if got := <-accepted; got.status != http.StatusServiceUnavailable || !strings.Contains(string(got.body), "shutting_down") {
		t.Errorf("the accepted call: %d %s", got.status, got.body)
	}
	if err := <-r.ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestRunTakesATakenAddressForAnError(t *testing.T) {
	t.Parallel()
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	s := newServer(t, &fakeBroker{}, func(c *api.Config, _ *api.Deps) { c.Listen = taken.Addr().String() })
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("Run: %v", err)
	}
}

// TestCallerLeaves: the context of the call ends with its connection.
func TestCallerLeaves(t *testing.T) {
	t.Parallel()
	entered, left := make(chan struct{}), make(chan error, 1)
	broker := &fakeBroker{answer: func(ctx context.Context, _ *inference.Route, _ *inference.Request) (*inference.Result, error) {
		close(entered)
		<-ctx.Done()
		left <- context.Cause(ctx)
		return nil, ctx.Err()
	}}
	r := run(t, newServer(t, broker))
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("POST " + own + " HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n\r\n" + ask)); err != nil {
		t.Fatal(err)
	}
	<-entered
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-left; err == nil {
		t.Error("the call goes on")
	}
	r.stop()
	if err := <-r.ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestSlowBody: a body that does not arrive in the caller's time ends the call, and its room is given back.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	r := run(t, newServer(t, &fakeBroker{}))
	for _, framing := range []string{"Content-Length: 15", "Transfer-Encoding: chunked"} {
		got := exchange(t, r.address, wire{
			method: http.MethodPost, target: own, headers: map[string]string{"Headrace-Timeout": "0.05", "X-Slow": "1\r\n" + framing},
		})
		if got.status != http.StatusGatewayTimeout || !strings.Contains(string(got.body), `"code":"deadline"`) {
			t.Errorf("%s: %d %s", framing, got.status, got.body)
		}
	}
}

// TestWaitingIsNotReading: the deadline for the body is no deadline for the answer, and the connection serves on.
func TestWaitingIsNotReading(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	r := run(t, newServer(t, held(entered, release)))
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	go func() {
		for range 2 {
			<-entered
			release <- struct{}{}
		}
	}()
	for range 2 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.address+own, strings.NewReader(ask))
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("status %d", res.StatusCode)
		}
	}
}
