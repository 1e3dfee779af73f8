package api_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"headrace/api"
	"headrace/internal/budget"
	"headrace/internal/fault"
	"headrace/internal/inference"
)

// fakeBroker answers calls by a function and keeps what it was asked.
type fakeBroker struct {
	mu       sync.Mutex
	requests []*inference.Request
	answer   func(ctx context.Context, route *inference.Route, req *inference.Request) (*inference.Result, error)
	notReady error
	state    inference.RouteState
}

func (b *fakeBroker) Call(ctx context.Context, route *inference.Route, req *inference.Request) (*inference.Result, error) {
	b.mu.Lock()
	b.requests = append(b.requests, req)
	b.mu.Unlock()
	if b.answer == nil {
		return echo(ctx, route, req)
	}
	return b.answer(ctx, route, req)
}

func (b *fakeBroker) Ready() error                      { return b.notReady }
func (b *fakeBroker) State(string) inference.RouteState { return b.state }

func (b *fakeBroker) asked() []*inference.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]*inference.Request(nil), b.requests...)
}

// echo answers texts with their prompts, embeddings with one row for each item, raw routes with the body.
func echo(_ context.Context, _ *inference.Route, req *inference.Request) (*inference.Result, error) {
	res := &inference.Result{Queue: 1500 * time.Microsecond, Upstream: 2 * time.Millisecond, Batch: 3}
	switch req.Type {
	case inference.Raw:
		res.Body = req.Body
	case inference.Embeddings:
		for range req.Items {
			res.Items = append(res.Items, []byte("[0.50, -1e-7,null]"))
		}
	case inference.Completions, inference.Chat:
		res.Items = req.Items
	}
	return res, nil
}

// windows counts calls in one window that never ends.
type windows struct {
	mu    sync.Mutex
	taken map[string]int
}

func (l *windows) Take(_ context.Context, route *inference.Route, key string) (bool, time.Duration, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken == nil {
		l.taken = make(map[string]int)
	}
	if l.taken[key] >= route.Limit.Calls {
		return false, 30 * time.Second, nil
	}
	l.taken[key]++
	return true, 0, nil
}

func table() *inference.Table {
	return inference.NewTable(
		&inference.Route{Name: "old-completions", Type: inference.Completions, Family: inference.Routes, Provider: "mlflow-model-serving", Model: "m1", Servers: []string{"http://user:secret@127.0.0.1:1/x?key=1"}},
		&inference.Route{Name: "old-chat", Type: inference.Chat, Family: inference.Routes, Provider: "mlflow-model-serving", Model: "m1"},
		&inference.Route{Name: "old-embeddings", Type: inference.Embeddings, Family: inference.Routes, Provider: "mlflow-model-serving", Model: "m1"},
		&inference.Route{Name: "completions", Type: inference.Completions, Family: inference.Endpoints, Provider: "mlflow-model-serving", Model: "m2"},
		&inference.Route{Name: "chat", Type: inference.Chat, Family: inference.Endpoints, Provider: "mlflow-model-serving", Model: "m2", Format: inference.FormatInputs},
		&inference.Route{Name: "embeddings", Type: inference.Embeddings, Family: inference.Endpoints, Provider: "mlflow-model-serving", Model: "m2"},
		&inference.Route{Name: "raw", Type: inference.Raw, Family: inference.Endpoints, Provider: "mlflow-model-serving", Model: "m3"},
		&inference.Route{
			Name: "limited", Type: inference.Completions, Family: inference.Endpoints, Provider: "mlflow-model-serving", Model: "m4",
			Limit: &inference.Limit{Calls: 2, Period: "minute", Window: time.Minute},
		},
	)
}

// newServer makes a server over a broker; change edits what it is made of.
func newServer(tb testing.TB, broker *fakeBroker, change ...func(*api.Config, *api.Deps)) *api.Server {
	tb.Helper()
	cfg := api.Config{Listen: "127.0.0.1:0", Version: "test"}
	deps := api.Deps{Broker: broker, Budget: budget.New(1 << 26), Table: table(), Limiter: &windows{}}
	for _, f := range change {
		f(&cfg, &deps)
	}
	s, err := api.New(cfg, deps)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// do sends one request through the handler. Headers are "Name: value".
func do(tb testing.TB, s *api.Server, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	tb.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	r := httptest.NewRequestWithContext(tb.Context(), method, path, in)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

// wire is a request as it goes over a connection.
type wire struct {
	method, target string
	headers        map[string]string
	body           []byte
	hasBody        bool // a body may be empty
	chunked        bool
}

// reply is what came back.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// exchange sends a request byte for byte to address and reads the reply.
func exchange(tb testing.TB, address string, w wire) reply {
	tb.Helper()
	conn, err := new(net.Dialer).DialContext(tb.Context(), "tcp", address)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", w.method, w.target)
	if _, ok := w.headers["host"]; !ok {
		fmt.Fprintf(&b, "Host: %s\r\n", address)
	}
	for name, value := range w.headers {
		fmt.Fprintf(&b, "%s: %s\r\n", name, value)
	}
	switch {
	case w.chunked:
		fmt.Fprintf(&b, "Transfer-Encoding: chunked\r\n\r\n")
		if len(w.body) > 0 {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(w.body), w.body)
		}
		b.WriteString("0\r\n\r\n")
	case w.hasBody:
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(w.body), w.body)
	default:
		b.WriteString("\r\n")
	}
	if _, err := conn.Write(b.Bytes()); err != nil {
		tb.Fatal(err)
	}
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, &http.Request{Method: w.method})
	for err == nil && res.StatusCode == http.StatusContinue {
		res, err = http.ReadResponse(in, &http.Request{Method: w.method})
	}
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return reply{status: res.StatusCode, header: res.Header, body: body}
}

// unavailable is the answer of a broker whose model server is gone.
func unavailable(context.Context, *inference.Route, *inference.Request) (*inference.Result, error) {
	return nil, fault.New(fault.UpstreamUnavailable, "the model server refused the connection")
}
