package jobs

import (
	"context"
	"sync"
	"time"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/job"
)

// waiter waits for news of a job.
type waiter struct {
	wake chan struct{} // capacity 1
	end  bool          // only the end is of interest
	news *job.Record   // the record of the last event, where it is remembered; guarded by follower.mu
}

// follower knows which callers wait for news of which job.
type follower struct {
	*door

	recent *records.Recent // nil remembers nothing

	mu      sync.Mutex
	waiters map[job.ID]map[*waiter]struct{}
}

// note wakes the waiters of a job.
func (j *follower) note(e records.Event) {
	if e.Revision == 0 {
		j.log.Warn("an event without the number of its record", "job", e.ID)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	news := j.recent.Event(e.ID, e.Tag, e.Revision)
	waiters := j.waiters[e.ID]
	if len(waiters) == 0 {
		return
	}
	ended := e.State.Terminal()
	for w := range waiters {
		if ended || !w.end {
			w.news = news
			link.Ring(w.wake)
		}
	}
}

// missedEvery is the interval at which dropped events are noticed.
const missedEvery = time.Second

// dropping counts events that were dropped because they came faster than they were read.
type dropping interface{ Dropped() (int, error) }

// missEvents wakes all waiters, until ctx ends, when events were dropped because they came faster than they were read.
func (j *follower) missEvents(ctx context.Context, events dropping) {
	known := 0
	link.Every(ctx, missedEvery, func() {
		dropped, err := events.Dropped()
		if err != nil || dropped == known {
			return
		}
		j.log.Warn("changes of jobs came faster than they could be read; what is waited for is read again", "dropped", dropped-known)
		known = dropped
		j.recent.Clear()
		j.wakeAll()
	})
}

func (j *follower) wakeAll() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, waiters := range j.waiters {
		for w := range waiters {
			w.news = nil
			link.Ring(w.wake)
		}
	}
}

// Wait returns the record of a job as soon as done(record) is true, or the latest one when ctx ends first. Waiting costs no
// reads: Wait is woken when the record is written.
func (j *follower) Wait(ctx context.Context, id job.ID, done func(*job.Record) bool) (*job.Record, error) {
	if err := j.await(ctx); err != nil {
		return nil, err
	}
	return j.wait(ctx, id, done, new(waiter))
}

// WaitEnd is Wait for the end of a job; what happens before costs nothing.
func (j *follower) WaitEnd(ctx context.Context, id job.ID) (*job.Record, error) {
	if err := j.await(ctx); err != nil {
		return nil, err
	}
	return j.wait(ctx, id, func(r *job.Record) bool { return r.State.Terminal() }, &waiter{end: true})
}

func (j *follower) wait(ctx context.Context, id job.ID, done func(*job.Record) bool, w *waiter) (*job.Record, error) {
	w.wake = make(chan struct{}, 1)
	j.watch(id, w)
	defer j.unwatch(id, w)
	// A record of this process will do to begin with when only the end matters: the event of every later write is still to come,
	// as long as the connection lives.
	var r *job.Record
	if w.end && j.conn.Connected() {
		r = j.recent.Latest(id)
	}
	remembered := r != nil
	for {
		if r == nil {
			var err error
			if r, err = j.Get(context.WithoutCancel(ctx), id); err != nil {
				return nil, err
			}
			remembered = false
		}
		if done(r) {
			if err := j.store.Shown(context.WithoutCancel(ctx), r); err != nil {
				return nil, j.unread(id, err)
			}
			return r, nil
		}
		select {
		case <-w.wake:
			r = j.newsOf(w)
			remembered = r != nil
		case <-ctx.Done():
			if remembered || w.end { // it may have changed since
				return j.Get(context.WithoutCancel(ctx), id)
			}
			return r, nil
		}
	}
}

// newsOf takes what a waiter was sent.
func (j *follower) newsOf(w *waiter) *job.Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	news := w.news
	w.news = nil
	if news == nil {
		return nil
	}
	return news.Clone() // other waiters get the same record
}

// Watch rings wake, of capacity 1, whenever the job's record is written, until stop is called.
func (j *follower) Watch(id job.ID, wake chan struct{}) (stop func()) {
	w := &waiter{wake: wake}
	j.watch(id, w)
	return func() { j.unwatch(id, w) }
}

func (j *follower) watch(id job.ID, w *waiter) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.waiters[id] == nil {
		j.waiters[id] = make(map[*waiter]struct{})
	}
	j.waiters[id][w] = struct{}{}
}

func (j *follower) unwatch(id job.ID, w *waiter) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.waiters[id], w)
	if len(j.waiters[id]) == 0 {
		delete(j.waiters, id)
	}
}
