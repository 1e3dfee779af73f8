package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"headrace/internal/budget"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/worker/learned"
	"headrace/worker/target"
)

// Config configures a worker.
type Config struct {
	Filter Filter
	// Grace is how long running claims may take once the worker stops.
	Grace time.Duration
}

// Deps is what a worker works with.
type Deps struct {
	Queue     Queue
	Providers map[string]provider.Provider // by canonical name
	// Dial makes the client for a route's model server. It must not connect.
	Dial func(*inference.Route) (Upstream, error)
	// Attempted is told of every call to a model server; code is "" for one that was good. It may be nil.
	Attempted func(route string, code fault.Code)
	// Batched is told of every call that was answered: how many requests and rows it had. It may be nil.
	Batched func(route string, requests, rows int)
	// Streamed is told of every answer in pieces when its first one comes, and after how long; it gives what is called at the
	// answer's end. It may be nil.
	Streamed func(route string, first time.Duration) (ended func())
	// MaxParts bounds the bytes of answers to parts of long lists that wait for the other parts, and of what probes compare;
	// 0: 64 MiB. A list for which there is no room is asked in one call, and a probe is made again.
	MaxParts int64
	// Memory keeps what was learned; nil: it is learned again by each process.
	Memory Memory
	// Random gives numbers from 0 to 1; nil: math/rand/v2's.
	Random func() float64
	Logger *slog.Logger
}

// Worker is the pools of one process.
type Worker struct {
	cfg  Config
	deps Deps

	parts *budget.Bytes // of Deps.MaxParts

	work    context.Context //nolint:containedctx // of every claim; it outlives the intake's
	stop    context.CancelCauseFunc
	intake  context.Context //nolint:containedctx // ends the leasing of all pools
	quit    context.CancelFunc
	running sync.WaitGroup // pools and clients
	hurried chan struct{}  // is closed when the grace is to end
	hurry   func()

	mu      sync.Mutex
	pools   map[string]*pool
	learned map[string]learned.Stored // of pools that have ended, and of the last process
	// announced is what front ends were told last: the slots of each route.
	announced map[string]int
	started   bool
	closed    bool
}

// ErrNotStarted says that Apply was called before Run had applied its own table.
var ErrNotStarted = errors.New("worker: it does not run yet")

// New validates; nothing runs before Run.
func New(cfg Config, deps Deps) (*Worker, error) {
	if deps.Queue == nil || deps.Dial == nil || len(deps.Providers) == 0 {
		return nil, errors.New("worker: queue, dial and providers are required")
	}
	if cfg.Grace < 0 {
		return nil, fmt.Errorf("worker: grace %s is negative", cfg.Grace)
	}
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	if deps.Attempted == nil {
		deps.Attempted = func(string, fault.Code) {}
	}
	if deps.Batched == nil {
		deps.Batched = func(string, int, int) {}
	}
	if deps.Streamed == nil {
		deps.Streamed = func(string, time.Duration) func() { return func() {} }
	}
	if deps.MaxParts == 0 {
		deps.MaxParts = 64 << 20
	}
	if deps.Random == nil {
		deps.Random = rand.Float64
	}
	w := &Worker{cfg: cfg, deps: deps, parts: budget.New(deps.MaxParts), pools: make(map[string]*pool)}
	w.hurried = make(chan struct{})
	w.hurry = sync.OnceFunc(func() { close(w.hurried) })
	w.work, w.stop = context.WithCancelCause(context.Background())
	w.intake, w.quit = context.WithCancel(context.Background())
	return w, nil
}

// Hurry ends the grace of a Run that drains, or will: what runs is cut off, and jobs are handed back.
func (w *Worker) Hurry() { w.hurry() }

// Run serves the routes of table until ctx ends, then drains: it returns when every claim has been answered
// or the grace is over.
func (w *Worker) Run(ctx context.Context, table *inference.Table) error {
	defer w.stop(nil)
	defer w.quit()
	w.mu.Lock()
	w.started = true
	if w.deps.Memory != nil {
		w.learned = w.deps.Memory.Load()
	}
	if w.learned == nil {
		w.learned = make(map[string]learned.Stored)
	}
	err := w.apply(nil, table)
	w.mu.Unlock()
	if err != nil {
		return err
	}
	w.remember(ctx)
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.deps.Queue.Serve(nil)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.cfg.Grace)
	defer cancel()
	go func() {
		select {
		case <-w.hurried:
			cancel()
		case <-grace.Done():
		}
	}()
	w.deps.Queue.Settle(grace)
	w.quit()
	over := context.AfterFunc(grace, func() {
		w.deps.Logger.Warn("cutting running calls off: the shutdown grace is over", "grace", w.cfg.Grace)
		w.stop(fault.New(fault.ShuttingDown, "the worker that ran the call is shutting down; try again"))
	})
	defer over()
	w.running.Wait()
	return nil
}

// Apply starts and ends pools so that they fit the new table. Calls that run go on; what waits is taken by
// the new pools. Tables are immutable; nil is the empty one. Before Run has begun it returns ErrNotStarted; after
// Run has ended, or when a route of the new table cannot be served, it changes nothing.
func (w *Worker) Apply(old, next *inference.Table) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.started {
		return ErrNotStarted
	}
	return w.apply(old, next)
}

// apply must be called with mu held.
func (w *Worker) apply(old, next *inference.Table) error {
	if w.closed {
		return nil
	}
	plans := plan(next, w.cfg.Filter)
	change := diff(plan(old, w.cfg.Filter), plans)
	built := make(map[string]map[string]*target.Target, len(change.start)+len(change.update))
	for _, s := range slices.Concat(change.start, change.update) {
		targets, err := target.New(s.routes, w.deps.Providers, w.deps.Dial)
		if err != nil {
			return fmt.Errorf("worker: %w", err)
		}
		built[s.key] = targets
	}
	for _, key := range change.stop {
		w.pools[key].close()
		desk := w.pools[key].desk
		desk.learn(func(s *learned.Server) { w.learned[desk.name] = s.Store() })
		delete(w.pools, key)
	}
	for _, s := range change.update {
		w.pools[s.key].update(s, built[s.key])
	}
	for _, s := range change.start {
		p := newPool(w, s, w.learned[memoryName(s.key)], built[s.key])
		w.pools[s.key] = p
		w.running.Go(func() { p.run(w.intake) })
	}
	w.announced = announcement(plans)
	w.deps.Queue.Serve(maps.Clone(w.announced))
	return nil
}
