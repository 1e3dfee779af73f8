package app

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"time"

	"headrace/broker/calls"
	"headrace/broker/intake"
	"headrace/broker/runner"
	"headrace/internal/budget"
	"headrace/internal/config"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/provider/anthropic"
	"headrace/internal/provider/mlflow"
	"headrace/internal/provider/openai"
	"headrace/internal/telemetry"
	"headrace/internal/upstream"
	"headrace/worker"
)

// workerEnd is the broker's half of the worker role: it leases calls and jobs, and answers and runs them.
type workerEnd struct {
	*intake.End

	calls *calls.Answerer
	jobs  *runner.Runner
}

// newWorkerEnd makes one. pools is asked for the state of the model servers while it runs.
func (p *process) newWorkerEnd(bodies *budget.Bytes, pools func() []worker.PoolState) (*workerEnd, error) {
	w := &workerEnd{
		calls: calls.NewAnswerer(p.dial, p.local, bodies, p.log),
		jobs:  runner.New(runner.Config{Shared: p.shared, Bodies: bodies, Timer: p.metrics.Stored, Log: p.log}),
	}
	var err error
	w.End, err = intake.NewEnd(p.dial, func() (reports []intake.PoolReport) {
		for _, s := range pools() {
			reports = append(reports, intake.PoolReport{Routes: s.Routes, Replicas: s.Replicas, Batching: s.Batching})
		}
		return reports
	}, p.log, w.calls, w.jobs)
	return w, errors.Join(err, p.measureRuns(w.jobs))
}

// workers makes the stages of the worker role.
func (p *process) workers(filter worker.Filter) ([]stage, *workerEnd, error) {
	if err := p.cfg.Keys(filter.Admits); err != nil {
		return nil, nil, &UsageError{err}
	}
	p.reload.source.NeedKeys(filter.Admits)
	half := p.cfg.Worker.MaxInflightBytes / 2
	bodies, replies := budget.New(half), budget.New(half)
	var pools *worker.Worker // made of the end that reports on it
	end, err := p.newWorkerEnd(bodies, func() []worker.PoolState { return pools.State() })
	if err != nil {
		return nil, nil, err
	}
	pools, err = worker.New(worker.Config{Filter: filter, Grace: p.cfg.API.ShutdownGrace}, worker.Deps{
		Queue:     queue{end.End},
		Providers: providers(),
		Dial: func(r *inference.Route) (worker.Upstream, error) {
			client, err := upstream.New(upstream.Config{
				URLs: r.Servers, Headers: r.Headers, TLSCA: r.TLSCA, ConnectTimeout: r.ConnectTimeout,
				MaxIdle: maxIdle(r), Budget: replies,
			})
			return modelServer{client}, err
		},
		Attempted: func(route string, code fault.Code) {
			p.metrics.Attempted(route, cmp.Or(string(code), telemetry.Result))
		},
		Batched:  p.metrics.Batched,
		Streamed: p.metrics.Streamed,
		MaxParts: p.cfg.Worker.MaxInflightBytes / 8,
		Memory:   memory{filepath.Join(p.cfg.Broker.DataDir, "worker", "learned.json"), p.log},
		Logger:   p.log,
	})
	if err != nil {
		return nil, nil, err
	}
	if err := p.measureWorker(pools, bodies, replies); err != nil {
		return nil, nil, err
	}
	p.hurry = append(p.hurry, pools.Hurry)
	tables := newRetiring(pools, p.cfg.Table, p.log)
	p.reload.tick = append(p.reload.tick, tables.expire)
	p.reload.apply = append(p.reload.apply, func(next *config.Config) { tables.change(next.Table, time.Now()) })
	run := func(ctx context.Context) error { return pools.Run(ctx, p.cfg.Table) }
	return []stage{{"worker end", end.Run}, {"worker", run}}, end, nil
}

// providers are all there are, by their canonical names.
func providers() map[string]provider.Provider {
	return map[string]provider.Provider{
		config.ProviderMLflow: mlflow.New(), config.ProviderOpenAI: openai.New(), config.ProviderAzure: openai.New(), config.ProviderAnthropic: anthropic.New(),
	}
}

// maxIdle is how many connections to a model server are kept: as many as calls may be in flight.
func maxIdle(r *inference.Route) int {
	if r.LearnSlots {
		return worker.MostSlots
	}
	return r.Slots
}
