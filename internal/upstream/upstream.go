// Package upstream sends calls to one model server, which may have several replicas.
//
// It knows HTTP, not what the bytes mean. It keeps connections alive and reuses them; it silently replaces one that the server
// has closed since. It ignores redirects, cookies and the environment's proxies. It bounds replies, and reserves them against a
// budget before it reads them.
//
// With several replicas the least busy one gets the call. One that cannot be connected to is put aside and
// probed until it answers again; a call that could not be sent goes to the next one. One of which half of the calls fail,
// or that takes several times as long as the others, is put aside for a while.
package upstream

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"headrace/internal/budget"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
)

// idleTimeout is how long an unused connection is kept. uvicorn closes its own after five seconds, and the
// one that closes first should be the one that would otherwise use it.
const idleTimeout = 4 * time.Second

// Config says where the model server is and how to call it. URLs is required; a zero value elsewhere means the default.
type Config struct {
	// URLs are the base URLs of the replicas, http or https. A path is a prefix, a query is kept, user and
	// password become an Authorization header.
	URLs []string
	// Headers are sent with each call. They may be secrets and appear in no message.
	Headers map[string]string
	// TLSCA is a PEM file with the only authorities a server's certificate may come from; "" = the system's.
	TLSCA string
	// ConnectTimeout bounds connecting, TLS included; default 2 s.
	ConnectTimeout time.Duration
	// MaxIdle is how many unused connections are kept for each replica; default 1. It should equal the number of slots.
	MaxIdle int
	// Budget is what replies are reserved against; nil means that nothing is counted.
	Budget *budget.Bytes
	// UserAgent is the header's value; default "headrace".
	UserAgent string
	// ProbePause is the first pause between probes of a replica that is down; default 500 ms. It grows.
	ProbePause time.Duration
}

// Client calls one model server. It is safe for concurrent use.
type Client struct {
	cfg       Config
	transport *http.Transport
	replicas  *replicas

	runs atomic.Int32 // how many Runs are under way
	ran  atomic.Bool  // there was one
}

// New checks cfg and reads its TLSCA. It opens no connection, so the server may be down.
func New(cfg Config) (*Client, error) {
	cfg.ConnectTimeout = cmp.Or(cfg.ConnectTimeout, 2*time.Second)
	cfg.ProbePause = cmp.Or(cfg.ProbePause, 500*time.Millisecond)
	cfg.MaxIdle = max(cfg.MaxIdle, 1)
	cfg.UserAgent = cmp.Or(cfg.UserAgent, "headrace")
	targets, err := parse(cfg.URLs)
	if err != nil {
		return nil, err
	}
	if err := checkHeaders(cfg.Headers); err != nil {
		return nil, err
	}
	settings, err := secure(cfg.TLSCA)
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, replicas: newReplicas(targets)}
	c.transport = &http.Transport{
		DialContext:           (&net.Dialer{Timeout: cfg.ConnectTimeout}).DialContext,
		TLSClientConfig:       settings,
		TLSHandshakeTimeout:   cfg.ConnectTimeout,
		DisableCompression:    true,
		MaxIdleConnsPerHost:   cfg.MaxIdle,
		IdleConnTimeout:       idleTimeout,
		ReadBufferSize:        16 << 10,
		ExpectContinueTimeout: time.Second,
	}
	return c, nil
}

// Close closes the connections that are not in use. Calls still work afterwards.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// tidy keeps no connection for later once Run has ended: nothing is left to use or to close it.
func (c *Client) tidy() {
	if c.ran.Load() && c.runs.Load() == 0 {
		c.Close()
	}
}

func parse(servers []string) ([]*url.URL, error) {
	if len(servers) == 0 {
		return nil, errors.New("a model server needs at least one URL")
	}
	targets := make([]*url.URL, 0, len(servers))
	for _, server := range servers {
		u, err := url.Parse(server)
		if err != nil {
			// The parser's own error repeats the text, which may hold a password.
			return nil, errors.New("the URL of a model server cannot be read")
		}
		if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
			return nil, fmt.Errorf("the URL of a model server must begin with http:// or https:// and name a host: %s", shown(u))
		}
		targets = append(targets, u)
	}
	return targets, nil
}

// shown returns a URL without the parts that may be secret.
func shown(u *url.URL) string { return inference.PublicAddress(u.String()) }

func checkHeaders(headers map[string]string) error {
	for name, value := range headers {
		switch canonical := http.CanonicalHeaderKey(name); {
		case name == "" || strings.ContainsAny(name, " \t\r\n:"):
			return fmt.Errorf("%q is not a valid header name", name)
		case strings.ContainsAny(value, "\r\n\x00"):
			return fmt.Errorf("the value of the header %s contains a line break", name)
		case canonical == "Content-Length" || canonical == "Transfer-Encoding" || canonical == "Connection":
			return fmt.Errorf("the header %s cannot be set: it describes the connection", name)
		}
	}
	return nil
}

// secure returns the TLS settings; with a file, only the authorities in it are trusted.
func secure(file string) (*tls.Config, error) {
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if file == "" {
		return settings, nil
	}
	pem, err := os.ReadFile(file) //nolint:gosec // The configuration names the file.
	if err != nil {
		return nil, fmt.Errorf("tls_ca: %w", err)
	}
	settings.RootCAs = x509.NewCertPool()
	if !settings.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tls_ca: %s holds no certificate in PEM form", file)
	}
	return settings, nil
}

// Do sends one call and reads the reply, of at most maxReply bytes after decompression. release returns the reply's bytes to the
// budget; it is not nil when err is nil and may be called more than once.
//
// A failure is a *fault.Error: UpstreamUnavailable when the server cannot be reached or leaves in the middle,
// UpstreamTimeout when ctx's deadline passes, UpstreamBadResponse for an answer that is not HTTP, too large or
// wrongly compressed, QueueFull when the budget had no room for it in time. When ctx was cancelled, the error is its cause.
//
// A call with limits for a stream may be answered in pieces: the reply has Events then, release closes them, and the call
// takes its place until then. ctx's end closes the connection at once.
func (c *Client) Do(ctx context.Context, call provider.Call, maxReply int64) (provider.Reply, func(), error) {
	if call.Stream == nil {
		return c.do(ctx, nil, call, maxReply)
	}
	ctx, giveUp := context.WithCancelCause(ctx)
	reply, release, err := c.do(ctx, giveUp, call, maxReply)
	if reply.Events == nil {
		giveUp(nil)
	}
	return reply, release, err
}

// do is Do; giveUp ends ctx, and is nil for a call without a stream.
func (c *Client) do(ctx context.Context, giveUp context.CancelCauseFunc, call provider.Call, maxReply int64) (provider.Reply, func(), error) {
	defer c.tidy()
	var tried []*replica
	for {
		r, began := c.replicas.take(tried, call.Server), time.Now()
		secured := new(atomic.Bool)
		resp, err := c.transport.RoundTrip(c.request(watch(ctx, r, secured), r, call)) //nolint:bodyclose // whole and begin see to it
		if err != nil {
			unsent := ctx.Err() == nil && (isDial(err) || r.url.Scheme == "https" && !secured.Load())
			if unsent {
				c.replicas.lost(r)
			} else if call.Method == "" {
				c.replicas.judge(r, 0, cmp.Or(ctx.Err(), err), time.Since(began))
			}
			c.replicas.done(r)
			if tried = append(tried, r); unsent && len(tried) < c.replicas.len() {
				continue
			}
			return provider.Reply{}, nil, failed(ctx, r, err)
		}
		c.replicas.answered(r)
		if giveUp != nil && streams(resp) {
			return c.begin(ctx, giveUp, r, resp, call.Stream, time.Since(began))
		}
		return c.whole(ctx, r, resp, call, maxReply, began)
	}
}

// whole reads a reply to its end.
func (c *Client) whole(ctx context.Context, r *replica, resp *http.Response, call provider.Call, maxReply int64, began time.Time) (provider.Reply, func(), error) {
	reply, release, err := c.read(ctx, r, resp, maxReply)
	judged := call.Method == "" // others are quick, and say nothing of the model
	if judged && (fault.CodeOf(err) == fault.UpstreamUnavailable || ctx.Err() != nil || err == nil) {
		c.replicas.judge(r, reply.Status, cmp.Or(ctx.Err(), err), time.Since(began))
	}
	c.replicas.done(r)
	return reply, release, err
}

// begin gives a reply that comes in pieces.
func (c *Client) begin(
	ctx context.Context, giveUp context.CancelCauseFunc, r *replica, resp *http.Response, limits *provider.StreamLimits, took time.Duration,
) (provider.Reply, func(), error) {
	s, err := c.stream(ctx, giveUp, r, resp, limits, took)
	if err != nil {
		c.replicas.done(r)
		return provider.Reply{}, nil, err
	}
	reply := headOf(r, resp)
	reply.Events = s
	return reply, s.Close, nil
}

// watch sets secured when a call over TLS has a connection. Until then nothing was sent, whatever fails; the errors of
// handshakes do not say so, because a server may just close the connection.
func watch(ctx context.Context, r *replica, secured *atomic.Bool) context.Context {
	if r.url.Scheme != "https" {
		return ctx
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { secured.Store(true) }})
}

// request makes the request for one replica. It marks the request as repeatable, with a header that is not sent, so that
// net/http replaces a kept connection that turns out to be closed. A request that must be sent only once has no mark: then
// net/http does so only while nothing was written.
func (c *Client) request(ctx context.Context, r *replica, call provider.Call) *http.Request {
	body := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(call.Body)), nil }
	first, _ := body()
	req := &http.Request{
		Method: cmp.Or(call.Method, http.MethodPost), URL: join(r.url, call.Path, call.Query), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: c.header(r), Body: first, GetBody: body, ContentLength: int64(len(call.Body)),
	}
	if len(call.Body) == 0 {
		req.Body, req.GetBody = http.NoBody, nil
	}
	req.Header["Content-Type"] = []string{call.ContentType}
	for name, value := range call.Header {
		if req.Header.Get(name) == "" {
			req.Header.Set(name, string(value))
		}
	}
	if !call.Once {
		req.Header["Idempotency-Key"] = nil
	}
	req.Host = req.Header.Get("Host")
	return req.WithContext(ctx)
}

func (c *Client) header(r *replica) http.Header {
	h := make(http.Header, len(c.cfg.Headers)+5)
	h["Accept"] = []string{"*/*"}
	h["User-Agent"] = []string{c.cfg.UserAgent}
	if user := r.url.User; user != nil {
		password, _ := user.Password()
		h["Authorization"] = []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password))}
	}
	for name, value := range c.cfg.Headers {
		h.Set(name, value)
	}
	return h
}

// join appends a path to a base URL with exactly one slash between them, and a query to its own.
func join(base *url.URL, path, query string) *url.URL {
	u := *base
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	path = strings.TrimLeft(path, "/")
	if u.RawPath != "" {
		u.RawPath = strings.TrimRight(u.RawPath, "/") + "/" + (&url.URL{Path: path}).EscapedPath()
	}
	u.Path = strings.TrimRight(u.Path, "/") + "/" + path
	if query != "" {
		u.RawQuery = strings.TrimPrefix(u.RawQuery+"&"+query, "&")
	}
	return &u
}
