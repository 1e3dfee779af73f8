package natsd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"headrace/broker/link"
)

// Durability says when a write of the file lane is acknowledged.
type Durability string

// The durabilities.
const (
	Power      Durability = "power"      // on disk before it is acknowledged
	Process    Durability = "process"    // written; on disk within a second
	Replicated Durability = "replicated" // three copies, on an external cluster
)

// maxPayload is the largest NATS message the embedded server takes, in bytes. Our own stay below 1 MiB: larger things move
// in pieces.
const maxPayload = 8 << 20

const (
	lockPatience = 3 * time.Second
	lockAgain    = 100 * time.Millisecond
)

const syncerName = "headrace syncer"

// Config configures the embedded NATS server.
type Config struct {
	// Listen is the address other processes connect to; "" opens no port.
	Listen string
	// DataDir holds the streams. It is locked: one server at a time may use it.
	DataDir    string
	Durability Durability
	MaxMemory  int64 // bytes of all memory streams; beyond it publishing is refused
	MaxStore   int64 // bytes of all file streams
	// User and Password are required of every connection from outside this process; "" requires nothing.
	User, Password string
	// Synced are the streams whose writes must survive a loss of power; their writers request the syncs.
	Synced []string
	// Flush syncs a file, and Health returns what the server says of its streams, "" when all is well. nil means the real
	// ones. Tests replace them to let a disk fail.
	Flush  func(*os.File) error
	Health func(*server.Server) string
	// Grace is how long a stopping server waits for its last client to leave.
	Grace time.Duration
}

func (c Config) power() bool { return c.Durability == Power || c.Durability == "" }

// SyncOnRequest is false on Windows, where an open file cannot be replaced: there the server syncs each write by itself.
const SyncOnRequest = runtime.GOOS != "windows"

// Server is the embedded NATS server.
type Server struct {
	cfg   Config
	log   *slog.Logger
	opts  *server.Options
	flush func(*os.File) error // syncs a file
	// health is what the server says of its streams; "" when all is well.
	health func(*server.Server) string
	ready  chan struct{}
	// hurried is closed when a stopping server should no longer wait for clients.
	hurried chan struct{}
	hurry   func()

	mu       sync.Mutex
	ns       *server.Server // set before ready is closed; replaced after a disk was full
	trouble  time.Time      // when a stream could first not be written; zero = all can
	unsynced time.Time      // when a sync first failed; zero = none has
}

// New validates cfg. Nothing is opened before Run.
func New(cfg Config, log *slog.Logger) (*Server, error) {
	if cfg.DataDir == "" {
		return nil, errors.New("broker: data_dir is empty")
	}
	opts := &server.Options{
		ServerName:         "headrace",
		NoSigs:             true,
		JetStream:          true,
		StoreDir:           cfg.DataDir,
		JetStreamMaxMemory: cfg.MaxMemory,
		JetStreamMaxStore:  cfg.MaxStore,
		SyncInterval:       time.Second,
		SyncAlways:         cfg.power() && !SyncOnRequest,
		MaxPayload:         maxPayload,
		MaxPending:         64 << 20,
		WriteDeadline:      link.WritePatience,
		DontListen:         cfg.Listen == "",
		Username:           cfg.User,
		Password:           cfg.Password,
	}
	if cfg.Listen != "" {
		opts.PingInterval, opts.MaxPingsOut = link.PingEvery, link.PingsMissed
		host, port, err := net.SplitHostPort(cfg.Listen)
		if err != nil {
			return nil, fmt.Errorf("broker: listen %q: %w", cfg.Listen, err)
		}
		opts.Host = host
		if opts.Port, err = strconv.Atoi(port); err != nil {
			return nil, fmt.Errorf("broker: listen %q: %w", cfg.Listen, err)
		}
		if opts.Port == 0 {
			opts.Port = server.RANDOM_PORT
		}
	}
	if cfg.Flush == nil {
		cfg.Flush = (*os.File).Sync
	}
	if cfg.Health == nil {
		cfg.Health = func(ns *server.Server) string { return ns.Healthz(nil).Error }
	}
	hurried := make(chan struct{})
	return &Server{
		hurried: hurried, hurry: sync.OnceFunc(func() { close(hurried) }),
		cfg: cfg, log: log, opts: opts, flush: cfg.Flush, ready: make(chan struct{}),
		health: cfg.Health,
	}, nil
}

// Run serves until ctx ends, then stays until the last client of another process has left or the grace is over. It returns
// an error when the data directory is in use or the server cannot start.
func (s *Server) Run(ctx context.Context) error {
	unlock, err := lockDir(ctx, s.cfg.DataDir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.recall(); err != nil {
		return fmt.Errorf("broker: data_dir: %w", err)
	}
	for {
		again, err := s.serve(ctx)
		if err != nil || !again {
			return err
		}
	}
}

// serve runs the embedded server once. again reports that it should run again: a stream whose disk was full refuses
// writes, even when there is room again, until it is read again.
func (s *Server) serve(ctx context.Context) (again bool, err error) {
	lost := s.renew()
	if lost != nil {
		s.log.Error("what may be lost could not be copied; make room on the disk, or repair it and restart the broker", "error", lost)
	}
	ns, err := server.NewServer(s.opts)
	if err != nil {
		return false, fmt.Errorf("starting the embedded NATS server: %w", err)
	}
	logger := &serverLog{log: s.log, fatal: make(chan string, 1)}
	ns.SetLoggerV2(logger, false, false, false)
	ns.Start()
	defer func() {
		ns.Shutdown()
		ns.WaitForShutdown()
	}()
	if err := awaitReady(ctx, ns, logger); err != nil {
		return false, err
	}
	s.begin(ns)
	since := time.Now()
	stopSync, err := s.syncing(lost) //nolint:contextcheck // clients are served after ctx has ended
	if err != nil {
		return false, err
	}
	defer stopSync()
	s.began()
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.awaitClients()
			return false, nil
		case text := <-logger.fatal:
			return false, fmt.Errorf("the embedded NATS server failed: %s", text)
		case <-tick.C:
			if s.mended(ns, lost, since) {
				s.log.Warn("the disk has room again; reading the streams again")
				return true, nil
			}
		}
	}
}

// begin makes ns the server that runs.
func (s *Server) begin(ns *server.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.ns == nil
	s.ns, s.trouble = ns, time.Time{}
	if first {
		if addr, ok := ns.Addr().(*net.TCPAddr); ok {
			s.opts.Port = addr.Port // the same port next time, when the configuration asked for any
		}
	}
}

// began closes ready, once: the server can be used.
func (s *Server) began() {
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
}

// server returns the one that runs; valid once Ready is closed.
func (s *Server) server() *server.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ns
}

// Syncs reports whether writers must request syncs for their writes.
func (s *Server) Syncs() bool { return s.cfg.power() && SyncOnRequest }

// syncing serves requests for syncs until stop is called, since any client may send one. lost is the reason why no sync
// can be made; nil when they can.
func (s *Server) syncing(lost error) (stop func(), err error) {
	if !s.Syncs() {
		return func() {}, nil
	}
	nc, err := nats.Connect("", s.InProcess(), nats.Name(syncerName), nats.UserInfo(s.cfg.User, s.cfg.Password))
	if err != nil {
		return nil, fmt.Errorf("connecting to the embedded NATS server: %w", err)
	}
	root := filepath.Clean(s.cfg.DataDir)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		sync := &syncer{
			streams: s.cfg.Synced,
			log:     s.log, dir: streamsDir(root), root: root, clock: time.Now, flush: s.flush, lost: lost, failed: s.doubt,
		}
		if err := sync.run(ctx, nc); err != nil {
			s.log.Error("jobs cannot be made durable", "error", err)
		}
	}()
	return func() {
		cancel()
		<-done
		nc.Close()
	}, nil
}

// Hurry makes a server that is stopping, or will stop, wait for no client.
func (s *Server) Hurry() { s.hurry() }

// Clients counts the connections of other processes; 0 before the server runs.
func (s *Server) Clients() int {
	select {
	case <-s.ready:
		return s.clients()
	default:
		return 0
	}
}

// clients counts the connections of other processes.
func (s *Server) clients() int {
	if s.Syncs() {
		return s.server().NumClients() - 1
	}
	return s.server().NumClients()
}

// awaitReady polls in short steps, because a server that dies while it starts reports only to its logger.
func awaitReady(ctx context.Context, ns *server.Server, logger *serverLog) error {
	deadline := time.Now().Add(30 * time.Second)
	for !ns.ReadyForConnections(50 * time.Millisecond) {
		select {
		case text := <-logger.fatal:
			return fmt.Errorf("starting the embedded NATS server: %s", text)
		case <-ctx.Done():
			return context.Cause(ctx)
		default:
		}
		if time.Now().After(deadline) {
			return errors.New("the embedded NATS server was not ready within 30s; see the log")
		}
	}
	return nil
}

// awaitClients waits until front ends and workers have drained, so that a Procfile runner may signal all roles at the
// same time.
func (s *Server) awaitClients() {
	if s.opts.DontListen {
		return
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(s.cfg.Grace)
	defer end.Stop()
	for s.clients() > 0 {
		select {
		case <-tick.C:
		case <-s.hurried:
			return
		case <-end.C:
			s.log.Warn("stopping with clients still connected", "clients", s.clients())
			return
		}
	}
}

// Ready is closed when the server takes connections.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addr is the address the server listens on, "" when it opened no port. It is valid once Ready is closed.
func (s *Server) Addr() string {
	if s.opts.DontListen {
		return ""
	}
	return s.server().Addr().String()
}

// InProcess makes a connection option that reaches the server without a port. It is valid once Ready is closed.
func (s *Server) InProcess() nats.Option { return nats.InProcessServer(s) }

// InProcessConn connects to the server that runs.
func (s *Server) InProcessConn() (net.Conn, error) { return s.server().InProcessConn() }

// lockDir makes dir and takes its lock. The server takes none itself, and two servers on one directory silently lose
// acknowledged messages.
//
// It retries for lockPatience: a killed broker may not be quite gone when its supervisor starts the next one.
func lockDir(ctx context.Context, dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("broker: making data_dir: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "headrace.lock"))
	patience, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	got, err := lock.TryLockContext(patience, lockAgain)
	if err != nil && patience.Err() == nil {
		return nil, fmt.Errorf("broker: locking data_dir %q: %w", dir, err)
	}
	if !got {
		return nil, fmt.Errorf("broker: data_dir %q is in use by another broker; stop it or set broker.data_dir", dir)
	}
	return func() { _ = lock.Unlock() }, nil // closing the file frees the lock in any case
}
