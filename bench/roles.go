package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"headrace/internal/app"
)

// roleFlag before a role's name is how this program starts itself in that role.
const roleFlag = "-role="

// The roles. A server has a process of its own, so that its memory and its processor time are its own.
const (
	roleModel        = "model"         // an instant model server
	roleProxy        = "proxy"         // a bare reverse proxy with a tuned transport
	roleProxyDefault = "proxy-default" // the same with Go's default transport
	roleHeadrace     = "headrace"      // `headrace up` under the profiler
)

// tunedIdle is how many idle connections the tuned proxy keeps to its one model server.
const tunedIdle = 1024

// playRole runs one role until ctx ends. Servers print the address they listen on as their first line.
func playRole(ctx context.Context, name string, args []string, out io.Writer) error {
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	floats := set.Int("floats", 384, "")
	hold := set.Bool("hold", false, "")
	to := set.String("to", "", "")
	fixed := set.Duration("fixed", 0, "")
	item := set.Duration("item", 0, "")
	config := set.String("config", "", "")
	profile := set.String("profile", "", "")
	if err := set.Parse(args); err != nil {
		return err
	}
	switch name {
	case roleModel:
		m := newModel(*floats)
		m.fixed, m.item = *fixed, *item
		if !*hold {
			m.release()
		}
		return serve(ctx, m.handler(), out)
	case roleProxy:
		transport := &http.Transport{MaxIdleConns: tunedIdle, MaxIdleConnsPerHost: tunedIdle, DisableCompression: true}
		return serve(ctx, bareProxy(*to, transport), out)
	case roleProxyDefault:
		return serve(ctx, bareProxy(*to, http.DefaultTransport), out)
	case roleHeadrace:
		return profiled(ctx, *config, *profile)
	default:
		return fmt.Errorf("there is no role %q", name)
	}
}

// serve answers on a free port of the loopback interface until ctx ends.
func serve(ctx context.Context, handler http.Handler, out io.Writer) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, listener.Addr()); err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// bareProxy is httputil.ReverseProxy as its documentation shows it, and nothing else.
func bareProxy(to string, transport http.RoundTripper) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: to}) },
		Transport: transport,
	}
}

// model is a model server that computes nothing: each input gets the same row of floats.
type model struct {
	row  string
	one  []byte        // the whole reply for one input
	held atomic.Int64  // calls that wait for the release
	free chan struct{} // closed at the release
	once sync.Once
	// fixed and item are what a call costs, and each input in it; calls are computed one after the other.
	fixed, item time.Duration
	computing   sync.Mutex
}

func newModel(floats int) *model {
	m := &model{row: renderRow(floats), free: make(chan struct{})}
	m.one = m.reply(1)
	return m
}

// renderRow writes floats as MLflow does: float32 values in the digits of the float64 of the same value.
func renderRow(floats int) string {
	random := rand.New(rand.NewPCG(1, 2)) // the same row in every run
	var b strings.Builder
	b.WriteByte('[')
	for i := range floats {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.FormatFloat(float64(float32(random.NormFloat64()/20)), 'g', -1, 64))
	}
	b.WriteByte(']')
	return b.String()
}

func (m *model) reply(inputs int) []byte {
	rows := strings.TrimSuffix(strings.Repeat(m.row+", ", inputs), ", ")
	return []byte(`{"predictions": [` + rows + `]}`)
}

func (m *model) release() { m.once.Do(func() { close(m.free) }) }

func (m *model) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /invocations", m.invoke)
	mux.HandleFunc("POST /release", func(w http.ResponseWriter, _ *http.Request) {
		m.release()
		w.Header().Set("Content-Length", "0")
	})
	mux.HandleFunc("GET /held", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strconv.FormatInt(m.held.Load(), 10)) // the asker notices
	})
	mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
	return mux
}

// invoke answers with as many rows as the body names strings: nothing is computed, but the answer is right.
func (m *model) invoke(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the caller has gone
	}
	select {
	case <-m.free:
	default:
		m.held.Add(1)
		select {
		case <-m.free:
		case <-r.Context().Done():
		}
		m.held.Add(-1)
	}
	reply := m.one
	n := countInputs(body)
	if n != 1 {
		reply = m.reply(n)
	}
	m.compute(n)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(reply)))
	_, _ = w.Write(reply) // the caller notices
}

// compute takes as long as n inputs cost.
func (m *model) compute(n int) {
	if m.fixed == 0 && m.item == 0 {
		return
	}
	m.computing.Lock()
	defer m.computing.Unlock()
	<-time.After(m.fixed + time.Duration(n)*m.item)
}

// countInputs counts the strings of {"inputs": [...]}; ours have no escapes.
func countInputs(body []byte) int {
	quotes := 0
	for _, c := range body {
		if c == '"' {
			quotes++
		}
	}
	return max(quotes/2-1, 0)
}

// profiled runs `headrace up` with a processor profile written to a file.
func profiled(ctx context.Context, config, path string) error {
	file, err := os.Create(path) //nolint:gosec // the caller of -profile named the directory
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return errors.Join(err, file.Close())
	}
	err = app.Up(ctx, app.Settings{Config: config, LogLevel: "info", Out: os.Stderr, Err: os.Stderr})
	pprof.StopCPUProfile()
	return errors.Join(err, file.Close())
}
