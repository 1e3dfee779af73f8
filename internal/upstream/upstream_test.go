package upstream_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"headrace/internal/fault"
	"headrace/internal/mlflowtest"
	"headrace/internal/provider"
	"headrace/internal/upstream"
)

const plenty = 64 << 20

func call(body string) provider.Call {
	return provider.Call{Path: "invocations", ContentType: "application/json", Body: []byte(body)}
}

// newClient makes a client with cfg, closed when the test ends.
func newClient(t *testing.T, cfg upstream.Config) *upstream.Client {
	t.Helper()
	c, err := upstream.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func at(urls ...string) upstream.Config { return upstream.Config{URLs: urls} }

func TestDo(t *testing.T) {
	t.Parallel()
	s := mlflowtest.New(t)
	s.Handle(mlflowtest.Echo)
	c := newClient(t, upstream.Config{
		URLs: []string{s.URL}, UserAgent: "headrace/1.2", Headers: map[string]string{"authorization": "Bearer x", "X-Team": "a"},
	})
	for range 3 {
		reply, release, err := c.Do(t.Context(), call(`{"inputs":["é"]}`), plenty)
		if err != nil {
			t.Fatal(err)
		}
		if reply.Status != 200 || reply.Reason != "OK" || reply.ContentType != "application/json" || string(reply.Body) != `{"predictions": ["é"]}` {
			t.Errorf("got %+v", reply)
		}
		release()
		release()
	}
	got := s.Requests()[2]
	want := http.Header{
		"Accept": {"*/*"}, "User-Agent": {"headrace/1.2"}, "Content-Type": {"application/json"}, "Content-Length": {"17"},
		"Authorization": {"Bearer x"}, "X-Team": {"a"},
	}
	for name := range got.Header {
		if want[name] == nil {
			t.Errorf("sends %s: %v", name, got.Header[name])
		}
	}
	for name, value := range want {
		if got.Header.Get(name) != value[0] {
			t.Errorf("sends %s: %v, want %v", name, got.Header[name], value)
		}
	}
	if got.Method != http.MethodPost || got.Path != "/invocations" || string(got.Body) != `{"inputs":["é"]}` || s.Connections() != 1 {
		t.Errorf("sent %s %s %s over %d connections", got.Method, got.Path, got.Body, s.Connections())
	}
}

func TestPaths(t *testing.T) {
	t.Parallel()
	s := mlflowtest.New(t)
	for base, want := range map[string]string{
		"":                 "/invocations",
		"/":                "/invocations",
		"//":               "/invocations",
		"/team/model-a":    "/team/model-a/invocations",
		"/team/model-a/":   "/team/model-a/invocations",
		"/base?key=1":      "/base/invocations?key=1",
		"/a%2Fb/c%20d/":    "/a%2Fb/c%20d/invocations",
		"/frag#x":          "/frag/invocations",
		"/é":               "/%C3%A9/invocations",
		"/keeps//two?a=%2": "/keeps//two/invocations?a=%2",
	} {
		before := len(s.Requests())
		if _, _, err := newClient(t, at(s.URL+base)).Do(t.Context(), call("{}"), plenty); err != nil {
			t.Fatal(err)
		}
		if got := s.Requests()[before].Path; got != want {
			t.Errorf("%q asks for %s, want %s", base, got, want)
		}
	}
	_, release, err := newClient(t, at(s.URL)).Do(t.Context(), provider.Call{Path: "/invocations"}, plenty)
	if err != nil {
		t.Fatal(err)
	}
	release()
}

func TestUserInfoBecomesAuthorization(t *testing.T) {
	t.Parallel()
	s := mlflowtest.New(t)
	c := newClient(t, at(strings.Replace(s.URL, "http://", "http://me:secret@", 1)+"?key=hidden"))
	if _, _, err := c.Do(t.Context(), call("{}"), plenty); err != nil {
		t.Fatal(err)
	}
	if user, password, ok := (&http.Request{Header: s.Requests()[0].Header}).BasicAuth(); !ok || user != "me" || password != "secret" {
		t.Errorf("sent %v", s.Requests()[0].Header)
	}
	s.Down()
	_, _, err := c.Do(t.Context(), call("{}"), plenty)
	for _, text := range []string{err.Error(), c.Replicas()[0].URL} {
		if strings.Contains(text, "secret") || strings.Contains(text, "hidden") || !strings.Contains(text, strings.TrimPrefix(s.URL, "http://")) {
			t.Errorf("shows %q", text)
		}
	}
}

func TestAnswersAreNotJudged(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		reply  mlflowtest.Reply
		reason string
	}{
		"302":       {mlflowtest.Reply{Status: 302, Header: http.Header{"Location": {"/moved"}}, Body: []byte("x")}, "Found"},
		"500":       {mlflowtest.Reply{Status: 500, ContentType: "text/html", Body: []byte("<html>")}, "Internal Server Error"},
		"own words": {mlflowtest.Reply{Status: 404, Reason: "Not Here 404", Body: []byte("{}")}, "Not Here 404"},
		"no words":  {mlflowtest.Reply{Status: 404, NoReason: true, NoContentType: true}, ""},
		"204":       {mlflowtest.Reply{Status: 204, NoContentType: true}, "No Content"},
		"HTTP 1.0":  {mlflowtest.Reply{HTTP10: true, Body: []byte("{}")}, "OK"},
		"chunked":   {mlflowtest.Reply{Chunked: true, Body: []byte(`{"a": 1}`)}, "OK"},
		"unframed":  {mlflowtest.Reply{Unframed: true, Body: []byte(`{"a": 1}`)}, "OK"},
		"gzip":      {mlflowtest.Reply{Encoding: "gzip", Body: []byte(`{"a": 1}`)}, "OK"},
		"deflate":   {mlflowtest.Reply{Encoding: "deflate", Body: []byte(`{"a": 1}`)}, "OK"},
		"mistaken":  {mlflowtest.Reply{Header: http.Header{"Content-Encoding": {"UTF-8"}}, Body: []byte(`{"a": 1}`)}, "OK"},
		"identity":  {mlflowtest.Reply{Header: http.Header{"Content-Encoding": {"identity"}}, Body: []byte(`{"a": 1}`)}, "OK"},
		"cookie":    {mlflowtest.Reply{Header: http.Header{"Set-Cookie": {"s=1"}}, Body: []byte("{}")}, "OK"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mlflowtest.New(t)
			s.Reply(tt.reply)
			c := newClient(t, at(s.URL))
			for range 2 {
				reply, release, err := c.Do(t.Context(), call("{}"), plenty)
				if err != nil {
					t.Fatal(err)
				}
				release()
				status := max(tt.reply.Status, 200)
				media := tt.reply.ContentType
				if media == "" && !tt.reply.NoContentType {
					media = "application/json"
				}
				if reply.Status != status || reply.Reason != tt.reason || reply.ContentType != media || string(reply.Body) != string(tt.reply.Body) {
					t.Errorf("got %+v", reply)
				}
			}
			if got := s.Requests(); len(got) != 2 || got[1].Path != "/invocations" || got[1].Header.Get("Cookie") != "" {
				t.Errorf("asked %+v", got)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	cut := mlflowtest.Predictions(`["ok"]`)
	cut.Fault = mlflowtest.Cut
	cutChunks := cut
	cutChunks.Chunked = true
	cutGzip := mlflowtest.Predictions(`["` + strings.Repeat("abcdefg", 100) + `"]`)
	cutGzip.Fault, cutGzip.Encoding = mlflowtest.Cut, "gzip"
	for name, tt := range map[string]struct {
		reply mlflowtest.Reply
		code  fault.Code
	}{
		"closed":           {mlflowtest.Reply{Fault: mlflowtest.Closed}, fault.UpstreamUnavailable},
		"reset":            {mlflowtest.Reply{Fault: mlflowtest.Reset}, fault.UpstreamUnavailable},
		"garbage":          {mlflowtest.Reply{Fault: mlflowtest.Garbage}, fault.UpstreamBadResponse},
		"cut":              {cut, fault.UpstreamUnavailable},
		"cut, chunked":     {cutChunks, fault.UpstreamUnavailable},
		"cut, gzip":        {cutGzip, fault.UpstreamUnavailable},
		"too large":        {mlflowtest.Huge(5000), fault.UpstreamBadResponse},
		"too large, gzip":  {mlflowtest.Reply{Encoding: "gzip", Body: make([]byte, 5000)}, fault.UpstreamBadResponse},
		"gzip, but is not": {mlflowtest.Reply{Header: http.Header{"Content-Encoding": {"gzip"}}, Body: []byte("{}")}, fault.UpstreamBadResponse},
		"two encodings":    {mlflowtest.Reply{Header: http.Header{"Content-Encoding": {"gzip, gzip"}}, Body: []byte("{}")}, fault.UpstreamBadResponse},
		"zstd":             {mlflowtest.Reply{Header: http.Header{"Content-Encoding": {"zstd"}}, Body: []byte("{}")}, fault.UpstreamBadResponse},
		"unknown encoding": {mlflowtest.Reply{Header: http.Header{"Content-Encoding": {"br"}}, Body: []byte("{}")}, fault.UpstreamBadResponse},
		"bad length":       {mlflowtest.Reply{HTTP10: true, Header: http.Header{"Content-Length": {"x"}}, Unframed: true}, fault.UpstreamBadResponse},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mlflowtest.New(t)
			s.Reply(tt.reply)
			_, release, err := newClient(t, at(s.URL)).Do(t.Context(), call("{}"), 4000)
			f := fault.From(err)
			if f == nil || f.Code != tt.code || !strings.Contains(f.Message, s.URL) || release != nil {
				t.Errorf("got %v, want %s", err, tt.code)
			}
			if len(s.Requests()) != 1 {
				t.Errorf("asked %d times", len(s.Requests()))
			}
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	url := mlflowtest.ClosedURL(t)
	c := newClient(t, at(url))
	for range 3 {
		_, _, err := c.Do(t.Context(), call("{}"), plenty)
		if f := fault.From(err); f == nil || f.Code != fault.UpstreamUnavailable || !strings.Contains(f.Message, url) || !strings.Contains(f.Message, "refused") {
			t.Errorf("got %v", err)
		}
	}
	if got := c.Replicas(); len(got) != 1 || got[0].State != upstream.Down || got[0].Failures != 3 || got[0].Busy != 0 || got[0].Since.IsZero() {
		t.Errorf("replicas %+v", got)
	}
}

func TestUnknownName(t *testing.T) {
	t.Parallel()
	_, _, err := newClient(t, at("http://model.invalid:1")).Do(t.Context(), call("{}"), plenty)
	if f := fault.From(err); f == nil || f.Code != fault.UpstreamUnavailable {
		t.Errorf("got %v", err)
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	s := mlflowtest.New(t)
	s.Reply(mlflowtest.Reply{Hold: make(chan struct{})})
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, _, err := newClient(t, at(s.URL)).Do(ctx, call("{}"), plenty)
	if f := fault.From(err); f == nil || f.Code != fault.UpstreamTimeout || !strings.Contains(f.Message, s.URL) {
		t.Errorf("got %v", err)
	}
	s.WaitAborted(1)
}

func TestCancelGivesItsCause(t *testing.T) {
	t.Parallel()
	s := mlflowtest.New(t)
	s.Reply(mlflowtest.Reply{Hold: make(chan struct{})})
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the caller has left")
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, _, err := newClient(t, at(s.URL)).Do(ctx, call("{}"), plenty); !errors.Is(err, cause) {
			t.Errorf("got %v", err)
		}
	})
	s.WaitRequests(1)
	cancel(cause)
	wg.Wait()
	s.WaitAborted(1)
}

// A kept connection that the server has closed is replaced without the caller's noticing, however it ends.
func TestStaleConnections(t *testing.T) {
	t.Parallel()
	closing := mlflowtest.JSON("{}")
	closing.CloseAfter = true
	for name, stale := range map[string]func(*mlflowtest.Server){
		"closed after each reply": func(s *mlflowtest.Server) { s.Reply(closing) },
		"closed while idle":       func(*mlflowtest.Server) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mlflowtest.New(t)
			stale(s)
			c := newClient(t, at(s.URL))
			for range 200 {
				if _, _, err := c.Do(t.Context(), call(`{"inputs":["a"]}`), plenty); err != nil {
					t.Fatal(err)
				}
				s.CloseConnections()
			}
			for _, r := range s.Requests() {
				if string(r.Body) != `{"inputs":["a"]}` {
					t.Fatalf("repeated with the body %q", r.Body)
				}
			}
		})
	}
}

// The server reads the request on a reused connection and closes it without a byte in reply.
func TestReusedConnectionDiesBeforeFirstByte(t *testing.T) {
	t.Parallel()
	s := mlflowtest.New(t)
	s.Handle(func(r mlflowtest.Request) mlflowtest.Reply {
		if r.Conn == 1 && string(r.Body) == "second" {
			return mlflowtest.Reply{Fault: mlflowtest.Closed}
		}
		return mlflowtest.JSON("{}")
	})
	c := newClient(t, at(s.URL))
	for _, body := range []string{"first", "second"} {
		if _, _, err := c.Do(t.Context(), call(body), plenty); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Requests(); len(got) != 3 || string(got[2].Body) != "second" || got[2].Conn != 2 || got[2].Header["Idempotency-Key"] != nil {
		t.Errorf("asked %+v", got)
	}
}

// A call that is to be sent once is not repeated where the server may have read it, though the connection was reused; one
// of which nothing was sent is.
func TestOnce(t *testing.T) {
	t.Parallel()
	s := mlflowtest.New(t)
	s.Handle(func(r mlflowtest.Request) mlflowtest.Reply {
		if string(r.Body) == "second" {
			return mlflowtest.Reply{Fault: mlflowtest.Closed}
		}
		return mlflowtest.JSON("{}")
	})
	c := newClient(t, at(s.URL))
	once := func(body string) error {
		one := call(body)
		one.Once = true
		_, _, err := c.Do(t.Context(), one, plenty)
		return err
	}
	if err := once("first"); err != nil {
		t.Fatal(err)
	}
	if err := once("second"); fault.CodeOf(err) != fault.UpstreamUnavailable {
		t.Errorf("a call that was read and not answered: %v", err)
	}
	if err := once("third"); err != nil {
		t.Fatal(err)
	}
	if got := s.Requests(); len(got) != 3 {
		t.Errorf("the server was asked %d times, want 3", len(got))
	}
}

// secureServer is a model server over TLS, and the file of its authority.
func secureServer(t *testing.T) (server *httptest.Server, authority string) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s, file
}

// A replica that breaks off the handshake, or answers it with something else, was sent nothing: the call moves on.
func TestCallMovesOnFromHandshake(t *testing.T) {
	t.Parallel()
	s, file := secureServer(t)
	plain := mlflowtest.New(t)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		serving.Wait()
	})
	c := newClient(t, upstream.Config{
		URLs:  []string{"https://" + listener.Addr().String(), strings.Replace(plain.URL, "http:", "https:", 1), s.URL},
		TLSCA: file,
	})
	for range 3 {
		if _, _, err := c.Do(t.Context(), call("{}"), plenty); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []upstream.State{upstream.Down, upstream.Down, upstream.Up} {
		if got := c.Replicas()[i]; got.State != want || got.Busy != 0 {
			t.Errorf("replica %d is %+v, want %s", i, got, want)
		}
	}
	if n := len(plain.Requests()); n != 0 {
		t.Errorf("the plain server got %d requests", n)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	s, file := secureServer(t)
	c := newClient(t, upstream.Config{URLs: []string{s.URL}, TLSCA: file})
	if reply, _, err := c.Do(t.Context(), call("{}"), plenty); err != nil || reply.Status != http.StatusOK {
		t.Errorf("got %v, %v", reply, err)
	}
	_, _, err := newClient(t, at(s.URL)).Do(t.Context(), call("{}"), plenty)
	if f := fault.From(err); f == nil || f.Code != fault.UpstreamUnavailable || !strings.Contains(f.Message, "tls_ca") {
		t.Errorf("without its authority: %v", err)
	}
	plain := mlflowtest.New(t)
	_, _, err = newClient(t, at(strings.Replace(plain.URL, "http:", "https:", 1))).Do(t.Context(), call("{}"), plenty)
	if f := fault.From(err); f == nil || f.Code != fault.UpstreamUnavailable || !strings.Contains(f.Message, "scheme") {
		t.Errorf("TLS to a plain server: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := []string{"http://127.0.0.1:1"}
	for name, cfg := range map[string]upstream.Config{
		"no server":    {},
		"no scheme":    at("127.0.0.1:9020"),
		"ftp":          at("ftp://x:secret@host/"),
		"no host":      at("http:///x"),
		"one bad":      at(good[0], "nonsense"),
		"unreadable":   at("http://user:secret@host:port%/"),
		"no CA file":   {URLs: good, TLSCA: empty + "x"},
		"empty CA":     {URLs: good, TLSCA: empty},
		"line break":   {URLs: good, Headers: map[string]string{"X": "secret\r\nY: 1"}},
		"bad name":     {URLs: good, Headers: map[string]string{"X Y": "secret"}},
		"framing":      {URLs: good, Headers: map[string]string{"content-length": "1"}},
		"empty header": {URLs: good, Headers: map[string]string{"": "1"}},
	} {
		if _, err := upstream.New(cfg); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
