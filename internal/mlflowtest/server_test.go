package mlflowtest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"headrace/internal/mlflowtest"
)

// post sends one request over client; the body is read and closed.
func post(ctx context.Context, client *http.Client, url, body string) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/invocations", strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, "", err
	}
	text, err := io.ReadAll(resp.Body)
	return resp, string(text), errors.Join(err, resp.Body.Close())
}

func newClient(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func TestReplies(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reply                   mlflowtest.Reply
		status                  int
		line, contentType, body string
	}{
		"zero":      {mlflowtest.Reply{}, 200, "200 OK", "application/json", ""},
		"JSON":      {mlflowtest.JSON(`{}`), 200, "200 OK", "application/json", `{}`},
		"status":    {mlflowtest.Reply{Status: 503, ContentType: "text/plain", Body: []byte("x"), Reason: "Gone Fishing"}, 503, "503 Gone Fishing", "text/plain", "x"},
		"no reason": {mlflowtest.Reply{Status: 404, NoReason: true, NoContentType: true}, 404, "404 ", "", ""},
		"HTTP 1.0":  {mlflowtest.Reply{HTTP10: true, Body: []byte("x")}, 200, "200 OK", "application/json", "x"},
		"chunked":   {mlflowtest.Reply{Chunked: true, Body: []byte("abc")}, 200, "200 OK", "application/json", "abc"},
		"unframed":  {mlflowtest.Reply{Unframed: true, Body: []byte("abc")}, 200, "200 OK", "application/json", "abc"},
		"204":       {mlflowtest.Reply{Status: 204}, 204, "204 No Content", "application/json", ""},
		"failure":   {mlflowtest.Failure(400, "BAD_REQUEST", "no"), 400, "400 Bad Request", "application/json", `{"error_code": "BAD_REQUEST", "message": "no"}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mlflowtest.New(t)
			s.Reply(tt.reply)
			resp, body, err := post(t.Context(), newClient(t), s.URL, "{}")
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tt.status || resp.Status != tt.line || resp.Header.Get("Content-Type") != tt.contentType || body != tt.body {
				t.Errorf("got %q %q %q, want %+v", resp.Status, resp.Header.Get("Content-Type"), body, tt)
			}
		})
	}
}

func TestCompressedReply(t *testing.T) {
	t.Parallel()
	s := mlflowtest.New(t)
	s.Reply(mlflowtest.Reply{Encoding: "gzip", Body: []byte("hello")})
	resp, body, err := post(t.Context(), newClient(t), s.URL, "{}")
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil || string(text) != "hello" || resp.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("%q, %v, %v", text, err, resp.Header)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	whole := mlflowtest.Predictions(`["ok"]`)
	whole.Fault = mlflowtest.Cut
	for name, tt := range map[string]struct {
		reply mlflowtest.Reply
		is    error
		says  string
	}{
		"closed":  {mlflowtest.Reply{Fault: mlflowtest.Closed}, io.EOF, ""},
		"reset":   {mlflowtest.Reply{Fault: mlflowtest.Reset}, syscall.ECONNRESET, ""},
		"garbage": {mlflowtest.Reply{Fault: mlflowtest.Garbage}, nil, "malformed HTTP"},
		"cut":     {whole, io.ErrUnexpectedEOF, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mlflowtest.New(t)
			s.Reply(tt.reply)
			_, _, err := post(t.Context(), newClient(t), s.URL, "{}")
			if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want %v %s", err, tt.is, tt.says)
			}
		})
	}
	if _, _, err := post(t.Context(), newClient(t), mlflowtest.ClosedURL(t), "{}"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want a refused connection", err)
	}
}

func TestScriptInOrder(t *testing.T) {
	t.Parallel()
	s := mlflowtest.New(t)
	s.Reply(mlflowtest.JSON("1"), mlflowtest.JSON("2"))
	client := newClient(t)
	for _, want := range []string{"1", "2", "2"} {
		if _, body, err := post(t.Context(), client, s.URL, "{"+want); err != nil || body != want {
			t.Errorf("got %q, %v, want %q", body, err, want)
		}
	}
	got := s.Requests()
	if len(got) != 3 || got[1].Method != http.MethodPost || got[1].Path != "/invocations" || string(got[1].Body) != "{2" || got[2].Conn != 1 {
		t.Errorf("recorded %+v", got)
	}
	if s.Connections() != 1 || s.MaxInFlight() != 1 {
		t.Errorf("%d connections, %d in flight", s.Connections(), s.MaxInFlight())
	}
}

func TestHoldCountsAndReleases(t *testing.T) {
	t.Parallel()
	s := mlflowtest.New(t)
	release := make(chan struct{})
	s.Handle(mlflowtest.Held(release, mlflowtest.Echo))
	var wg sync.WaitGroup
	for range 3 {
		client := newClient(t) // its own: a shared one may open a connection that another call then does not need
		wg.Go(func() {
			if _, body, err := post(t.Context(), client, s.URL, `{"inputs": ["a"]}`); err != nil || body != `{"predictions": ["a"]}` {
				t.Errorf("got %q, %v", body, err)
			}
			// The connection is still good after it was watched.
			if _, _, err := post(t.Context(), client, s.URL, `{"inputs": ["a"]}`); err != nil {
				t.Error(err)
			}
		})
	}
	s.WaitRequests(3)
	if s.InFlight() != 3 || s.MaxInFlight() != 3 {
		t.Errorf("%d in flight, at most %d", s.InFlight(), s.MaxInFlight())
	}
	close(release)
	wg.Wait()
	s.WaitIdle()
	if s.Aborted() != 0 || s.Connections() != 3 {
		t.Errorf("%d aborted over %d connections", s.Aborted(), s.Connections())
	}
}

func TestSeesCallersLeave(t *testing.T) {
	t.Parallel()
	s := mlflowtest.New(t)
	s.Reply(mlflowtest.Reply{Hold: make(chan struct{})})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, _, err := post(ctx, newClient(t), s.URL, "{}"); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	s.WaitRequests(1)
	cancel()
	wg.Wait()
	s.WaitAborted(1)
}

func TestDownEndsHeldRequests(t *testing.T) {
	t.Parallel()
	s := mlflowtest.New(t)
	s.Reply(mlflowtest.Reply{Hold: make(chan struct{})})
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, _, err := post(t.Context(), newClient(t), s.URL, "{}"); err == nil {
			t.Error("answered by a server that is down")
		}
	})
	s.WaitRequests(1)
	s.Down()
	wg.Wait()
	s.Up()
	s.Reply(mlflowtest.JSON("back"))
	if _, body, err := post(t.Context(), newClient(t), s.URL, "{}"); err != nil || body != "back" {
		t.Errorf("after Up: %q, %v", body, err)
	}
}

func TestProbesAreApart(t *testing.T) {
	t.Parallel()
	s := mlflowtest.New(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/ping", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := newClient(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	s.WaitProbes(1)
	if resp.StatusCode != http.StatusOK || string(body) != "\n" || s.Probes() != 1 || len(s.Requests()) != 0 {
		t.Errorf("%d %q, %d probes, %d requests", resp.StatusCode, body, s.Probes(), len(s.Requests()))
	}
}

func TestEmbeddingsAreDeterministic(t *testing.T) {
	t.Parallel()
	reply := mlflowtest.Embeddings(3)(mlflowtest.Request{Body: []byte(`{"inputs": ["a", "b", "a"], "params": {}}`)})
	a, b := mlflowtest.Embedding([]byte(`"a"`), 3), mlflowtest.Embedding([]byte(`"b"`), 3)
	if want := `{"predictions": [` + a + ", " + b + ", " + a + `]}`; string(reply.Body) != want || a == b || strings.Count(a, ",") != 2 {
		t.Errorf("got %s, want %s", reply.Body, want)
	}
	if bad := mlflowtest.Embeddings(3)(mlflowtest.Request{Body: []byte(`{`)}); bad.Status != http.StatusBadRequest {
		t.Errorf("broken JSON gets %d", bad.Status)
	}
	if bad := mlflowtest.Echo(mlflowtest.Request{Body: []byte(`{}`)}); bad.Status != http.StatusBadRequest {
		t.Errorf("no inputs get %d", bad.Status)
	}
}

func TestHugeHasItsSize(t *testing.T) {
	t.Parallel()
	if n := len(mlflowtest.Huge(100_000).Body); n != 100_000 {
		t.Errorf("%d bytes", n)
	}
}

func TestRecordedAnswersCanBeScripted(t *testing.T) {
	t.Parallel()
	s := mlflowtest.New(t)
	played := 0
	for _, e := range mlflowtest.Exchanges(t, mlflowtest.EraC) {
		if e.Upstream == nil || e.Upstream.Fault != "" || e.Upstream.Encoding != "" || e.Upstream.Headers["Location"] != "" {
			continue
		}
		s.Reply(e.Upstream.Script(t))
		resp, body, err := post(t.Context(), newClient(t), s.URL, "{}")
		if err != nil {
			t.Fatalf("%s: %v", e.ID, err)
		}
		if resp.StatusCode != e.Upstream.Status || body != string(e.Upstream.Body(t)) {
			t.Errorf("%s: %d %q", e.ID, resp.StatusCode, body)
		}
		if played++; played == 120 {
			break
		}
	}
	if played != 120 {
		t.Errorf("played %d", played)
	}
}

func TestCloseConnectionsKeepsListening(t *testing.T) {
	t.Parallel()
	s := mlflowtest.New(t)
	var dialer net.Dialer
	c, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := post(t.Context(), newClient(t), s.URL, "{}"); err != nil {
		t.Fatal(err) // by now the first connection has been accepted, too
	}
	s.CloseConnections()
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("the connection ended with %v", err)
	}
	_ = c.Close()
	if _, _, err := post(t.Context(), newClient(t), s.URL, "{}"); err != nil {
		t.Errorf("after closing: %v", err)
	}
}
