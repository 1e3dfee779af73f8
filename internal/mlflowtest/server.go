package mlflowtest

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"
)

// patience bounds every wait of a test for the server; reaching it fails the test.
const patience = 10 * time.Second

// Server is a scripted model server on loopback. It answers GET (/ping, /health, /version) by itself and
// every other request by its script. It is closed when the test ends. Its methods may be called at any time.
type Server struct {
	URL string // without a slash at the end

	t    testing.TB
	addr string
	wg   sync.WaitGroup

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced whenever something below changes
	listener net.Listener  // nil while down
	conns    map[net.Conn]bool
	stop     chan struct{} // closed when the server goes down: ends all holding
	script   func(Request) Reply
	requests []Request
	// forgetful: requests are answered and not kept.
	forgetful bool
	probes    int
	opened    int
	running   int
	most      int
	aborted   int
}

// Request is one that the server received.
type Request struct {
	Method string
	Path   string // the exact request target, query included
	Header http.Header
	Body   []byte
	Conn   int // the number of the connection it came on, from 1
}

// New starts a server that answers {"predictions": ["ok"]} until it is told otherwise.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t, changed: make(chan struct{}), conns: make(map[net.Conn]bool)}
	s.Reply(Predictions(`["ok"]`))
	s.addr = "127.0.0.1:0"
	s.Up()
	s.URL = "http://" + s.addr
	t.Cleanup(s.Down)
	return s
}

// ClosedURL is the address of a server that is not there: connections are refused.
func ClosedURL(t testing.TB) string {
	t.Helper()
	s := New(t)
	s.Down()
	return s.URL
}

// Reply scripts the answers to come: the first reply answers the next request, and so on; the last one
// answers all further requests.
func (s *Server) Reply(first Reply, more ...Reply) {
	replies := append([]Reply{first}, more...)
	var mu sync.Mutex
	s.Handle(func(Request) Reply {
		mu.Lock()
		defer mu.Unlock()
		next := replies[0]
		if len(replies) > 1 {
			replies = replies[1:]
		}
		return next
	})
}

// Handle scripts the answers by request. f may be called concurrently.
func (s *Server) Handle(f func(Request) Reply) {
	s.update(func() { s.script = f })
}

// Requests lists what was received so far, probes aside, in order of arrival.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// KeepNone makes the server forget each request once it is answered: for tests that send more than fits into memory.
// Requests and WaitRequests see none that come later.
func (s *Server) KeepNone() { s.update(func() { s.forgetful = true }) }

// WaitRequests waits until n requests have arrived and lists them.
func (s *Server) WaitRequests(n int) []Request {
	s.t.Helper()
	s.wait("requests", n, func() int { return len(s.requests) })
	return s.Requests()
}

// WaitAborted waits until n callers have left before they had their answer.
func (s *Server) WaitAborted(n int) {
	s.t.Helper()
	s.wait("callers that left", n, func() int { return s.aborted })
}

// WaitProbes waits until n GET requests have arrived.
func (s *Server) WaitProbes(n int) {
	s.t.Helper()
	s.wait("probes", n, func() int { return s.probes })
}

// WaitIdle waits until no request is running.
func (s *Server) WaitIdle() {
	s.t.Helper()
	s.wait("unused moments", 1, func() int { return 1 - min(1, s.running) })
}

// WaitConnections waits until at most n connections are open.
func (s *Server) WaitConnections(n int) {
	s.t.Helper()
	s.wait("times few enough connections", 1, func() int {
		if len(s.conns) > n {
			return 0
		}
		return 1
	})
}

// Aborted is how many callers left before they had their answer.
func (s *Server) Aborted() int { return s.read(&s.aborted) }

// MaxInFlight is the most requests that were running at the same time.
func (s *Server) MaxInFlight() int { return s.read(&s.most) }

// InFlight is how many requests are running now.
func (s *Server) InFlight() int { return s.read(&s.running) }

// Connections is how many connections were accepted so far.
func (s *Server) Connections() int { return s.read(&s.opened) }

// Probes is how many GET requests were received.
func (s *Server) Probes() int { return s.read(&s.probes) }

// CloseConnections closes every connection, as a model server does with idle ones after five seconds, and
// keeps listening.
func (s *Server) CloseConnections() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}

// Down closes the listener and all connections, and returns when everything has ended. Connections are
// refused from then on. It may be called more than once.
func (s *Server) Down() {
	s.mu.Lock()
	if s.listener == nil {
		s.mu.Unlock()
		return
	}
	_ = s.listener.Close()
	s.listener = nil
	close(s.stop)
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// Up listens again, at the same address, after Down.
func (s *Server) Up() {
	s.t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(s.t.Context(), "tcp", s.addr)
	if err != nil {
		s.t.Fatalf("model server: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addr = l.Addr().String()
	s.listener = l
	stop := make(chan struct{})
	s.stop = stop
	s.wg.Go(func() { s.accept(l, stop) })
}

func (s *Server) accept(l net.Listener, stop chan struct{}) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		down := s.listener != l
		if !down {
			s.conns[c] = true
			s.opened++
		}
		number := s.opened
		s.mu.Unlock()
		if down {
			_ = c.Close()
			continue
		}
		s.wg.Go(func() {
			s.serve(c, number, stop)
			_ = c.Close()
			s.update(func() { delete(s.conns, c) })
		})
	}
}

// serve answers the requests of one connection until either side closes it.
func (s *Server) serve(c net.Conn, number int, stop <-chan struct{}) {
	in := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if req.Header.Get("Expect") == "100-continue" {
			_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		got := Request{Method: req.Method, Path: req.RequestURI, Header: req.Header, Body: body, Conn: number}
		if !s.respond(c, in, got, stop) {
			return
		}
	}
}

// respond answers one request; false: the connection is to be closed.
func (s *Server) respond(c net.Conn, in *bufio.Reader, req Request, stop <-chan struct{}) bool {
	if req.Method == http.MethodGet {
		s.update(func() { s.probes++ })
		alive := JSON("\n")
		return alive.write(c) == nil
	}
	var script func(Request) Reply
	s.update(func() {
		if !s.forgetful {
			s.requests = append(s.requests, req)
		}
		s.running++
		s.most = max(s.most, s.running)
		script = s.script
	})
	reply := script(req)
	held := s.hold(c, in, reply.Hold, stop)
	s.update(func() {
		s.running--
		if !held {
			s.aborted++
		}
	})
	return held && reply.write(c) == nil && !reply.CloseAfter
}

// hold waits until the reply is released; false: the caller left, or the server goes down.
func (s *Server) hold(c net.Conn, in *bufio.Reader, release, stop <-chan struct{}) bool {
	if release == nil {
		return true
	}
	// A caller sends nothing before it has its answer: what ends this read is its leaving, or the deadline below.
	watch := make(chan error, 1)
	s.wg.Go(func() {
		_, err := in.Peek(1)
		watch <- err
	})
	select {
	case <-release:
		return stopped(c, watch)
	case err := <-watch:
		if err != nil {
			return false
		}
	case <-stop:
		return false
	}
	select { // the caller did send something early
	case <-release:
		return true
	case <-stop:
		return false
	}
}

// stopped ends the watching of hold, so that the connection can be read again; false: the caller has left.
func stopped(c net.Conn, watch <-chan error) bool {
	_ = c.SetReadDeadline(time.Unix(1, 0))
	err := <-watch
	_ = c.SetReadDeadline(time.Time{})
	return err == nil || errors.Is(err, os.ErrDeadlineExceeded)
}

func (s *Server) update(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Server) read(field *int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *field
}

func (s *Server) wait(what string, n int, count func() int) {
	s.t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		s.mu.Lock()
		got, changed := count(), s.changed
		s.mu.Unlock()
		if got >= n {
			return
		}
		select {
		case <-changed:
		case <-late.C:
			s.t.Fatalf("the model server saw %d %s, want %d", got, what, n)
		}
	}
}
