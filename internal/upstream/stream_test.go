package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"headrace/internal/budget"
	"headrace/internal/fault"
	"headrace/internal/provider"
	"headrace/internal/upstream"
)

// streaming is a call that may be answered in pieces.
func streaming() provider.Call {
	c := call(`{"stream":true}`)
	c.Stream = &provider.StreamLimits{MaxEvent: 2 << 20}
	return c
}

// streamer is a model server whose replies are streams that do writes.
func streamer(t *testing.T, do func(w io.Writer, r *http.Request)) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		do(flushing{w}, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// flushing sends each write at once.
type flushing struct{ http.ResponseWriter }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.ResponseWriter.Write(p)
	_ = http.NewResponseController(f.ResponseWriter).Flush()
	return n, err
}

// begun makes the call and wants a stream.
func begun(t *testing.T, ctx context.Context, c *upstream.Client) provider.Reply {
	t.Helper()
	reply, release, err := c.Do(ctx, streaming(), plenty)
	if err != nil || reply.Events == nil {
		t.Fatalf("no stream: %+v, %v", reply, err)
	}
	t.Cleanup(release)
	return reply
}

func TestEventsComeWhenTheyAreSent(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	c := newClient(t, at(streamer(t, func(w io.Writer, _ *http.Request) {
		for i := range 3 {
			fmt.Fprintf(w, ": comment\n\nevent: e\ndata: %d\n\n", i)
			<-next
		}
		fmt.Fprintf(w, "data: %s\n\n", strings.Repeat("x", 1<<20))
	})))
	events := begun(t, t.Context(), c).Events
	if busy := c.Replicas()[0].Busy; busy != 1 {
		t.Errorf("%d calls are in flight", busy)
	}
	for i := range 3 {
		name, data, err := events.Next(time.Minute)
		if err != nil || name != "e" || data != strconv.Itoa(i) {
			t.Fatalf("event %d: %q %q %v", i, name, data, err)
		}
		next <- struct{}{} // the server sends the next one only now
	}
	if _, data, err := events.Next(time.Minute); err != nil || len(data) != 1<<20 {
		t.Errorf("an event of 1 MiB: %d bytes, %v", len(data), err)
	}
	if _, _, err := events.Next(time.Minute); fault.CodeOf(err) != fault.UpstreamUnavailable {
		t.Errorf("at the end: %v", err)
	}
	events.Close()
	if busy := c.Replicas()[0].Busy; busy != 0 {
		t.Errorf("%d calls are in flight", busy)
	}
}

func TestAReplyThatIsNoStreamIsReadWhole(t *testing.T) {
	t.Parallel()
	for status, contentType := range map[int]string{200: "application/json", 429: "text/event-stream"} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			fmt.Fprint(w, `{"a":1}`)
		}))
		t.Cleanup(s.Close)
		reply, release, err := newClient(t, at(s.URL)).Do(t.Context(), streaming(), plenty)
		if err != nil || reply.Events != nil || reply.Status != status || string(reply.Body) != `{"a":1}` {
			t.Errorf("%d: %+v, %v", status, reply, err)
		}
		release()
	}
}

func TestAStreamEndsBadly(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do   func(w io.Writer, r *http.Request)
		code fault.Code
	}{
		"cut in an event":   {func(w io.Writer, _ *http.Request) { fmt.Fprint(w, "data: a\n\ndata: b"); abort() }, fault.UpstreamUnavailable},
		"ended in an event": {func(w io.Writer, _ *http.Request) { fmt.Fprint(w, "data: a\n\ndata: b") }, fault.UpstreamUnavailable},
		"an event too long": {func(w io.Writer, _ *http.Request) { fmt.Fprint(w, "data: a\n\ndata: ", strings.Repeat("x", 3<<20)) }, fault.UpstreamBadResponse},
		"silence":           {func(w io.Writer, r *http.Request) { fmt.Fprint(w, "data: a\n\n"); <-r.Context().Done() }, fault.UpstreamTimeout},
		"comments for ever": {func(w io.Writer, r *http.Request) { fmt.Fprint(w, "data: a\n\n"); comment(w, r) }, fault.UpstreamTimeout},
		"no room for events": {func(w io.Writer, _ *http.Request) {
			fmt.Fprint(w, "data: a\n\ndata: ", strings.Repeat("x", 1<<20), "\n\n")
		}, fault.QueueFull},
	} {
		cfg := at(streamer(t, c.do))
		patience := 50 * time.Millisecond
		if c.code != fault.UpstreamTimeout && c.code != fault.QueueFull {
			patience = time.Minute
		}
		if name == "no room for events" {
			cfg.Budget = budget.New(512 << 10)
			if err := cfg.Budget.Reserve(t.Context(), 500<<10); err != nil {
				t.Fatal(err)
			}
		}
		events := begun(t, t.Context(), newClient(t, cfg)).Events
		if _, data, err := events.Next(time.Minute); err != nil || data != "a" {
			t.Fatalf("%s: %q %v", name, data, err)
		}
		for range 2 { // the second time says the same
			if _, data, err := events.Next(patience); fault.CodeOf(err) != c.code {
				t.Errorf("%s: %q %v", name, data, err)
			}
		}
		events.Close()
	}
}

// comment sends comments until the caller goes.
func comment(w io.Writer, r *http.Request) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			fmt.Fprint(w, ": waiting\n\n")
		case <-r.Context().Done():
			return
		}
	}
}

// TestTheConnectionClosesWhenTheCallersContextEnds, and when the stream is closed: that is what stops a model server.
func TestTheConnectionClosesWhenTheCallersContextEnds(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"context", "close"} {
		gone := make(chan time.Time, 1)
		c := newClient(t, at(streamer(t, func(w io.Writer, r *http.Request) {
			fmt.Fprint(w, "data: a\n\n")
			<-r.Context().Done()
			gone <- time.Now()
		})))
		ctx, leave := context.WithCancelCause(t.Context())
		events := begun(t, ctx, c).Events
		if _, _, err := events.Next(time.Minute); err != nil {
			t.Fatal(err)
		}
		left := errors.New("the caller has gone")
		began := time.Now()
		if how == "context" {
			leave(left)
			if _, _, err := events.Next(time.Minute); !errors.Is(err, left) {
				t.Errorf("%s: %v", how, err)
			}
		} else {
			events.Close()
		}
		if took := (<-gone).Sub(began); took > 100*time.Millisecond {
			t.Errorf("%s: the model server knew after %s", how, took)
		}
		events.Close()
		leave(nil)
	}
}

// abort ends a handler and its connection.
func abort() { panic(http.ErrAbortHandler) } //nolint:forbidigo // the server's own way to cut a connection
