package natstest

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
)

// Severable is a way to a server that can be cut for good, as when the machine at its end dies.
type Severable struct {
	listener net.Listener
	copying  sync.WaitGroup

	mu    sync.Mutex
	to    string // the server's address
	dead  bool
	away  bool // connections are closed as soon as they are made
	conns []net.Conn
	still chan struct{} // closed when bytes pass again; nil while they do
	mute  bool          // only those that come from the server are kept back
}

// lead sets where the way ends, and makes connections last.
func (s *Severable) lead(to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to, s.away = to, false
}

func (s *Severable) end() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.to
}

// Stall keeps all bytes back until Resume is called: the connections stay, and nothing comes through them.
func (s *Severable) Stall() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.still = make(chan struct{})
}

// Resume lets all bytes pass again.
func (s *Severable) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.still != nil {
		close(s.still)
		s.still = nil
	}
}

// Deafen is Stall for what comes from the server only.
func (s *Severable) Deafen() {
	s.Stall()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mute = true
}

// Lose closes all connections, and those that are made until Restore is called.
func (s *Severable) Lose() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = true
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

// Restore makes new connections last again.
func (s *Severable) Restore() {
	s.Resume()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away, s.mute = false, false
}

// NewSeverable makes a way to the server at an address. It is cut when the test ends.
func NewSeverable(tb testing.TB, to string) *Severable {
	tb.Helper()
	s := newWay(tb)
	s.lead(to)
	return s
}

// newWay makes a way that leads nowhere yet: connections are closed as soon as they are made.
func newWay(tb testing.TB) *Severable {
	tb.Helper()
	listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &Severable{listener: listener, away: true}
	s.copying.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := new(net.Dialer).DialContext(context.WithoutCancel(tb.Context()), "tcp", s.end())
			if err != nil {
				_ = in.Close()
				continue
			}
			s.join(in, out)
		}
	})
	tb.Cleanup(s.Cut)
	return s
}

func (s *Severable) join(in, out net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = append(s.conns, in, out)
	if s.dead || s.away {
		_, _ = in.Close(), out.Close()
	}
	for from, to := range map[net.Conn]net.Conn{in: out, out: in} {
		s.copying.Go(func() {
			_, _ = io.Copy(gate{to, s, to == out}, from) // until one of them is closed
			_, _ = to.Close(), from.Close()
		})
	}
}

// Cut closes the way for good.
func (s *Severable) Cut() {
	_ = s.listener.Close()
	s.Resume()
	s.mu.Lock()
	s.dead = true
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.copying.Wait()
}

// gate is one end of a connection that can be stalled.
type gate struct {
	net.Conn

	way *Severable
	in  bool // towards the server
}

// Write waits as long as the way is stalled.
func (g gate) Write(p []byte) (int, error) {
	g.way.mu.Lock()
	still := g.way.still
	if g.in && g.way.mute {
		still = nil
	}
	g.way.mu.Unlock()
	if still != nil {
		<-still
	}
	return g.Conn.Write(p)
}

// URL is where the way begins.
func (s *Severable) URL() string { return "nats://" + s.listener.Addr().String() }
