package e2e_test

import (
	"net"
	"sync"
	"testing"
	"time"
)

// proxy stands between a role and the broker and can break what goes through it. It is closed when the test ends.
type proxy struct {
	t      *testing.T
	addr   string
	target string

	mu      sync.Mutex
	conns   map[net.Conn]bool
	delay   time.Duration // of everything
	dark    bool          // nothing comes through, and neither side notices
	changed chan struct{} // closed when dark changes, or everything ends
	over    bool
	running sync.WaitGroup
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, addr: l.Addr().String(), target: target, conns: make(map[net.Conn]bool), changed: make(chan struct{})}
	p.running.Go(func() { p.accept(l) })
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		p.over = true
		close(p.changed)
		p.mu.Unlock()
		p.cut()
		p.running.Wait()
	})
	return p
}

func (p *proxy) accept(l net.Listener) {
	for {
		near, err := l.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() {
			far, err := net.DialTimeout("tcp", p.target, 5*time.Second)
			if err != nil { // as if the port were closed
				_ = near.Close()
				return
			}
			if !p.keep(near, far) {
				return
			}
			p.running.Go(func() { p.carry(near, far) })
			p.carry(far, near)
		})
	}
}

// keep notes both ends of a connection; false, and both are closed, when everything is over.
func (p *proxy) keep(ends ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range ends {
		if p.over {
			_ = c.Close()
		} else {
			p.conns[c] = true
		}
	}
	return !p.over
}

// carry moves bytes one way until either side ends, and ends both.
func (p *proxy) carry(from, to net.Conn) {
	defer func() {
		_, _ = from.Close(), to.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, from)
		delete(p.conns, to)
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			p.hold()
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// hold waits as long as the fault wants it.
func (p *proxy) hold() {
	p.mu.Lock()
	delay := p.delay
	p.mu.Unlock()
	if delay > 0 {
		<-time.After(delay)
	}
	for {
		p.mu.Lock()
		dark, changed := p.dark && !p.over, p.changed
		p.mu.Unlock()
		if !dark {
			return
		}
		<-changed
	}
}

// cut closes all connections; new ones may be made.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

// slow delays everything by d.
func (p *proxy) slow(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// darken lets nothing through. What was on its way then arrives when there is light again.
func (p *proxy) darken(dark bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dark = dark
	if !p.over {
		close(p.changed)
		p.changed = make(chan struct{})
	}
}
