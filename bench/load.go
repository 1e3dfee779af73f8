package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// callPatience is how long after the end of a window its last calls may come back.
const callPatience = 60 * time.Second

// target is a server under load.
type target struct {
	name     string
	addr     string
	requests [][]byte // rendered; clients go through them in turn
	// least and most are the bytes that the body of a good reply has.
	least, most int
	// bad tells which requests the server has to refuse; they are not counted as calls. It may be shorter than requests.
	bad []bool
	pid int // of the process whose processor time is counted; 0 = none
}

// window is what one closed-loop load on one target gave.
type window struct {
	calls   int // good ones
	elapsed time.Duration
	p50     time.Duration
	p99     time.Duration
	cpu     time.Duration // of the target's process, for each good call; 0 where it is not known
	failed  int
	why     error // of the first failure
}

// rate is good calls in a second.
func (w window) rate() float64 { return float64(w.calls) / w.elapsed.Seconds() }

// tally is one client's share of a window.
type tally struct {
	took   []time.Duration // of good calls
	failed int
	why    error
}

func (t *tally) fail(err error) {
	t.failed++
	if t.why == nil {
		t.why = err
	}
}

// drive keeps n clients busy, each of which asks again as soon as it has its reply, until the window is over.
// Every client has a connection that has carried one call before. It fails only when a client cannot begin.
func drive(ctx context.Context, t *target, n int, length time.Duration) (window, error) {
	clients := make([]*client, n)
	for i := range clients {
		c := &client{target: t, next: i, tally: tally{took: make([]time.Duration, 0, 1024)}}
		if err := c.connect(ctx, time.Now().Add(length+callPatience)); err != nil {
			return window{}, fmt.Errorf("%s: client %d: %w", t.name, i, err)
		}
		defer c.conn.close()
		clients[i] = c
	}
	busy := cpuTime(t.pid)
	began := time.Now()
	over := began.Add(length)
	var running sync.WaitGroup
	for _, c := range clients {
		running.Go(func() { c.run(ctx, over) })
	}
	running.Wait()
	w := window{elapsed: time.Since(began)}
	busy = cpuTime(t.pid) - busy
	var took []time.Duration
	for _, c := range clients {
		took = append(took, c.tally.took...)
		w.failed += c.tally.failed
		if w.why == nil {
			w.why = c.tally.why
		}
	}
	slices.Sort(took)
	w.calls, w.p50, w.p99 = len(took), quantile(took, 0.5), quantile(took, 0.99)
	if w.calls > 0 {
		w.cpu = busy / time.Duration(w.calls)
	}
	return w, ctx.Err()
}

// client is one of the loop's clients.
type client struct {
	target *target
	conn   *conn
	next   int
	tally  tally
}

// connectAttempts is more than one because a reverse proxy that keeps few idle connections loses a call now
// and then; such losses are counted in the window, and should not end the run before it.
const connectAttempts = 4

// connect opens the connection and makes one good call on it, which is not counted.
func (c *client) connect(ctx context.Context, expiry time.Time) error {
	var err error
	for range connectAttempts {
		if c.conn, err = dial(ctx, c.target.addr); err != nil {
			return err
		}
		if err = c.conn.expire(expiry); err != nil {
			return err
		}
		if _, err = c.call(); err == nil {
			return nil
		}
		c.conn.close()
	}
	return err
}

// call makes one call and judges the reply; counts tells whether it was a good one.
func (c *client) call() (counts bool, err error) {
	at := c.next % len(c.target.requests)
	bad := at < len(c.target.bad) && c.target.bad[at]
	c.next++
	status, length, err := c.conn.call(c.target.requests[at])
	switch {
	case err != nil:
		return false, &lostError{err}
	case bad && status >= 400 && status != 503 && status != 504:
		return false, nil
	case bad:
		return false, fmt.Errorf("status %d for a request that has to be refused", status)
	case status != 200:
		return false, fmt.Errorf("status %d", status)
	case length < c.target.least || length > c.target.most:
		return false, fmt.Errorf("a body of %d bytes instead of %d to %d", length, c.target.least, c.target.most)
	}
	return true, nil
}

// lostError is a call whose connection cannot be used again.
type lostError struct{ err error }

func (e *lostError) Error() string { return e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// run makes calls until the window is over or ctx ends.
func (c *client) run(ctx context.Context, over time.Time) {
	began := time.Now()
	for began.Before(over) && ctx.Err() == nil {
		counts, err := c.call()
		now := time.Now()
		if err == nil {
			if counts {
				c.tally.took = append(c.tally.took, now.Sub(began))
			}
			began = now
			continue
		}
		c.tally.fail(err)
		if !c.mend(ctx, err, over) {
			return
		}
		began = time.Now()
	}
}

// mend opens a new connection when a failure has broken the old one.
func (c *client) mend(ctx context.Context, err error, over time.Time) bool {
	if _, lost := err.(*lostError); !lost { //nolint:errorlint // call returns it as it is
		return true
	}
	c.conn.close()
	fresh, err := dial(ctx, c.target.addr)
	if err != nil {
		c.tally.fail(err)
		return false
	}
	c.conn = fresh
	return fresh.expire(over.Add(callPatience)) == nil
}
