package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"headrace/api"
	"headrace/api/dashboard/recent"
	"headrace/api/guard"
	"headrace/api/jobspec"
	"headrace/broker/calls"
	"headrace/broker/jobs"
	"headrace/broker/keeper"
	"headrace/broker/limit"
	"headrace/broker/link"
	"headrace/broker/natsd"
	"headrace/broker/records"
	"headrace/broker/sweeper"
	"headrace/internal/budget"
	"headrace/internal/config"
	"headrace/internal/inference"
	"headrace/internal/joblist"
	"headrace/internal/telemetry"
	"headrace/worker"
)

// load reads the configuration; its problems are usage errors.
func load(path string) (*config.Config, error) {
	cfg, err := config.Load(path)
	if err != nil {
		return nil, &UsageError{err}
	}
	return cfg, nil
}

// process is what the roles of one process are built from.
type process struct {
	cfg     *config.Config
	log     *slog.Logger
	version string
	out     func(format string, args ...any)
	server  *natsd.Server // the embedded one; nil when there is none here
	dial    link.Dial
	local   *calls.Local // joins the roles of this process; nil when there is one only
	shared  records.Shared
	reload  *reloader

	hurried <-chan struct{} // is closed when the role is to stop without waiting any more; nil: it never is
	waits   []waitsFor      // what it waits for when it stops
	hurry   []func()        // end that

	metrics *telemetry.Metrics
	served  atomic.Pointer[inference.Table] // what the front end serves now
}

// open reads the configuration and makes the logger.
func open(set Settings) (*process, error) {
	log, err := telemetry.NewLogger(set.Err, set.LogLevel, set.LogFormat)
	if err != nil {
		return nil, &UsageError{err}
	}
	cfg, err := load(set.Config)
	if err != nil {
		return nil, err
	}
	b := cfg.Broker
	p := &process{cfg: cfg, log: log, version: set.Version, hurried: set.Hurry, dial: link.Dial{
		URL: b.URL, User: b.User, Password: b.Password, Credentials: b.Credentials, TLSCA: b.TLSCA,
	}}
	p.reload, p.metrics = newReloader(cfg, log), telemetry.NewMetrics(set.Version)
	signal.Notify(p.reload.asked, syscall.SIGHUP)
	if b.URL == "" {
		p.dial.URL = "nats://" + b.Listen
	}
	p.out = func(format string, args ...any) { _, _ = fmt.Fprintf(set.Out, format, args...) }
	return p, nil
}

// embed adds the embedded server, unless broker.url names another one. listen "" opens no port.
func (p *process) embed(ctx context.Context, listen string) ([]stage, error) {
	if p.cfg.Broker.URL != "" {
		return nil, nil
	}
	b := p.cfg.Broker
	if listen != "" {
		if err := p.free(ctx, "broker.listen", listen); err != nil {
			return nil, err
		}
	}
	dir, err := filepath.Abs(b.DataDir)
	if err != nil {
		return nil, fmt.Errorf("broker.data_dir: %w", err)
	}
	p.server, err = natsd.New(natsd.Config{
		Listen: listen, DataDir: dir, Durability: natsd.Durability(b.Durability), MaxMemory: b.MaxMemory,
		Synced: records.SyncedStreams(), MaxStore: b.MaxStore, User: b.User, Password: b.Password, Grace: p.cfg.API.ShutdownGrace,
	}, p.log)
	if err != nil {
		return nil, err
	}
	p.dial.Server = p.server
	p.hurry = append(p.hurry, p.server.Hurry)
	return []stage{{"broker", p.server.Run}}, nil
}

func (p *process) keeper() ([]stage, func() error, error) {
	copies := 1
	if p.cfg.Broker.Durability == "replicated" {
		copies = 3
	}
	calls, err := calls.NewStreams(p.cfg.LongestWait(), 0, copies)
	if err != nil {
		return nil, nil, err
	}
	jobs := records.Limits{MaxStore: p.cfg.Broker.MaxStore, MaxRetained: p.cfg.Jobs.MaxRetained, Replicas: copies}
	var disk sweeper.Disk
	if p.server != nil {
		jobs.Sync, disk = p.server.Syncs(), p.server
	}
	keeper, err := keeper.New(p.dial, p.log, calls, jobs, limit.Streams{Copies: copies})
	if err != nil {
		return nil, nil, err
	}
	p.reload.apply = append(p.reload.apply, func(next *config.Config) { calls.SetMaxWait(next.LongestWait()) })
	sweeper, err := sweeper.New(p.dial, p.shared.Syncs, disk, p.log)
	if err != nil {
		return nil, nil, err
	}
	if err := p.measureBroker(sweeper); err != nil {
		return nil, nil, err
	}
	return []stage{{"keeper", keeper.Run}, {"sweeper", sweeper.Run}}, keeper.Ready, nil
}

// frontEnd makes the stages of the api role, and the server to ask where it listens.
func (p *process) frontEnd(ctx context.Context) ([]stage, *api.Server, lane, error) {
	half := p.cfg.API.MaxInflightBytes / 2
	bodies, replies := budget.New(half), budget.New(half)
	front, err := calls.NewFrontEnd(p.dial, p.local, replies, p.log)
	if err != nil {
		return nil, nil, lane{}, err
	}
	if err := p.measureFront(front, bodies, replies); err != nil {
		return nil, nil, lane{}, err
	}
	jobs, err := jobs.New(jobs.Config{
		Dial: p.dial, Shared: p.shared, MaxWaiting: p.cfg.Jobs.MaxWaiting, Timer: p.metrics.Stored, Log: p.log,
	})
	if err != nil {
		return nil, nil, lane{}, err
	}
	if err := p.measureJobs(jobs); err != nil {
		return nil, nil, lane{}, err
	}
	list, err := joblist.New(cmp.Or(p.cfg.Jobs.ListFile, filepath.Join(p.cfg.Broker.DataDir, "list", "jobs.db")), jobs, p.log)
	if err != nil {
		return nil, nil, lane{}, err
	}
	limiter, err := limit.New(p.dial, p.log)
	if err != nil {
		return nil, nil, lane{}, err
	}
	ring, err := recent.New(p.cfg.API.RecentCalls, p.gauges(front, jobs))
	if err != nil {
		return nil, nil, lane{}, err
	}
	guard := guard.New(p.cfg.API.AdminToken, p.cfg.API.Local())
	pages, err := p.dashboard(lane{front, jobs}, ring, list, guard)
	if err != nil {
		return nil, nil, lane{}, err
	}
	a := p.cfg.API
	grace := a.ShutdownGrace
	if grace == 0 {
		grace = -1 // none; to api, 0 is the default
	}
	server, err := api.New(api.Config{ //nolint:contextcheck // handlers have the contexts of their requests
		Listen: a.Listen, MaxBody: a.MaxBody, SyncTimeout: a.SyncTimeout, Heartbeat: a.StreamHeartbeat, ShutdownGrace: grace,
		TrustedProxies: a.TrustedProxies, Version: p.version, Jobs: p.jobsConfig(),
	}, api.Deps{
		Jobs: jobs, List: list, Limiter: limiter, Broker: lane{front, jobs}, Budget: bodies, Table: p.cfg.Table, Logger: p.log,
		Observe: observer{p.metrics, ring}, Metrics: p.metrics.Handler(), Pages: pages, Guard: guard,
	})
	if err != nil {
		return nil, nil, lane{}, err
	}
	// A port that is taken should fail before anything starts.
	if err := p.listening(ctx, "api.listen", a.Listen, func() error { return server.Listen(ctx) }); err != nil {
		return nil, nil, lane{}, err
	}
	p.hurry = append(p.hurry, server.Hurry)
	p.waits = append(p.waits, waitsFor{"call", server.Inflight})
	p.reload.apply = append(p.reload.apply, func(next *config.Config) { server.Apply(next.Table) })
	return []stage{{"front end", front.Run}, {"jobs", jobs.Run}, {"list", followed(list, jobs)}, {"limiter", limiter.Run}, {"figures", ring.Run}, {"api", server.Run}}, server, lane{front, jobs}, nil
}

// followed keeps the list of jobs, fed by what is written of them.
func followed(list *joblist.List, jobs *jobs.Desk) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		following := make(chan error, 1)
		go func() { following <- jobs.Follow(ctx, list) }()
		err := list.Run(ctx)
		cancel()
		return errors.Join(err, <-following)
	}
}

func (p *process) jobsConfig() jobspec.Limits {
	j := p.cfg.Jobs
	return jobspec.Limits{
		MaxWait: j.MaxWait, Deadline: j.Deadline, MaxDeadline: j.MaxDeadline, ResultTTL: j.ResultTTL, MaxTTL: j.MaxResultTTL,
		KeyLife: j.KeyLife, MaxAttempts: j.MaxAttempts, MaxWaiting: j.MaxWaiting, Durability: p.cfg.Broker.Durability,
	}
}

// Up runs all roles in one process, until ctx ends.
func Up(ctx context.Context, set Settings) error {
	p, err := open(set)
	if err != nil {
		return err
	}
	listen := ""
	if p.cfg.Broker.Expose {
		listen = p.cfg.Broker.Listen
	}
	p.warnAtStart("api.listen", "broker.ops_listen", "worker.ops_listen", "broker.durability")
	stages, err := p.embed(ctx, listen)
	if err != nil {
		return err
	}
	keeper, _, err := p.keeper()
	if err != nil {
		return err
	}
	p.local, p.shared = calls.NewLocal(), records.Shared{Recent: records.NewRecent(p.cfg.Jobs.Recent), Syncs: records.NewSyncs()}
	workers, end, err := p.workers(worker.Filter{}) // first, so that a new route has a worker when callers see it
	if err != nil {
		return err
	}
	fronts, server, front, err := p.frontEnd(ctx)
	if err != nil {
		return err
	}
	p.waits = append(p.waits, waitsFor{"job", end.jobs.Running})
	stages = append(stages, keeper...)
	stages = append(stages, fronts[:len(fronts)-1]...)
	stages = append(stages, workers...)
	for key, address := range map[string]string{"broker.ops_listen": p.cfg.Broker.OpsListen, "worker.ops_listen": p.cfg.Worker.OpsListen} {
		ops, err := p.ops(ctx, key, address, front.Ready)
		if err != nil {
			return err
		}
		stages = append(stages, ops...)
	}
	stages = append(stages, fronts[len(fronts)-1], stage{"reload", p.reload.run}, stage{"ready", func(ctx context.Context) error {
		return p.announce(ctx, server, front.Ready, end.Ready)
	}})
	return p.run(ctx, stages)
}

// Broker runs the broker role alone, until ctx ends.
func Broker(ctx context.Context, set Settings) error {
	p, err := open(set)
	if err != nil {
		return err
	}
	p.warnAtStart("broker.ops_listen", "broker.durability")
	stages, err := p.embed(ctx, p.cfg.Broker.Listen)
	if err != nil {
		return err
	}
	if p.server != nil {
		p.waits = append(p.waits, waitsFor{"connection", p.server.Clients})
	}
	keeper, kept, err := p.keeper()
	if err != nil {
		return err
	}
	stages = append(stages, keeper...)
	ops, err := p.ops(ctx, "broker.ops_listen", p.cfg.Broker.OpsListen, func() error { return cmp.Or(p.brokerReady(), kept()) })
	if err != nil {
		return err
	}
	stages = append(stages, ops...)
	stages = append(stages, stage{"reload", p.reload.run}, stage{"ready", func(ctx context.Context) error {
		if p.server == nil {
			p.log.Info("the broker role looks after streams on another server", "url", link.Redact(p.cfg.Broker.URL))
		} else {
			select {
			case <-p.server.Ready():
				p.log.Info("the broker is ready", "address", p.server.Addr())
			case <-ctx.Done():
			}
		}
		<-ctx.Done()
		return nil
	}})
	return p.run(ctx, stages)
}

// brokerReady is nil once the embedded server is, or where there is none.
func (p *process) brokerReady() error {
	if p.server == nil {
		return nil
	}
	select {
	case <-p.server.Ready():
		return nil
	default:
		return errors.New("the embedded server is starting")
	}
}

// API runs the HTTP front end alone, until ctx ends.
func API(ctx context.Context, set Settings) error {
	p, err := open(set)
	if err != nil {
		return err
	}
	p.warnAtStart("api.listen", "broker.durability")
	p.shared.Recent = records.NewRecent(p.cfg.Jobs.Recent)
	stages, server, front, err := p.frontEnd(ctx)
	if err != nil {
		return err
	}
	stages = append(stages, stage{"reload", p.reload.run}, stage{"ready", func(ctx context.Context) error {
		return p.announce(ctx, server, front.Ready)
	}})
	return p.run(ctx, stages)
}

// Worker runs a pool of workers alone, until ctx ends. It serves the routes that are named, of the
// providers that are named; empty lists restrict nothing.
func Worker(ctx context.Context, set Settings, providers, routes []string) error {
	p, err := open(set)
	if err != nil {
		return err
	}
	providers = slices.Clone(providers)
	for i, name := range providers {
		if providers[i] = config.ProviderName(name); !slices.Contains(config.Providers(), providers[i]) {
			return usagef("--provider %s: there is no such provider; there are %s", name, strings.Join(config.Providers(), ", "))
		}
	}
	for _, name := range routes {
		if p.cfg.Table.Route(name) == nil {
			return usagef("--route %s: the configuration has no such route or endpoint", name)
		}
	}
	stages, end, err := p.workers(worker.Filter{Providers: providers, Routes: routes})
	if err != nil {
		return err
	}
	p.warnAtStart("worker.ops_listen")
	p.waits = append(
		p.waits,
		waitsFor{"call", end.calls.Running},
		waitsFor{"job", end.jobs.Running},
	)
	ops, err := p.ops(ctx, "worker.ops_listen", p.cfg.Worker.OpsListen, end.Ready)
	if err != nil {
		return err
	}
	stages = append(stages, ops...)
	stages = append(stages, stage{"reload", p.reload.run}, stage{"ready", func(ctx context.Context) error {
		if await(ctx, end.Ready) == nil {
			p.log.Info("the worker is ready", "worker", end.ID(), "pid", os.Getpid())
			<-ctx.Done()
		}
		return nil
	}})
	return p.run(ctx, stages)
}
