package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"headrace/internal/config"
	"headrace/internal/inference"
	"headrace/worker"
)

const (
	// lookEvery is how often the configuration file is read again. A change counts at the second look.
	lookEvery = 400 * time.Millisecond
	// retireMargin is how much longer than its calls may last a removed route is served.
	retireMargin = 2 * time.Second
)

// reloader applies changes of the configuration file while the process runs.
type reloader struct {
	source  *config.Source
	running *config.Config // what the process was started with: keys that need a restart are compared with it
	log     *slog.Logger
	apply   []func(*config.Config) // in this order; each logs what it cannot do
	tick    []func(time.Time)      // after every look
	asked   chan os.Signal         // SIGHUP: reload at once
}

func newReloader(cfg *config.Config, log *slog.Logger) *reloader {
	return &reloader{source: config.NewSource(cfg), running: cfg, log: log, asked: make(chan os.Signal, 1)}
}

// run looks until ctx ends.
func (r *reloader) run(ctx context.Context) error {
	every := time.NewTicker(lookEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.asked:
			r.log.Info("SIGHUP received; reloading the configuration", "file", r.running.Path)
			r.take(r.source.Reload)
		case now := <-every.C:
			r.take(r.source.Look)
			for _, tick := range r.tick {
				tick(now)
			}
		}
	}
}

// take asks for a new configuration, and applies it.
func (r *reloader) take(ask func() (*config.Config, error)) {
	old := r.source.Current()
	next, err := ask()
	if err != nil {
		r.complain(err)
		return
	}
	if next == nil {
		return
	}
	for _, apply := range r.apply {
		apply(next)
	}
	if config.Same(old, next) {
		r.log.Info("the configuration is unchanged", "file", next.Path, "routes", next.Table.Len())
		return
	}
	changes := config.RouteChanges(old, next)
	r.log.Info("the configuration has changed", "file", next.Path, "routes", next.Table.Len(),
		"added", some(changes.Added), "removed", some(changes.Removed), "changed", some(changes.Changed))
	if keys := config.NeedRestart(r.running, next); len(keys) > 0 {
		r.log.Warn("these keys take effect after a restart", "keys", strings.Join(keys, ", "))
	}
}

// some lists names, of which a line of the log shows the first ten.
func some(names []string) string {
	const most = 10
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

func (r *reloader) complain(err error) {
	invalid, ok := errors.AsType[*config.InvalidError](err)
	if !ok {
		r.log.Error("the configuration cannot be read; the old one stays", "error", err)
		return
	}
	for _, p := range invalid.Problems {
		r.log.Error("the configuration is invalid; the old one stays", "problem", p.String())
	}
}

// applier is a worker that takes new tables.
type applier interface {
	Apply(old, next *inference.Table) error
}

// retiring gives a worker its tables. A route that was removed is served until its last calls must be over,
// because front ends may learn of the change later, and what was accepted is run. It is used by the reloader's
// goroutine only.
type retiring struct {
	worker  applier
	log     *slog.Logger
	wanted  *inference.Table // of the configuration
	served  *inference.Table // with what is retiring
	removed map[string]retired
	late    bool // served is not what is wanted yet
}

type retired struct {
	route *inference.Route
	until time.Time
}

func newRetiring(w applier, table *inference.Table, log *slog.Logger) *retiring {
	return &retiring{worker: w, log: log, wanted: table, served: table, removed: make(map[string]retired)}
}

// change makes next the wanted table.
func (r *retiring) change(next *inference.Table, now time.Time) {
	for route := range r.served.All() {
		if _, already := r.removed[route.Name]; next.Route(route.Name) == nil && !already {
			r.removed[route.Name] = retired{route, now.Add(route.SyncTimeout + retireMargin)}
		}
	}
	for route := range next.All() {
		delete(r.removed, route.Name)
	}
	r.wanted = next
	r.serve()
}

// expire ends the routes whose time is over.
func (r *retiring) expire(now time.Time) {
	ended := r.late
	for name, old := range r.removed {
		if now.After(old.until) {
			delete(r.removed, name)
			ended = true
		}
	}
	if ended {
		r.serve()
	}
}

func (r *retiring) serve() {
	var routes []*inference.Route
	for route := range r.wanted.All() {
		routes = append(routes, route)
	}
	for _, old := range r.removed {
		routes = append(routes, old.route)
	}
	table := inference.NewTable(routes...)
	err := r.worker.Apply(r.served, table)
	r.late = errors.Is(err, worker.ErrNotStarted)
	if r.late {
		return // the next tick tries again
	}
	if err != nil {
		r.log.Error("the worker cannot serve the new routes; the old ones stay", "error", err)
		return
	}
	r.served = table
}
