package jobs

import (
	"context"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/job"
)

// waiter waits for news of a job.
type waiter struct {
	wake chan struct{} // capacity 1
	end  bool          // only the end is of interest
	news *job.Record   // the record of the last event, where it is remembered; guarded by Desk.mu
}

// note wakes the waiters of a job.
func (j *Desk) note(msg *nats.Msg) {
	id := records.IdOfEvent(msg.Subject)
	revision, err := strconv.ParseUint(msg.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		j.log.Warn("an event without the number of its record", "job", id, "error", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	news := j.shared.Recent.Event(id, msg.Header.Get(records.HeaderTag), revision)
	waiters := j.waiters[id]
	if len(waiters) == 0 {
		return
	}
	ended := job.State(msg.Header.Get(records.HeaderState)).Terminal()
	for w := range waiters {
		if ended || !w.end {
			w.news = news
			link.Ring(w.wake)
		}
	}
}

// missEvents wakes all waiters, until ctx ends, when events were dropped because they came faster than they were read.
func (j *Desk) missEvents(ctx context.Context) {
	known := 0
	link.Every(ctx, missedEvery, func() {
		dropped, err := j.events.Dropped()
		if err != nil || dropped == known {
			return
		}
		j.log.Warn("changes of jobs came faster than they could be read; what is waited for is read again", "dropped", dropped-known)
		known = dropped
		j.shared.Recent.Clear()
		j.wakeAll()
	})
}

// reconnected wakes all waiters, because events may have been lost while the connection was.
func (j *Desk) reconnected() {
	j.shared.Recent.Clear()
	j.shared.Syncs.Forget()
	j.placements.Forget()
	j.wakeAll()
}

func (j *Desk) wakeAll() {
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
func (j *Desk) Wait(ctx context.Context, id job.ID, done func(*job.Record) bool) (*job.Record, error) {
	if err := j.await(ctx); err != nil {
		return nil, err
	}
	return j.wait(ctx, id, done, new(waiter))
}

// WaitEnd is Wait for the end of a job; what happens before costs nothing.
func (j *Desk) WaitEnd(ctx context.Context, id job.ID) (*job.Record, error) {
	if err := j.await(ctx); err != nil {
		return nil, err
	}
	return j.wait(ctx, id, func(r *job.Record) bool { return r.State.Terminal() }, &waiter{end: true})
}

func (j *Desk) wait(ctx context.Context, id job.ID, done func(*job.Record) bool, w *waiter) (*job.Record, error) {
	w.wake = make(chan struct{}, 1)
	j.watch(id, w)
	defer j.unwatch(id, w)
	// A record of this process will do to begin with when only the end matters: the event of every later write is still to come,
	// as long as the connection lives.
	var r *job.Record
	if w.end && j.store.Link.NC.IsConnected() {
		r = j.shared.Recent.Latest(id)
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
func (j *Desk) newsOf(w *waiter) *job.Record {
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
func (j *Desk) Watch(id job.ID, wake chan struct{}) (stop func()) {
	w := &waiter{wake: wake}
	j.watch(id, w)
	return func() { j.unwatch(id, w) }
}

func (j *Desk) watch(id job.ID, w *waiter) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.waiters[id] == nil {
		j.waiters[id] = make(map[*waiter]struct{})
	}
	j.waiters[id][w] = struct{}{}
}

func (j *Desk) unwatch(id job.ID, w *waiter) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.waiters[id], w)
	if len(j.waiters[id]) == 0 {
		delete(j.waiters, id)
	}
}
