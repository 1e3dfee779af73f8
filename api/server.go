package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"headrace/api/jobspec"
	"headrace/internal/budget"
	"headrace/internal/fault"
	"headrace/internal/inference"
)

const (
	defaultMaxBody       = 32 << 20
	defaultSyncTimeout   = 65 * time.Second
	defaultHeartbeat     = 15 * time.Second
	defaultShutdownGrace = 30 * time.Second

	headerPatience = 10 * time.Second // for the headers, once the first byte of a request is there
	bodyPatience   = 2 * time.Minute  // for a body that no handler reads; calls read theirs within their own time
	idlePatience   = 2 * time.Minute  // between two calls on one connection
	writePatience  = time.Minute      // for a caller to take a whole reply
	closePatience  = 5 * time.Second  // for connections to end after the last call has
	maxHeader      = 64 << 10
)

// Config says how the front end listens and what it accepts. Zero values mean the defaults.
type Config struct {
	Listen         string         // host:port; default 127.0.0.1:5000
	MaxBody        int64          // bytes of a request body; default 32 MiB
	SyncTimeout    time.Duration  // a call in all, where its route does not say; default 65 s
	Heartbeat      time.Duration  // between the comments of a stream that waits for its model; default 15 s
	ShutdownGrace  time.Duration  // how long accepted calls may go on after Run's context has ended; default 30 s, negative = none
	TrustedProxies []netip.Prefix // whose X-Forwarded-For counts, besides loopback
	Version        string         // shown in openapi.json
	Jobs           jobspec.Limits
}

// WithDefaults fills in what is not set.
func (c Config) WithDefaults() Config {
	c.Listen = cmp.Or(c.Listen, "127.0.0.1:5000")
	c.MaxBody = cmp.Or(c.MaxBody, int64(defaultMaxBody))
	c.SyncTimeout = cmp.Or(c.SyncTimeout, defaultSyncTimeout)
	c.Heartbeat = cmp.Or(c.Heartbeat, defaultHeartbeat)
	c.ShutdownGrace = max(0, cmp.Or(c.ShutdownGrace, defaultShutdownGrace))
	c.Version = cmp.Or(c.Version, "dev")
	c.Jobs = c.Jobs.WithDefaults()
	return c
}

// Validate returns every problem at once.
func (c Config) Validate() error {
	var problems []error
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		problems = append(problems, fmt.Errorf("api.listen: %w", err))
	}
	if c.MaxBody < 0 {
		problems = append(problems, errors.New("api.max_body: must not be negative"))
	}
	if c.SyncTimeout < 0 {
		problems = append(problems, errors.New("api.sync_timeout: must not be negative"))
	}
	return errors.Join(problems...)
}

// Broker runs calls. Its methods are used concurrently.
type Broker interface {
	// Call waits for the answer of one call. ctx ends when the caller's time is up, or when the caller leaves.
	// Errors are *fault.Error. The request's bytes are read-only until Call returns. The answer to a request for pieces may be a
	// Result.Stream, which ctx does not bound.
	Call(ctx context.Context, route *inference.Route, req *inference.Request) (*inference.Result, error)
	// Ready is nil while the broker is connected.
	Ready() error
	// State tells how a route fares.
	State(route string) inference.RouteState
}

// Limiter counts calls for MLflow's `limit`, exactly and over all front ends.
type Limiter interface {
	// Take takes one call out of the current window of key. ok false: the window is used up, and the next one
	// begins after retryAfter. An error counts as leave to go on.
	Take(ctx context.Context, route *inference.Route, key string) (ok bool, retryAfter time.Duration, err error)
}

// Observer counts calls. It is used concurrently and must be quick.
type Observer interface {
	// Answered is called once for each call on a route that there is.
	Answered(call Answered)
}

// Guard decides who may see and change other people's work: lists of jobs, erasing, pausing and redriving.
type Guard interface {
	// Admit is nil for a request that may, else why not. It is used concurrently.
	Admit(r *http.Request) error
}

// Answered is how a call on a route ended.
type Answered struct {
	ID      string // of the request
	Path    string // that was called
	Route   string
	Job     string     // that it has placed; "" for none
	Code    fault.Code // "" for a good one
	Message string     // of the error; "" also for an internal one, whose text stays in the log
	Status  int
	Began   time.Time
	Took    time.Duration
	// Of a good one: Gather is the part of Queue in which a slot waited for company, Batch how many requests shared the
	// call to the model server.
	Queue, Gather, Upstream time.Duration
	Batch                   int
	Asked, Sent             int64 // bytes of the two bodies; Sent is 0 for an error
}

// Deps are what the front end works with.
type Deps struct {
	Broker  Broker
	Budget  *budget.Bytes    // bytes of bodies held at the same time
	Table   *inference.Table // the first routes; later ones come by Server.Apply
	Limiter Limiter          // nil: no limits are kept
	List    JobList          // nil: jobs cannot be listed
	Jobs    Jobs             // nil: there are no paths of jobs, and a preference for one is ignored
	Observe Observer         // nil: calls are not counted
	Metrics http.Handler     // GET /metrics; nil: there is no such path
	// Pages serves /ui and what is below it to people; nil: there are no such paths. Its paths are not in openapi.json: they
	// are no interface, and change as the pages do. The context of its requests ends when the front end drains.
	Pages  http.Handler
	Guard  Guard        // nil: everything is open
	Logger *slog.Logger // nil: nothing is logged
}

// Server is the HTTP front end: it listens, routes and drains. What paths do is done by the desks.
type Server struct {
	*chassis

	metrics   http.Handler
	pages     http.Handler // nil: there are none
	calls     *callDesk
	catalogue *catalogue
	jobs      *jobDesk // nil: there are no paths of jobs
	finder    JobList
	board     *switchboard
	handler   http.Handler
	openapi   func() ([]byte, error) // openapi.json, made when it is first asked for
	drains    context.CancelFunc
	hurried   chan struct{} // is closed when draining is to wait for no call any more
	hurry     func()

	mu       sync.Mutex
	listener net.Listener
}

// New checks its arguments and makes a Server. It opens nothing.
func New(cfg Config, deps Deps) (*Server, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	if deps.Broker == nil || deps.Budget == nil {
		return nil, errors.New("api: a broker and a budget are needed")
	}
	c := newChassis(cfg, deps)
	s := &Server{chassis: c, metrics: deps.Metrics, pages: deps.Pages, finder: deps.List, hurried: make(chan struct{}), board: &switchboard{c}}
	s.hurry = sync.OnceFunc(func() { close(s.hurried) })
	s.draining, s.drains = context.WithCancel(context.Background())
	s.calls = &callDesk{chassis: c, limiter: deps.Limiter, observe: deps.Observe}
	s.catalogue = &catalogue{chassis: c}
	if deps.Jobs != nil {
		s.jobs = &jobDesk{c, deps.Jobs}
		s.calls.jobs, s.catalogue.jobs = s.jobs, deps.Jobs
	}
	s.Apply(deps.Table)
	operations := s.operations()
	s.openapi = sync.OnceValues(func() ([]byte, error) { return describe(cfg.Version, operations) })
	s.handler = s.board.middleware(s.withPages(s.board.router(operations)))
	return s, nil
}

// Apply makes table the routes that calls see from now on. Calls under way keep theirs.
func (s *Server) Apply(table *inference.Table) {
	if table == nil {
		table = inference.NewTable()
	}
	s.table.Store(table)
	s.applied.Store(time.Now().Unix())
}

// Handler serves every path, for tests and for other listeners than Run's.
func (s *Server) Handler() http.Handler { return s.handler }

// Listen opens the listener that Run will serve, so that its address is known before. It may be called once.
func (s *Server) Listen(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		return errors.New("api: the server listens already")
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("api: %w", err)
	}
	s.listener = listener
	return nil
}

// Addr is the address the server listens on; nil before Listen.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// Inflight is how many calls are accepted and not answered, those that place jobs among them.
func (s *Server) Inflight() int { return s.gate.count() }

// Hurry ends the grace of a Run that drains, or will: calls that are not answered yet are cancelled.
func (s *Server) Hurry() { s.hurry() }

// Run serves until ctx ends, listening first unless Listen was called. Then it drains: /readyz answers 503, new
// calls get shutting_down, accepted ones finish within the grace, and what remains is cancelled. Run returns nil
// after a drain, else why it could not serve. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	if s.Addr() == nil {
		if err := s.Listen(ctx); err != nil {
			return err
		}
	}
	calls, cancelCalls := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancelCalls(nil)
	server := &http.Server{
		Handler:                      s.handler,
		BaseContext:                  func(net.Listener) context.Context { return calls },
		ConnContext:                  withWire,
		ReadHeaderTimeout:            headerPatience,
		ReadTimeout:                  bodyPatience,
		WriteTimeout:                 writePatience, // starts over with the reply, see replyWriter
		IdleTimeout:                  idlePatience,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true, // OPTIONS * is a path that does not exist, as any other
		ErrorLog:                     slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	var serving sync.WaitGroup
	serving.Go(func() { failed <- server.Serve(wireListener{s.listener}) })
	defer serving.Wait()
	select {
	case err := <-failed:
		return fmt.Errorf("api: %w", err)
	case <-ctx.Done():
	}
	server.SetKeepAlivesEnabled(false) // replies say so, and idle connections end
	s.drain(cancelCalls)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closePatience)
	defer cancel()
	if err := server.Shutdown(closing); err != nil {
		s.log.Debug("connections were still open after the shutdown and were closed", "error", err)
		_ = server.Close()
	}
	return nil
}

// drain lets no call in any more and waits for those inside, at last by cancelling them.
func (s *Server) drain(cancel context.CancelCauseFunc) {
	empty := s.gate.shut()
	s.drains()
	grace := time.NewTimer(s.cfg.ShutdownGrace)
	defer grace.Stop()
	select {
	case <-empty:
		return
	case <-grace.C:
	case <-s.hurried:
	}
	s.log.Warn("the shutdown grace is over; the remaining calls are cancelled", "calls", s.gate.count())
	cancel(errShutdown())
	over := time.NewTimer(closePatience)
	defer over.Stop()
	select {
	case <-empty:
	case <-over.C:
	}
}

func errShutdown() *fault.Error {
	return fault.New(fault.ShuttingDown, "this front end is shutting down; try again")
}
