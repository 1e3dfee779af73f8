package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/singleflight"

	"headrace/internal/fault"
)

const (
	// PingEvery is how often each side of a connection pings the other, and PingsMissed how many answers may be missing. We
	// give up a silent connection after 9 seconds and the server after 12, because it counts from the first silent interval.
	// An embedded server without a port sends no pings: no network can cut its connections, and a machine that is busy
	// for 12 seconds should not lose calls for it.
	PingEvery = 3 * time.Second
	// PingsMissed is explained with PingEvery.
	PingsMissed = 2
	// WritePatience is how long a write to a connection may take before either side gives the connection up.
	WritePatience = 5 * time.Second
)

// Dial says how to reach a NATS server.
type Dial struct {
	// URL is one or more nats:// addresses, separated by commas. It is ignored when Server is set.
	URL string
	// Server is the embedded server of this process; nil for a server in another process.
	Server Embedded
	// User and Password, or Credentials (path of a .creds file), authenticate the connection; it may have neither.
	User, Password, Credentials string
	// TLSCA is the path of a PEM file with the authorities of the servers' certificates; "" means the system's.
	TLSCA string
}

// Embedded is a NATS server in this process.
type Embedded interface {
	// Ready is closed when the server takes connections.
	Ready() <-chan struct{}
	// InProcess returns the option that connects without leaving the process.
	InProcess() nats.Option
	// DiskFull returns why nothing can be written; nil while there is room.
	DiskFull() error
}

// Validate returns an error when d names no server, or one that cannot be dialled.
func (d Dial) Validate() error {
	if d.Server == nil && d.URL == "" {
		return errors.New("broker: neither an embedded server nor a URL")
	}
	for _, path := range []string{d.Credentials, d.TLSCA} {
		if path == "" {
			continue
		}
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("broker: %w", err)
		}
	}
	return nil
}

// Events are called when a connection is lost (Lost), when it is back (Back), and when it dropped messages because they
// were not read fast enough (Slow). Each may be nil.
type Events struct{ Lost, Back, Slow func() }

// Link is one connection to NATS. It reconnects for ever. Close NC when it is no longer needed.
type Link struct {
	NC       *nats.Conn
	JS       jetstream.JetStream
	looking  singleflight.Group // by stream
	ensuring singleflight.Group // by stream
}

// Open connects. It waits for the server as long as ctx allows, since roles start in any order.
func (d Dial) Open(ctx context.Context, name string, log *slog.Logger, events Events) (*Link, error) {
	if d.Server != nil {
		select {
		case <-d.Server.Ready():
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	opts := d.options(name, log, events)
	warned := false
	for {
		nc, err := nats.Connect(d.URL, opts...)
		if err == nil {
			return New(nc)
		}
		if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) {
			return nil, fmt.Errorf("broker: the NATS server at %s refused the credentials; "+
				"correct broker.user and broker.password, or broker.credentials: %w", Redact(d.URL), err)
		}
		if !warned {
			log.Warn("waiting for the broker", "url", Redact(d.URL), "error", err)
			warned = true
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Clustered reports whether the server is one of several. Then a change of interest takes a moment to be known everywhere.
func (l *Link) Clustered() bool { return l.NC.ConnectedClusterName() != "" }

// New wraps a connection that exists. It closes nc when it fails.
func New(nc *nats.Conn) (*Link, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("broker: %w", err)
	}
	return &Link{NC: nc, JS: js}, nil
}

func (d Dial) options(name string, log *slog.Logger, events Events) []nats.Option {
	said := "" // why the last attempt failed; the library makes these calls one after the other
	failed := func(err error) {
		if text := err.Error(); text != said {
			said = text
			log.Warn("cannot reconnect to the broker; still trying", "connection", name, "error", err)
		}
	}
	opts := []nats.Option{
		nats.Name("headrace " + name),
		nats.MaxReconnects(-1),
		// While passwords are being changed the server may refuse ours; that is no reason to stay away for ever.
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 500*time.Millisecond),
		nats.Timeout(5 * time.Second),
		nats.SyncQueueLen(256),
		// Nothing is kept for a dead link: a frame that arrives a minute late answers no call.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("lost the broker; reconnecting", "connection", name, "error", err)
			}
			if events.Lost != nil {
				events.Lost()
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { failed(err) }),
		nats.ReconnectHandler(func(*nats.Conn) {
			said = ""
			log.Info("reconnected to the broker", "connection", name)
			if events.Back != nil {
				events.Back()
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrAuthorization) {
				failed(err)
				return
			}
			if errors.Is(err, nats.ErrSlowConsumer) && events.Slow != nil {
				events.Slow()
			}
			log.Error("broker connection", "connection", name, "error", err)
		}),
	}
	if d.Server != nil {
		opts = append(opts, d.Server.InProcess())
	} else {
		opts = append(
			opts, nats.PingInterval(PingEvery), nats.MaxPingsOutstanding(PingsMissed),
			// A write that is stuck keeps pings back, too.
			nats.FlusherTimeout(WritePatience), nats.ReconnectOnFlusherError(),
		)
	}
	if d.User != "" {
		opts = append(opts, nats.UserInfo(d.User, d.Password))
	}
	if d.Credentials != "" {
		opts = append(opts, nats.UserCredentials(d.Credentials))
	}
	if d.TLSCA != "" {
		opts = append(opts, nats.RootCAs(d.TLSCA))
	}
	return opts
}

// Redact removes user, password and query from URLs, for logs.
func Redact(urls string) string {
	parts := strings.Split(urls, ",")
	for i, p := range parts {
		if scheme, rest, ok := strings.Cut(p, "://"); ok {
			rest = rest[strings.LastIndexByte(rest, '@')+1:]
			rest, _, _ = strings.Cut(rest, "?")
			parts[i] = scheme + "://" + rest
		}
	}
	return strings.Join(parts, ",")
}

// Stopped returns nil when ctx has ended, which makes the stop a clean one, and err otherwise.
func Stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // a stop before the first connection is a clean stop
	}
	return err
}

// EndOf is the error of a call whose context has ended: the code late when its time is over, otherwise the cause that
// its canceller gave.
func EndOf(ctx context.Context, late fault.Code) error {
	cause := context.Cause(ctx)
	if f, ok := errors.AsType[*fault.Error](cause); ok {
		return f
	}
	if !errors.Is(cause, context.DeadlineExceeded) {
		return fault.Wrap(fault.Deadline, cause, "the caller has gone")
	}
	if late == fault.UpstreamTimeout {
		return fault.New(late, "the model server did not answer within the call's time")
	}
	return fault.New(late, "the call's time ran out while it waited for a free worker slot; it did not run")
}

const (
	// PresenceWait is how long a front end waits for a worker of a route when it knows none.
	PresenceWait = time.Second
)
