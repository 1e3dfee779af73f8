package api

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
)

// gathered is the largest reply, head included, that is gathered into one write. Each write to a socket wakes
// the reader up; net/http makes two or three of them for a reply beyond its own 4 KiB buffer.
const gathered = 32 << 10

// maxHead is more than the status line and the headers of our replies take.
const maxHead = 2 << 10

// wireListener gives connections that can gather what is written.
type wireListener struct{ net.Listener }

// Accept waits for the next connection.
func (l wireListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &wire{Conn: conn}, nil
}

// wire is a connection that holds back what is written while it gathers. Only the goroutine that serves the
// connection writes, so it needs no lock.
type wire struct {
	net.Conn

	held *[]byte // nil: nothing is gathered
	seen lengthSeen
}

// Read notes whether the caller has ever sent a Content-Length.
func (c *wire) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.seen.look(p[:n])
	return n, err
}

// lengthSeen finds the header Content-Length in what a caller sends. net/http drops it beside Transfer-Encoding and
// keeps the connection open, although two parties that disagree on which of the two counts then take different bytes
// for the next request. One that was sent with an earlier request counts, too: the reader does not know where one
// request ends, and closing a connection needlessly does no harm.
type lengthSeen struct {
	found atomic.Bool // read by handlers
	tail  []byte      // the end of what came before
}

const lengthHeader = "\ncontent-length"

func (l *lengthSeen) look(p []byte) {
	if l.found.Load() || len(p) == 0 {
		return
	}
	seam := slices.Concat(l.tail, p[:min(len(p), len(lengthHeader)-1)])
	if hasLength(seam) || hasLength(p) {
		l.found.Store(true)
		l.tail = nil
		return
	}
	if len(p) < len(lengthHeader)-1 {
		p = seam
	}
	l.tail = append([]byte(nil), p[max(0, len(p)-len(lengthHeader)+1):]...)
}

func hasLength(p []byte) bool {
	for {
		at := bytes.IndexByte(p, '\n')
		if at < 0 || len(p)-at < len(lengthHeader) {
			return false
		}
		if bytes.EqualFold(p[at:at+len(lengthHeader)], []byte(lengthHeader)) {
			return true
		}
		p = p[at+1:]
	}
}

// ambiguous tells a request whose end two parties may see in different places: it has a Transfer-Encoding, and its
// connection has carried a Content-Length. RFC 9112, 6.3, wants the connection closed after the answer.
func ambiguous(r *http.Request) bool {
	if len(r.TransferEncoding) == 0 {
		return false
	}
	c, ok := r.Context().Value(wireKey{}).(*wire)
	return ok && c.seen.found.Load()
}

// wirePool keeps the buffers of replies under way; one is taken for a write only.
type wirePool struct{ pool sync.Pool }

func newWirePool() *wirePool {
	return &wirePool{sync.Pool{New: func() any {
		buffer := make([]byte, 0, gathered)
		return &buffer
	}}}
}

// Write holds p back while the connection gathers and p still fits.
func (c *wire) Write(p []byte) (int, error) {
	if c.held == nil {
		return c.Conn.Write(p)
	}
	if len(*c.held)+len(p) <= cap(*c.held) {
		*c.held = append(*c.held, p...)
		return len(p), nil
	}
	if err := c.send(); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c *wire) send() error {
	if len(*c.held) == 0 {
		return nil
	}
	_, err := c.Conn.Write(*c.held)
	*c.held = (*c.held)[:0]
	return err
}

// CloseWrite lets the server end its side first, so that a caller who still sends can read the reply.
func (c *wire) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

type wireKey struct{}

// withWire lets handlers find their connection.
func withWire(ctx context.Context, conn net.Conn) context.Context {
	if c, ok := conn.(*wire); ok {
		return context.WithValue(ctx, wireKey{}, c)
	}
	return ctx
}

// gather runs write and sends what it wrote to w at once. On other connections than wires, such as those of
// tests, it just writes.
func (p *wirePool) gather(ctx context.Context, w http.ResponseWriter, write func() error) error {
	c, ok := ctx.Value(wireKey{}).(*wire)
	if !ok {
		return write()
	}
	buffer, ok := p.pool.Get().(*[]byte)
	if !ok {
		return write()
	}
	c.held = buffer
	err := write()
	if err == nil {
		err = http.NewResponseController(w).Flush()
	}
	if err == nil {
		err = c.send()
	}
	c.held = nil
	*buffer = (*buffer)[:0]
	p.pool.Put(buffer)
	return err
}
