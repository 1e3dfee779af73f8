package runner_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/link"
	"headrace/broker/natsd"
	"headrace/internal/inference"
	"headrace/internal/job"
	"headrace/internal/lanetest"
	"headrace/internal/lease"
)

// crowdedRig is a broker whose streams have room for few consumers, and routes of one stream.
func crowdedRig(t *testing.T, lanes, routes int) (*jobRig, []*inference.Route) {
	t.Helper()
	r := &jobRig{Rig: lanetest.BareRig(t), route: lanetest.TestRoute("jobs")}
	r.Lanes = lanes
	r.ServeBroker(natsd.Config{MaxMemory: 64 << 20})
	r.Keep()
	r.Front = r.NewFront()
	t.Cleanup(r.Balanced)
	r.sweep()
	r.jobs = r.newJobs()
	return r, routesOfShard(routes)
}

// routesOfShard makes routes that share their streams.
func routesOfShard(n int) (routes []*inference.Route) {
	for i := 0; len(routes) < n; i++ {
		if route := lanetest.TestRoute(fmt.Sprint("route-", i)); link.ShardOf(route.Name) == 3 {
			routes = append(routes, route)
		}
	}
	return routes
}

// serveEach runs one worker process with a model server for each route.
func serveEach(r *lanetest.Rig, handle func(context.Context, lease.Claim), routes ...*inference.Route) {
	r.TB.Helper()
	end, _ := r.NewWorkerEnd(1, routes...)
	r.Account("calls and parcels of worker "+end.ID(), func() int64 { return int64(end.Held()) })
	for _, route := range routes {
		lanetest.Background(r.TB, func(ctx context.Context) error {
			r.Lease(ctx, end.Intake([]*inference.Route{route}), 1, handle)
			return nil
		})
	}
}

// acceptOn places a job of a route.
func (r *jobRig) acceptOn(route *inference.Route, priority job.Priority, item string) job.ID {
	r.TB.Helper()
	rec := r.record()
	rec.Route, rec.Provider, rec.Priority = route.Name, route.Provider, priority
	return r.accept(rec, item).ID
}

func (r *jobRig) call(ctx context.Context, route *inference.Route) error {
	res, err := r.Front.Call(ctx, route, lanetest.Request(route, `"x"`))
	if err == nil {
		res.Release()
	}
	return err
}

// Routes that have work at the same time are more than a stream has room for: all make progress.
func TestMoreRoutesThanConsumers(t *testing.T) {
	t.Parallel()
	r, routes := crowdedRig(t, 4, 10)
	handle, ran := counting(r.Echo)
	serveEach(r.Rig, handle, routes...)
	var jobs []job.ID
	for _, route := range routes {
		for _, priority := range job.Priorities() {
			jobs = append(jobs, r.acceptOn(route, priority, `"job"`))
		}
	}
	var callers sync.WaitGroup
	for _, route := range routes {
		callers.Go(func() {
			for range 3 {
				if err := r.call(t.Context(), route); err != nil {
					t.Errorf("route %s: %v", route.Name, err)
				}
			}
		})
	}
	callers.Wait()
	for _, id := range jobs {
		r.until(id, job.Succeeded)
	}
	if want := int64(len(routes)*3 + len(jobs)); ran.Load() != want {
		t.Errorf("%d calls and jobs ran, want %d", ran.Load(), want)
	}
}

// Routes that are paused, without a worker, or slow keep no other route from making progress, and lose nothing.
func TestHeldUpRoutesGiveWay(t *testing.T) {
	t.Parallel()
	r, routes := crowdedRig(t, 4, 12)
	slow, paused, dead, quick := routes[:4], routes[4:7], routes[7:9], routes[9:]
	claimed, proceed := make(chan lease.Claim, 100), make(chan struct{})
	var ran atomic.Int64
	serveEach(r.Rig, func(ctx context.Context, c lease.Claim) {
		ran.Add(1)
		if slices.ContainsFunc(slow, func(route *inference.Route) bool { return route.Name == c.Request().Route }) {
			claimed <- c
			<-proceed
		}
		r.Echo(ctx, c)
	}, slices.Concat(slow, paused, quick)...)
	var held, rest []job.ID
	for _, route := range slow {
		held = append(held, r.acceptOn(route, job.Standard, `"slow"`), r.acceptOn(route, job.Standard, `"behind it"`))
	}
	for range slow {
		lanetest.Await(t, claimed, "slow job")
	}
	for _, route := range paused {
		if err := r.jobs.Pause(t.Context(), route.Name, true); err != nil {
			t.Fatal(err)
		}
		held = append(held, r.acceptOn(route, job.Standard, `"paused"`))
	}
	for _, route := range dead {
		r.acceptOn(route, job.Standard, `"dead"`)
	}
	for range 2 {
		for _, route := range quick {
			rest = append(rest, r.acceptOn(route, job.Interactive, `"quick"`))
		}
	}
	for _, id := range rest {
		r.until(id, job.Succeeded)
	}
	close(proceed)
	for _, route := range paused {
		if err := r.jobs.Pause(t.Context(), route.Name, false); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range held {
		r.until(id, job.Succeeded)
	}
	if want := int64(len(held) + len(rest)); ran.Load() != want {
		t.Errorf("%d jobs ran, want %d", ran.Load(), want)
	}
}

// A consumer that is taken away while slots wait on it, or have leases of it, loses nothing and doubles nothing.
func TestConsumerTakenAway(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	handle, ran := counting(r.Echo)
	r.work(2, handle)
	js := streamsOf(t, r.Rig)
	take := func() {
		t.Helper()
		callStream, call := callLane(r.route)
		jobStream, jobs := jobLane(r.route, job.Standard)
		for stream, durable := range map[string]string{callStream: call, jobStream: jobs} {
			if err := js.DeleteConsumer(t.Context(), stream, durable); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
				t.Fatal(err)
			}
		}
	}
	var ids []job.ID
	const rounds = 10
	for range rounds {
		ids = append(ids, r.accept(r.record(), `"job"`).ID)
		if err := r.call(t.Context(), r.route); err != nil {
			t.Error(err)
		}
		take()
		ids = append(ids, r.accept(r.record(), `"job"`).ID)
		if err := r.call(t.Context(), r.route); err != nil {
			t.Error(err)
		}
	}
	for _, id := range ids {
		r.until(id, job.Succeeded)
	}
	if want := int64(len(ids) + 2*rounds); ran.Load() != want {
		t.Errorf("%d calls and jobs ran, want %d", ran.Load(), want)
	}
}

func streamsOf(t *testing.T, r *lanetest.Rig) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect("", r.Server.InProcess())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// lines counts log lines.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.text.Bytes(), []byte("\n"))
}

// What keeps all routes from being served has one line, not one for each route and try.
func TestOneLineForManyRoutes(t *testing.T) {
	t.Parallel()
	r := lanetest.BareRig(t)
	log := &lines{}
	r.Log = slog.New(slog.NewTextHandler(log, nil))
	r.ServeBroker(natsd.Config{MaxMemory: 64 << 20})
	stop := r.Keep()
	r.Front = r.NewFront()
	routes := routesOfShard(100)
	serveEach(r, r.Echo, routes...)
	if err := (&jobRig{Rig: r}).call(t.Context(), routes[0]); err != nil { // so that the stream exists
		t.Fatal(err)
	}
	stop()
	before := log.count()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	var callers sync.WaitGroup
	for _, route := range routes[1:] {
		callers.Go(func() {
			if err := (&jobRig{Rig: r}).call(ctx, route); err == nil {
				t.Errorf("route %s was served without a keeper", route.Name)
			}
		})
	}
	callers.Wait()
	if n := log.count() - before; n == 0 || n > 5 {
		t.Errorf("%d lines: %s", n, log.text.String())
	}
}
