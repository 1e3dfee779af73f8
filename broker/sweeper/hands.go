package sweeper

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/job"
)

// hands do what is due about one job each. They own nothing: what they learn belongs to the other parts.
type hands struct {
	store    store
	schedule *schedule
	gauge    *gauge
	reporter *reporter
	log      *slog.Logger
	troubles link.Troubles
	work     chan job.ID
}

// dispatch gives jobs to hands when they are due, until ctx ends.
func (s *hands) dispatch(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		id, wait := s.schedule.next(time.Now())
		if id != "" {
			select {
			case s.work <- id:
				continue
			case <-ctx.Done():
				return
			}
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-s.schedule.wake:
		case <-ctx.Done():
			return
		}
	}
}

// run is one hand, until ctx ends.
func (s *hands) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-s.work:
			s.schedule.done(id, s.see(ctx, id))
		}
	}
}

// see does what is due about one job.
func (s *hands) see(ctx context.Context, id job.ID) error {
	now := time.Now().UTC()
	if lane, ok := s.schedule.toVerify(id, now); ok {
		if placed, err := s.store.IsPlaced(ctx, lane, id); err != nil || placed {
			s.wakeRunning(id)
			return err
		}
	}
	r, err := s.store.Get(ctx, id)
	if errors.Is(err, records.ErrNoJob) {
		s.schedule.missed(id, now)
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case r.Lapse(now):
		if err := s.store.Put(ctx, r, now); err != nil {
			return records.UnlessConflict(err)
		}
		return s.store.Unqueue(ctx, r)
	case !r.State.Terminal() && !r.State.Waiting(), r.State == job.Queued:
		queued, err := s.store.IsPlaced(ctx, records.LaneNameOf(r), id)
		if err != nil || queued {
			return err
		}
		if n := s.troubles.Met("not in its queue", now); n > 0 {
			s.log.Warn("queueing jobs that are not in their queue", "job", id, "state", r.State, "jobs", n)
		}
		s.putBack(id)
		return s.store.Enqueue(ctx, r)
	case r.State.Waiting() && r.Ripe(now):
		// In this order a crash in between leaves a job that a worker can start; the other way round it would wait
		// for the check.
		if err := s.store.Enqueue(ctx, r); err != nil {
			return err
		}
		r.Queue(now)
		return records.UnlessConflict(s.store.Put(ctx, r, now))
	}
	return nil
}

// putBack notes that a job was missing in its queue.
func (s *hands) putBack(id job.ID) {
	if lane, _ := s.schedule.laneIn(id); lane != "" {
		s.gauge.found(lane)
	}
}

// wakeRunning has workers pull from the lane of a job that has been running for long: should its worker die, another one must
// be there to be given the job.
func (s *hands) wakeRunning(id job.ID) {
	name, runs := s.schedule.laneIn(id)
	if lane, ok := name.Lane(); ok && runs {
		s.reporter.wake(lane)
	}
}
