package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"headrace/broker/link"
	"headrace/internal/fault"
)

// door is the way to the broker: what is behind it, and whether jobs can be accepted. All parts of a Desk share it.
type door struct {
	broker // set before ready is closed

	log   *slog.Logger
	disk  disk          // of an embedded server; nil: it is elsewhere
	ready chan struct{} // closed when the broker was reached
	gate  link.Gate
}

// disk is the disk of an embedded server.
type disk interface {
	// DiskFull returns why nothing can be written; nil while there is room.
	DiskFull() error
}

func (j *door) await(ctx context.Context) error {
	select {
	case <-j.ready:
		return nil
	case <-time.After(link.PresenceWait):
		f := fault.New(fault.NoWorkers, "the broker cannot be reached; try again")
		f.RetryAfter = time.Second
		return f
	case <-ctx.Done():
		return link.EndOf(ctx, fault.Deadline)
	}
}

// reach looks the streams of jobs up until all of them exist and the disk has room, or ctx ends. After that the sweeper
// reports what happens, which does not concern calls.
func (j *door) reach(ctx context.Context) {
	for {
		err := j.reachOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		late := j.gate.Shut() != nil
		news := j.gate.Set(err)
		switch {
		case err == nil && late:
			j.log.Info("jobs are accepted now")
			return
		case err == nil:
			return
		case news && j.conn.Connected():
			j.log.Error("no job can be accepted", "reason", err)
		}
		link.PauseFor(ctx, followAgain)
	}
}

func (j *door) reachOnce(ctx context.Context) error {
	if err := j.store.OpenStreams(ctx); err != nil {
		return err
	}
	if j.disk != nil {
		return j.disk.DiskFull()
	}
	return nil
}

// refusal is the caller's error while no job can be accepted for a known reason; nil when there is none.
func (j *door) refusal() *fault.Error {
	reason := j.gate.Shut()
	full := j.disk != nil && j.disk.DiskFull() != nil
	if reason == nil || !full && !errors.Is(reason, link.ErrRefused) {
		return nil // a broker that was slow or away may do it now
	}
	f := fault.Wrap(fault.QueueFull, reason, "no job can be accepted: %v", reason)
	f.RetryAfter = 10 * time.Second
	return f
}

// Ready returns nil while the jobs' store is connected and jobs are accepted, or were accepted before; otherwise the reason.
func (j *door) Ready() error {
	select {
	case <-j.ready:
	default:
		return errors.New("the broker was not reached yet")
	}
	if !j.conn.Connected() {
		return errors.New("the connection to the broker is lost")
	}
	if open, reason := j.gate.Opened(); !open {
		if reason == nil {
			return errors.New("the streams of jobs are being opened")
		}
		return fmt.Errorf("no job can be accepted: %w", reason)
	}
	return nil
}
