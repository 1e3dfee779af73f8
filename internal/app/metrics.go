package app

import (
	"time"

	"headrace/api"
	"headrace/api/dashboard/recent"
	"headrace/broker/calls"
	"headrace/broker/jobs"
	"headrace/broker/natsd"
	"headrace/broker/records"
	"headrace/broker/runner"
	"headrace/broker/sweeper"
	"headrace/internal/budget"
	"headrace/internal/config"
	"headrace/internal/telemetry"
	"headrace/worker"
)

// put is how a gauge gives a value.
type put = func(value float64, labels ...string)

// measureFront registers what a front end knows.
func (p *process) measureFront(front *calls.FrontEnd, bodies, replies *budget.Bytes) error {
	table := p.cfg.Table
	p.reload.apply = append(p.reload.apply, func(next *config.Config) {
		p.metrics.Apply(table, next.Table)
		p.served.Store(next.Table)
		table = next.Table
	})
	p.served.Store(table)
	each := func(value func(waiting, workers, slots int) int) func(put) {
		return func(put put) {
			for r := range p.served.Load().All() {
				s := front.State(r.Name)
				put(float64(value(s.Waiting, s.Workers, s.Slots)), r.Name)
			}
		}
	}
	route := []string{"route"}
	return p.metrics.Register(
		telemetry.Gauge{
			Name: "headrace_waiting_calls", Help: "Calls of this front end that no worker has claimed.", Labels: route,
			Read: each(func(waiting, _, _ int) int { return waiting }),
		},
		telemetry.Gauge{
			Name: "headrace_workers", Help: "Live workers that serve a route.", Labels: route,
			Read: each(func(_, workers, _ int) int { return workers }),
		},
		telemetry.Gauge{
			Name: "headrace_route_slots", Help: "Slots of the live workers that serve a route.", Labels: route,
			Read: each(func(_, _, slots int) int { return slots }),
		},
		held("headrace_body_bytes", "Bytes of request bodies held by the front end.", bodies),
		limitOf("headrace_body_bytes_limit", "Half of api.max_inflight_bytes.", bodies),
		held("headrace_reply_bytes", "Bytes of replies held by the front end.", replies),
		limitOf("headrace_reply_bytes_limit", "Half of api.max_inflight_bytes.", replies),
	)
}

func held(name, help string, b *budget.Bytes) telemetry.Gauge {
	return telemetry.Gauge{Name: name, Help: help, Read: func(put put) { put(float64(b.Held())) }}
}

func limitOf(name, help string, b *budget.Bytes) telemetry.Gauge {
	return telemetry.Gauge{Name: name, Help: help, Read: func(put put) { put(float64(b.Limit())) }}
}

// isolating counts the calls that found out which request had failed a shared call.
func isolating(pools *worker.Worker) telemetry.Gauge {
	return telemetry.Gauge{
		Name: "headrace_isolating_calls_total", Help: "Calls to a model server that found out which request had failed a shared call.",
		Labels: []string{"route"}, Counter: true,
		Read: func(put put) {
			for _, s := range pools.State() {
				for _, b := range s.Batching {
					put(float64(b.Isolating), b.Route)
				}
			}
		},
	}
}

// measureWorker registers what a worker knows.
func (p *process) measureWorker(pools *worker.Worker, bodies, replies *budget.Bytes) error {
	each := func(value func(worker.PoolState) int) func(put) {
		return func(put put) {
			for _, s := range pools.State() {
				put(float64(value(s)), s.Server)
			}
		}
	}
	server := []string{"server"}
	return p.metrics.Register(
		telemetry.Gauge{
			Name: "headrace_slots", Help: "Slots of this worker for a model server.", Labels: server,
			Read: each(func(s worker.PoolState) int { return s.Slots }),
		},
		telemetry.Gauge{
			Name: "headrace_slots_busy", Help: "Slots that run a call, or wait for a model server that probably still computes.", Labels: server,
			Read: each(func(s worker.PoolState) int { return s.Busy }),
		},
		isolating(pools),
		telemetry.Gauge{
			Name: "headrace_replica_up", Help: "1 when the replica answered last, 0 when it could not be reached or was not called yet.",
			Labels: []string{"replica", "state"},
			Read: func(put put) {
				seen := make(map[string]bool)
				for _, s := range pools.State() {
					for _, r := range s.Replicas {
						if up := 0.0; !seen[r.URL] {
							seen[r.URL] = true
							if r.State == "up" {
								up = 1
							}
							put(up, r.URL, r.State)
						}
					}
				}
			},
		},
		held("headrace_worker_body_bytes", "Bytes of request bodies held by the worker.", bodies),
		limitOf("headrace_worker_body_bytes_limit", "Half of worker.max_inflight_bytes.", bodies),
		held("headrace_worker_reply_bytes", "Bytes of model servers' replies held by the worker.", replies),
		limitOf("headrace_worker_reply_bytes_limit", "Half of worker.max_inflight_bytes.", replies),
	)
}

// counted is a counter of jobs, read where it is kept. The second of labels, where there is one, is what was counted.
func counted(name, help string, labels []string, read func() map[records.Count]uint64) telemetry.Gauge {
	return telemetry.Gauge{Name: name, Help: help, Labels: labels, Counter: true, Read: func(put put) {
		for of, n := range read() {
			put(float64(n), []string{of.Route, of.What}[:len(labels)]...)
		}
	}}
}

// measureJobs registers what a front end knows of jobs.
func (p *process) measureJobs(jobs *jobs.Desk) error {
	return p.metrics.Register(counted("headrace_jobs_accepted_total", "Durable jobs that this front end has accepted.", []string{"route", "priority"}, jobs.Accepted))
}

// measureRuns registers what a worker knows of jobs.
func (p *process) measureRuns(runs *runner.Runner) error {
	route := []string{"route"}
	return p.metrics.Register(
		counted("headrace_job_attempts_total", "Attempts at durable jobs by how they ended.", []string{"route", "outcome"}, runs.Attempts),
		counted("headrace_job_interruptions_total", "Durable jobs that this worker took over from one that was lost.", route, runs.Interruptions),
		counted("headrace_job_leases_lost_total", "Leases that this worker lost while it ran a job.", route, runs.LeasesLost),
	)
}

// measureBroker registers what the embedded server and the sweeper know.
func (p *process) measureBroker(sweeper *sweeper.Sweeper) error {
	gauges := []telemetry.Gauge{{
		Name: "headrace_jobs_waiting", Help: "Jobs that wait for a worker or for their time.", Labels: []string{"route", "priority"},
		Read: func(put put) {
			for lane, n := range sweeper.Waiting() {
				put(float64(n), lane.Route, string(lane.Priority))
			}
		},
	}, {
		Name: "headrace_jobs_oldest_seconds", Help: "For how long the job that is next has waited for a worker.", Labels: []string{"route", "priority"},
		Read: func(put put) {
			for lane, since := range sweeper.Oldest() {
				put(max(time.Since(since).Seconds(), 0), lane.Route, string(lane.Priority))
			}
		},
	}, {
		Name: "headrace_jobs_finished_total", Help: "Jobs that have ended since this broker started.", Labels: []string{"state"}, Counter: true,
		Read: func(put put) {
			for state, n := range sweeper.Finished() {
				put(float64(n), string(state))
			}
		},
	}}
	if p.server == nil {
		return p.metrics.Register(gauges...)
	}
	read := func(value func(*natsd.ServerStats) float64) func(put) {
		return func(put put) {
			if stats, err := p.server.Stats(); err == nil { // else it is starting or stopping
				put(value(stats))
			}
		}
	}
	streams := func(value func(natsd.StreamStats) int64) func(put) {
		return func(put put) {
			stats, err := p.server.Stats()
			if err != nil {
				return // it is starting or stopping
			}
			for _, s := range stats.Streams {
				put(float64(value(s)), s.Name)
			}
		}
	}
	stream := []string{"stream"}
	return p.metrics.Register(append(gauges,
		telemetry.Gauge{Name: "headrace_broker_connections", Help: "Connections to the embedded broker.", Read: read(func(s *natsd.ServerStats) float64 { return float64(s.Connections) })},
		telemetry.Gauge{Name: "headrace_broker_memory_bytes", Help: "Memory of streams.", Read: read(func(s *natsd.ServerStats) float64 { return float64(s.Memory) })},
		telemetry.Gauge{Name: "headrace_broker_memory_bytes_limit", Help: "broker.max_memory.", Read: read(func(s *natsd.ServerStats) float64 { return float64(s.MaxMemory) })},
		telemetry.Gauge{Name: "headrace_broker_store_bytes", Help: "Disk of streams.", Read: read(func(s *natsd.ServerStats) float64 { return float64(s.Store) })},
		telemetry.Gauge{Name: "headrace_broker_store_bytes_limit", Help: "broker.max_store.", Read: read(func(s *natsd.ServerStats) float64 { return float64(s.MaxStore) })},
		telemetry.Gauge{Name: "headrace_broker_slow_consumers_total", Help: "Connections cut because they did not keep up.", Counter: true, Read: read(func(s *natsd.ServerStats) float64 { return float64(s.SlowConsumerCuts) })},
		telemetry.Gauge{Name: "headrace_stream_messages", Help: "Messages in a stream.", Labels: stream, Read: streams(func(s natsd.StreamStats) int64 { return s.Messages })},
		telemetry.Gauge{Name: "headrace_stream_bytes", Help: "Bytes in a stream.", Labels: stream, Read: streams(func(s natsd.StreamStats) int64 { return s.Bytes })},
	)...)
}

// observer counts what api answers, and remembers it for the dashboard.
type observer struct {
	metrics *telemetry.Metrics
	ring    *recent.Ring
}

var _ api.Observer = observer{}

// Answered counts and remembers one call.
func (o observer) Answered(a api.Answered) {
	code := string(a.Code)
	if code == "" {
		code = telemetry.Result
	}
	o.metrics.Answered(a.Route, code, a.Took, a.Queue, a.Upstream)
	o.ring.Add(recent.Call{
		ID: a.ID, Route: a.Route, Path: a.Path, Job: a.Job, Message: a.Message, Code: a.Code, Began: a.Began, Took: a.Took,
		Queue: a.Queue, Gather: a.Gather, Upstream: a.Upstream, Batch: a.Batch, Status: a.Status, Asked: a.Asked, Sent: a.Sent,
	})
}
