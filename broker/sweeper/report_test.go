package sweeper_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/keeper"
	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/broker/sweeper"
	"headrace/internal/job"
	"headrace/internal/natstest"
)

// background runs f until the test ends.
func background(t *testing.T, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// text is a log that may be read while it is written.
type text struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *text) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *text) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// More lanes have jobs than one message of a server with the usual limits can tell: all are told.
func TestManyLanesAreTold(t *testing.T) {
	t.Parallel()
	const lanes = 20_000
	dial := link.Dial{URL: natstest.Start(t, natstest.Options{}).URL()}
	log := new(text)
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	k, err := keeper.New(dial, logger, records.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := sweeper.New(dial, nil, nil, logger)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for n := range lanes {
		route := fmt.Sprintf("a-route-with-a-name-of-some-length-%d", n)
		s.Learn(&job.Record{ID: job.ID(fmt.Sprint("j", n)), State: job.Queued, Revision: 1, Provider: "p", Route: route, Priority: job.Standard}, now.Add(time.Hour), now.Add(time.Hour))
	}
	nc, err := nats.Connect(dial.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	told := make(chan int, 100)
	var reports records.Reports
	if _, err := nc.Subscribe(records.SubjectQueues, func(msg *nats.Msg) {
		if report, err := reports.Take(msg.Data); err != nil {
			t.Error(err)
		} else if report != nil {
			told <- len(report.Lanes)
		}
	}); err != nil {
		t.Fatal(err)
	}
	background(t, k.Run)
	background(t, s.Run)
	select {
	case n := <-told:
		if n != lanes {
			t.Errorf("%d lanes are told, want %d", n, lanes)
		}
	case <-time.After(time.Minute):
		t.Errorf("no lane is told; %s", log)
	}
	if got := log.String(); strings.Contains(got, "cannot tell") {
		t.Error(got)
	}
}

// A report that cannot be sent is one line, however often it is tried.
func TestUntoldReportIsOneLine(t *testing.T) {
	t.Parallel()
	dial := link.Dial{URL: natstest.Start(t, natstest.Options{MaxPayload: 2000}).URL()}
	log := new(text)
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	k, err := keeper.New(dial, logger, records.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := sweeper.New(dial, nil, nil, logger)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for n := range 100 {
		s.Learn(&job.Record{ID: job.ID(fmt.Sprint("j", n)), State: job.Queued, Revision: 1, Provider: "p", Route: fmt.Sprint("route-", n), Priority: job.Standard}, now.Add(time.Hour), now.Add(time.Hour))
	}
	background(t, k.Run)
	background(t, s.Run)
	nc, err := nats.Connect(dial.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for begun := time.Now(); !strings.Contains(log.String(), "cannot tell"); <-tick.C {
		if time.Since(begun) > time.Minute {
			t.Fatalf("no line says it: %s", log)
		}
	}
	for range 10 {
		if err := nc.Publish(records.SubjectQueuesAsk, nil); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		<-tick.C
	}
	if n := strings.Count(log.String(), "cannot tell"); n != 1 {
		t.Errorf("%d lines: %s", n, log)
	}
}
