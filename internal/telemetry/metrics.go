package telemetry

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"headrace/internal/inference"
)

// Metrics is the registry of one process and what is counted in it. Labels are names of routes, codes of the closed
// set and configured addresses only, so their number is bounded by the configuration.
type Metrics struct {
	registry *prometheus.Registry

	requests       *prometheus.CounterVec   // by route and code
	took           *prometheus.HistogramVec // by route
	queued         *prometheus.HistogramVec
	upstream       *prometheus.HistogramVec
	attempts       *prometheus.CounterVec   // by route and code
	requestsInCall *prometheus.HistogramVec // by route
	itemsInCall    *prometheus.HistogramVec
	firstPiece     *prometheus.HistogramVec
	streams        *prometheus.GaugeVec     // by route
	store          *prometheus.HistogramVec // by operation
}

// Result is the code of a call that was answered.
const Result = "ok"

// NewMetrics makes a registry with the runtime's and the process's own metrics.
func NewMetrics(version string) *Metrics {
	seconds := prometheus.ExponentialBuckets(0.001, 2, 17) // 1 ms to 65 s
	histogram := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: seconds}, []string{"route"})
	}
	sizes := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(1, 2, 13), // to 4,096
		}, []string{"route"})
	}
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headrace_requests_total", Help: "Calls on a route by how they ended: ok, or the error's code.",
		}, []string{"route", "code"}),
		took:     histogram("headrace_request_duration_seconds", "Time from a call's headers to its answer."),
		queued:   histogram("headrace_queue_wait_seconds", "Time that a call waited for a slot."),
		upstream: histogram("headrace_upstream_duration_seconds", "Time that the model server took for a call."),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headrace_attempts_total", Help: "Calls of this worker to model servers by how they ended.",
		}, []string{"route", "code"}),
		requestsInCall: sizes("headrace_call_requests", "Requests that shared a call to a model server, of calls that were answered."),
		itemsInCall:    sizes("headrace_call_items", "Items in a call to a model server, of calls that were answered."),
		firstPiece:     histogram("headrace_first_piece_seconds", "Time until the first piece of an answer that comes in pieces."),
		streams: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "headrace_open_streams", Help: "Answers of model servers that come in pieces now.",
		}, []string{"route"}),
		store: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "headrace_store_duration_seconds", Help: "Time that the store of durable jobs took.", Buckets: seconds,
		}, []string{"operation"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "headrace_build_info", Help: "1, with the version as a label.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	m.registry.MustRegister(m.requests, m.took, m.queued, m.upstream, m.attempts, m.requestsInCall, m.itemsInCall, m.firstPiece, m.streams, m.store, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Answered counts a call that a front end answered. queued and upstream are 0 when it did not run.
func (m *Metrics) Answered(route, code string, took, queued, upstream time.Duration) {
	m.requests.WithLabelValues(route, code).Inc()
	m.took.WithLabelValues(route).Observe(took.Seconds())
	if code == Result {
		m.queued.WithLabelValues(route).Observe(queued.Seconds())
		m.upstream.WithLabelValues(route).Observe(upstream.Seconds())
	}
}

// Attempted counts a call to a model server.
func (m *Metrics) Attempted(route, code string) { m.attempts.WithLabelValues(route, code).Inc() }

// Batched notes the size of a call that a model server answered.
func (m *Metrics) Batched(route string, requests, items int) {
	m.requestsInCall.WithLabelValues(route).Observe(float64(requests))
	m.itemsInCall.WithLabelValues(route).Observe(float64(items))
}

// Streamed notes that the first piece of an answer has come, and after how long; ended that the answer is over.
func (m *Metrics) Streamed(route string, first time.Duration) (ended func()) {
	m.firstPiece.WithLabelValues(route).Observe(first.Seconds())
	m.streams.WithLabelValues(route).Inc()
	return func() { m.streams.WithLabelValues(route).Dec() }
}

// Stored notes how long the store of durable jobs took.
func (m *Metrics) Stored(operation string, took time.Duration) {
	m.store.WithLabelValues(operation).Observe(took.Seconds())
}

// Gauge is one value that is read when the metrics are.
type Gauge struct {
	Name, Help string
	Labels     []string
	// Read calls put once for each value, with the labels' values.
	Read func(put func(value float64, labels ...string))
	// Counter says that the value only grows.
	Counter bool
}

// Register adds gauges. Their names must be new.
func (m *Metrics) Register(gauges ...Gauge) error {
	for _, g := range gauges {
		kind := prometheus.GaugeValue
		if g.Counter {
			kind = prometheus.CounterValue
		}
		if err := m.registry.Register(&reading{gauge: g, kind: kind, desc: prometheus.NewDesc(g.Name, g.Help, g.Labels, nil)}); err != nil {
			return err
		}
	}
	return nil
}

// reading is a collector that has no state.
type reading struct {
	gauge Gauge
	kind  prometheus.ValueType
	desc  *prometheus.Desc
}

// Describe is part of prometheus.Collector.
func (r *reading) Describe(out chan<- *prometheus.Desc) { out <- r.desc }

// Collect is part of prometheus.Collector.
func (r *reading) Collect(out chan<- prometheus.Metric) {
	r.gauge.Read(func(value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(r.desc, r.kind, value, labels...)
	})
}

// Apply drops the series of routes that next does not have.
func (m *Metrics) Apply(old, next *inference.Table) {
	for r := range old.All() {
		if next.Route(r.Name) != nil {
			continue
		}
		gone := prometheus.Labels{"route": r.Name}
		m.requests.DeletePartialMatch(gone)
		m.attempts.DeletePartialMatch(gone)
		m.took.DeletePartialMatch(gone)
		m.queued.DeletePartialMatch(gone)
		m.upstream.DeletePartialMatch(gone)
		m.requestsInCall.DeletePartialMatch(gone)
		m.itemsInCall.DeletePartialMatch(gone)
		m.firstPiece.DeletePartialMatch(gone)
		m.streams.DeletePartialMatch(gone)
	}
}

// Handler serves the metrics in Prometheus' text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}
