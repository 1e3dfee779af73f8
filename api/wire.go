package api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
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
