package worker_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/lease"
	"headrace/internal/provider"
	"headrace/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// calls is a queue in memory, and its own intakes.
type calls struct {
	mu      sync.Mutex
	waiting []*call
	news    chan struct{} // closed and replaced when something changes
	served  map[string]int
	settled bool
	leased  int
	open    int // intakes
}

func newCalls() *calls { return &calls{news: make(chan struct{})} }

// call is one request, its delivery and its claim.
type call struct {
	from   *calls
	route  string
	ctx    context.Context
	gone   bool        // the claim is refused
	left   bool        // its caller leaves while it is claimed
	result chan string // "answered", an error's code, "dropped"

	request *inference.Request // nil: one that says nothing
	answer  string             // the items of the result
	failed  *fault.Error
	shared  int // requests in its call

	patience time.Duration // 0: none
}

func (c *calls) changed() {
	close(c.news)
	c.news = make(chan struct{})
}

// add puts a call into the queue.
func (c *calls) add(ctx context.Context, route string) *call {
	one := &call{from: c, route: route, ctx: ctx, result: make(chan string, 1)}
	c.put(one)
	return one
}

func (c *calls) put(one *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, one)
	c.changed()
}

// Serve is part of worker.Queue.
func (c *calls) Serve(slots map[string]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.served = slots
}

// Settle is part of worker.Queue.
func (c *calls) Settle(context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settled = true
}

// Intake is part of worker.Queue.
func (c *calls) Intake(routes []*inference.Route) worker.Intake {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open++
	in := &intake{calls: c, routes: make(map[string]bool)}
	for _, r := range routes {
		in.routes[r.Name] = true
	}
	return in
}

type intake struct {
	calls  *calls
	routes map[string]bool
}

// Lease is part of worker.Intake.
func (in *intake) Lease(ctx context.Context, n int) ([]lease.Delivery, error) {
	c := in.calls
	for {
		c.mu.Lock()
		var got []lease.Delivery
		var rest []*call
		for _, one := range c.waiting {
			if len(got) < n && in.routes[one.route] {
				got = append(got, one)
			} else {
				rest = append(rest, one)
			}
		}
		c.waiting = rest
		c.leased += len(got)
		news := c.news
		c.mu.Unlock()
		if len(got) > 0 {
			return got, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Jobs is part of worker.Intake.
func (in *intake) Jobs(int) {}

// Close is part of worker.Intake.
func (in *intake) Close() {
	in.calls.mu.Lock()
	defer in.calls.mu.Unlock()
	in.calls.open--
}

// now is how many calls are leased.
func (c *calls) now() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leased
}

func (c *calls) ended() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leased--
}

// Route is part of lease.Delivery.
func (c *call) Route() string { return c.route }

// Return is part of lease.Delivery.
func (c *call) Return() {
	c.from.ended()
	c.from.put(c)
}

// Claim is part of lease.Delivery.
func (c *call) Claim(ctx context.Context) (context.Context, lease.Claim, error) {
	if c.gone {
		c.end("not claimed")
		return nil, nil, lease.ErrNotClaimed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	context.AfterFunc(c.ctx, func() { cancel(errors.New("the caller has gone")) })
	if c.left {
		cancel(errors.New("the caller has gone"))
	}
	if c.patience > 0 {
		timed, stop := context.WithTimeout(ctx, c.patience)
		context.AfterFunc(timed, stop)
		ctx = timed
	}
	return ctx, c, nil
}

func (c *call) end(how string) {
	c.from.ended()
	c.result <- how
}

// Request is part of lease.Claim.
func (c *call) Request() *inference.Request {
	if c.request != nil {
		return c.request
	}
	return &inference.Request{ID: "r", Route: c.route, Type: inference.Embeddings}
}

// Answer is part of lease.Claim.
func (c *call) Answer(_ context.Context, result *inference.Result) error {
	c.answer, c.shared = string(bytes.Join(result.Items, []byte(" ")))+string(result.Body), result.Batch
	result.Release()
	c.end("answered")
	return nil
}

// Fail is part of lease.Claim.
func (c *call) Fail(_ context.Context, f *fault.Error) error {
	c.failed = f
	c.end(string(f.Code))
	return f
}

// Drop is part of lease.Claim.
func (c *call) Drop() { c.end("dropped") }

// RunAlone is part of lease.Claim.
func (c *call) RunAlone(context.Context) error {
	c.end("alone")
	return nil
}

// model is a model server and the provider for it.
type model struct {
	mu       sync.Mutex
	took     time.Duration // of each call
	err      error
	inFlight int
	most     int
	ran      int
	released int
}

// answers sets what later calls take and how they end.
func (m *model) answers(took time.Duration, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.took, m.err = took, err
}

// calls is how many calls ran so far.
func (m *model) calls() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ran
}

// Do is part of worker.Upstream.
func (m *model) Do(ctx context.Context, _ provider.Call, _ int64) (provider.Reply, func(), error) {
	m.mu.Lock()
	m.inFlight++
	m.ran++
	m.most = max(m.most, m.inFlight)
	took, err := m.took, m.err
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.inFlight--
		m.mu.Unlock()
	}()
	timer := time.NewTimer(took)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return provider.Reply{}, nil, fault.New(fault.UpstreamTimeout, "too slow")
		}
		return provider.Reply{}, nil, context.Cause(ctx)
	}
	if err != nil {
		return provider.Reply{}, nil, err
	}
	return provider.Reply{Status: 200}, func() {
		m.mu.Lock()
		m.released++
		m.mu.Unlock()
	}, nil
}

// Run is part of worker.Upstream.
func (m *model) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Replicas is part of worker.Upstream.
func (m *model) Replicas() []inference.Replica {
	return []inference.Replica{{URL: "http://model", State: "up"}}
}

// Encode is part of provider.Provider.
func (m *model) Encode(*inference.Route, *inference.Request) (provider.Call, error) {
	return provider.Call{}, nil
}

// Decode is part of provider.Provider.
func (m *model) Decode(*inference.Route, *inference.Request, provider.Reply) (*inference.Result, error) {
	return new(inference.Result), nil
}
