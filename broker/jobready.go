package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"headrace/internal/fault"
)

// errRefused says that the broker role will not make a stream: trying again does not help by itself.
var errRefused = errors.New("the broker role cannot make it")

// jobGate is why a front end cannot accept jobs yet.
type jobGate struct {
	mu     sync.Mutex
	open   bool
	reason error
	said   said
}

// set notes why jobs cannot be accepted, nil that they can, and reports whether that is worth a line.
func (g *jobGate) set(reason error) (news bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reason, g.open = reason, reason == nil
	return g.said.news(reason)
}

// shut gives the reason; nil: jobs are accepted, or nothing is known yet.
func (g *jobGate) shut() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reason
}

// opened reports whether jobs could be accepted, and why not.
func (g *jobGate) opened() (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open, g.reason
}

// reach asks for the streams of jobs until all of them are there and the disk has room, or ctx ends. What happens later is
// told by the sweeper and does not concern calls.
func (j *Jobs) reach(ctx context.Context) {
	for {
		err := j.reachOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		late := j.gate.shut() != nil
		news := j.gate.set(err)
		switch {
		case err == nil && late:
			j.log.Info("jobs are accepted now")
			return
		case err == nil:
			return
		case news && j.store.link.nc.IsConnected():
			j.log.Error("no job can be accepted", "reason", err)
		}
		pauseFor(ctx, followAgain)
	}
}

func (j *Jobs) reachOnce(ctx context.Context) error {
	for shard := range jobShards {
		for _, kind := range []string{recordStream, dataStream} {
			if _, err := j.store.stream(ctx, kind+strconv.Itoa(shard)); err != nil {
				return err
			}
		}
	}
	if server := j.dial.Server; server != nil {
		return server.DiskFull()
	}
	return nil
}

// refusal is the caller's error while no job can be accepted for a reason that is known; nil: there is none.
func (j *Jobs) refusal() *fault.Error {
	reason := j.gate.shut()
	if reason == nil {
		return nil
	}
	code := fault.QueueFull
	if !errors.Is(reason, errRefused) && (j.dial.Server == nil || j.dial.Server.DiskFull() == nil) {
		code = fault.NoWorkers
	}
	f := fault.Wrap(code, reason, "no job can be accepted: %v", reason)
	f.RetryAfter = 10 * time.Second
	return f
}

// Ready is nil while the jobs' store is connected and, once it could be, jobs are accepted.
func (j *Jobs) Ready() error {
	select {
	case <-j.ready:
	default:
		return errors.New("the broker was not reached yet")
	}
	if !j.store.link.nc.IsConnected() {
		return errors.New("the connection to the broker is lost")
	}
	if open, reason := j.gate.opened(); !open {
		if reason == nil {
			return errors.New("the streams of jobs are being opened")
		}
		return fmt.Errorf("no job can be accepted: %w", reason)
	}
	return nil
}
