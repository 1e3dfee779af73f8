package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

const (
	// dialPatience bounds connecting; everything here listens on loopback.
	dialPatience = 5 * time.Second
	// maxReply bounds a body that is kept, in bytes.
	maxReply = 64 << 20
)

var (
	errNoLength = errors.New("the reply has no Content-Length")
	errNotHTTP  = errors.New("the reply is not HTTP/1.1")
)

// conn is one keep-alive HTTP/1.1 connection. It knows just enough of HTTP to ask the servers of this
// benchmark, because the load shares the processors with what it measures: net/http's client costs more than
// the reverse proxy that is the yardstick. It is not safe for concurrent use.
type conn struct {
	raw net.Conn
	in  *bufio.Reader
}

// dial connects to addr.
func dial(ctx context.Context, addr string) (*conn, error) {
	d := net.Dialer{Timeout: dialPatience}
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &conn{raw: raw, in: bufio.NewReaderSize(raw, 16<<10)}, nil
}

func (c *conn) close() { _ = c.raw.Close() }

// expire makes every read and write after t fail.
func (c *conn) expire(t time.Time) error { return c.raw.SetDeadline(t) }

// call sends one rendered request, reads the whole reply and drops its body, whose length it returns.
func (c *conn) call(request []byte) (status, length int, err error) {
	status, length, err = c.exchange(request)
	if err != nil {
		return 0, 0, err
	}
	if _, err := c.in.Discard(length); err != nil {
		return 0, 0, err
	}
	return status, length, nil
}

// fetch is call that keeps the body.
func (c *conn) fetch(request []byte) (status int, body []byte, err error) {
	status, length, err := c.exchange(request)
	if err != nil {
		return 0, nil, err
	}
	if length > maxReply {
		return 0, nil, fmt.Errorf("a reply of %d bytes", length)
	}
	body = make([]byte, length)
	if _, err := io.ReadFull(c.in, body); err != nil {
		return 0, nil, err
	}
	return status, body, nil
}

// exchange sends a request and reads the reply up to its body.
func (c *conn) exchange(request []byte) (status, length int, err error) {
	if _, err := c.raw.Write(request); err != nil {
		return 0, 0, err
	}
	return readHead(c.in)
}

// readHead reads the status line and the headers of a reply.
func readHead(in *bufio.Reader) (status, length int, err error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return 0, 0, err
	}
	if len(line) < len("HTTP/1.1 200\n") || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, 0, errNotHTTP
	}
	status, err = strconv.Atoi(string(line[9:12]))
	if err != nil {
		return 0, 0, errNotHTTP
	}
	length = -1
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return 0, 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		const name = "content-length:"
		if len(line) > len(name) && bytes.EqualFold(line[:len(name)], []byte(name)) {
			length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(name):])))
			if err != nil || length < 0 {
				return 0, 0, errNoLength
			}
		}
	}
	if length < 0 {
		return 0, 0, errNoLength
	}
	return status, length, nil
}

// get renders a GET request.
func get(addr, path string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: headrace-bench\r\n\r\n", path, addr)
}

// post renders a POST request with a JSON body.
func post(addr, path, body string) []byte {
	return fmt.Appendf(nil,
		"POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: headrace-bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		path, addr, len(body), body)
}

// once makes one call on a connection of its own, and keeps the body.
func once(ctx context.Context, addr string, request []byte, patience time.Duration) (status int, body []byte, err error) {
	c, err := dial(ctx, addr)
	if err != nil {
		return 0, nil, err
	}
	defer c.close()
	if err := c.expire(time.Now().Add(patience)); err != nil {
		return 0, nil, err
	}
	return c.fetch(request)
}
