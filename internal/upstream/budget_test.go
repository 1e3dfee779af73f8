package upstream_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"headrace/internal/budget"
	"headrace/internal/fault"
	"headrace/internal/mlflowtest"
	"headrace/internal/upstream"
)

const mib = 1 << 20

func budgeted(t *testing.T, s *mlflowtest.Server, limit int64) (*upstream.Client, *budget.Bytes) {
	t.Helper()
	b := budget.New(limit)
	return newClient(t, upstream.Config{URLs: []string{s.URL}, Budget: b}), b
}

func TestReplyIsReserved(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		size     int
		chunked  bool
		encoding string
		least    int64 // bytes held until the release
		most     int64
	}{
		"length known":          {size: 3 * mib, least: 3 * mib, most: 3 * mib},
		"small, length known":   {size: 1000, least: 1000, most: 1000},
		"length unknown":        {size: 3 * mib, chunked: true, least: 3 * mib, most: 8 * mib},
		"small, length unknown": {size: mib, chunked: true},
		"compressed":            {size: 3 * mib, encoding: "gzip", least: 3 * mib, most: 8 * mib},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mlflowtest.New(t)
			reply := mlflowtest.Huge(tt.size)
			reply.Chunked, reply.Encoding = tt.chunked, tt.encoding
			s.Reply(reply)
			c, b := budgeted(t, s, 10*mib)
			got, release, err := c.Do(t.Context(), call("{}"), 8*mib)
			if err != nil {
				t.Fatal(err)
			}
			if string(got.Body) != string(reply.Body) {
				t.Errorf("%d bytes came, want %d", len(got.Body), len(reply.Body))
			}
			if held := b.Held(); held < tt.least || held > tt.most {
				t.Errorf("%d bytes held, want %d to %d", held, tt.least, tt.most)
			}
			release()
			release()
			if b.Held() != 0 {
				t.Errorf("%d bytes held after the release", b.Held())
			}
		})
	}
}

func TestReplyOverItsLimit(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		size     int
		chunked  bool
		maxReply int64
		setting  string // that the message names; "" = accepted
	}{
		"exactly, known":         {2 * mib, false, 2 * mib, ""},
		"exactly, unknown":       {2 * mib, true, 2 * mib, ""},
		"exactly, small":         {1000, true, 1000, ""},
		"one over, known":        {2*mib + 1, false, 2 * mib, "worker.max_reply"},
		"one over, unknown":      {2*mib + 1, true, 2 * mib, "worker.max_reply"},
		"one over, small":        {1001, true, 1000, "worker.max_reply"},
		"far over, unknown":      {6 * mib, true, 2 * mib, "worker.max_reply"},
		"over the whole budget":  {5 * mib, false, 64 * mib, "max_inflight_bytes"},
		"over, unknown, at once": {5 * mib, true, 64 * mib, "max_inflight_bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mlflowtest.New(t)
			reply := mlflowtest.Huge(tt.size)
			reply.Chunked = tt.chunked
			s.Reply(reply)
			c, b := budgeted(t, s, 4*mib)
			got, release, err := c.Do(t.Context(), call("{}"), tt.maxReply)
			if tt.setting == "" {
				if err != nil || len(got.Body) != tt.size {
					t.Fatalf("%d bytes, %v", len(got.Body), err)
				}
				release()
			} else if f := fault.From(err); f == nil || f.Code != fault.UpstreamBadResponse || !strings.Contains(f.Message, tt.setting) {
				t.Errorf("got %v, want a complaint about %s", err, tt.setting)
			}
			if b.Held() != 0 {
				t.Errorf("%d bytes are still held", b.Held())
			}
		})
	}
}

func TestNoRoomInTime(t *testing.T) {
	t.Parallel()
	for name, chunked := range map[string]bool{"known": false, "unknown": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mlflowtest.New(t)
			reply := mlflowtest.Huge(2 * mib)
			reply.Chunked = chunked
			s.Reply(reply)
			c, b := budgeted(t, s, 4*mib)
			if !b.TryReserve(3 * mib) {
				t.Fatal("the budget is not empty")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // ample for reading what is free
			defer cancel()
			if _, _, err := c.Do(ctx, call("{}"), 4*mib); fault.CodeOf(err) != fault.QueueFull {
				t.Errorf("got %v, want queue_full", err)
			}
			if b.Held() != 3*mib {
				t.Errorf("%d bytes held", b.Held())
			}
		})
	}
}

func TestWaitsForRoom(t *testing.T) {
	t.Parallel()
	s := mlflowtest.New(t)
	reply := mlflowtest.Huge(2 * mib)
	reply.Chunked = true
	s.Reply(reply)
	c, b := budgeted(t, s, 4*mib)
	var wg sync.WaitGroup
	for range 16 { // each needs the whole budget for a moment
		wg.Go(func() {
			got, release, err := c.Do(t.Context(), call("{}"), 4*mib)
			if err != nil || len(got.Body) != 2*mib {
				t.Errorf("%d bytes, %v", len(got.Body), err)
				return
			}
			release()
		})
	}
	wg.Wait()
	if b.Held() != 0 {
		t.Errorf("%d bytes are still held", b.Held())
	}
}

func TestFailedReadGivesBack(t *testing.T) {
	t.Parallel()
	s := mlflowtest.New(t)
	cut := mlflowtest.Huge(3 * mib)
	cut.Fault = mlflowtest.Cut
	s.Reply(cut)
	c, b := budgeted(t, s, 4*mib)
	if _, _, err := c.Do(t.Context(), call("{}"), 4*mib); fault.CodeOf(err) != fault.UpstreamUnavailable {
		t.Errorf("got %v", err)
	}
	if b.Held() != 0 {
		t.Errorf("%d bytes are still held", b.Held())
	}
}
