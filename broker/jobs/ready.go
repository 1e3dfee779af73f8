package jobs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/fault"
)

// reach looks the streams of jobs up until all of them exist and the disk has room, or ctx ends. After that the sweeper
// reports what happens, which does not concern calls.
func (j *Desk) reach(ctx context.Context) {
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
		case news && j.store.Link.NC.IsConnected():
			j.log.Error("no job can be accepted", "reason", err)
		}
		link.PauseFor(ctx, followAgain)
	}
}

func (j *Desk) reachOnce(ctx context.Context) error {
	for shard := range records.Shards {
		for _, kind := range []string{records.RecordStream, records.DataStream} {
			if _, err := j.store.Stream(ctx, kind+strconv.Itoa(shard)); err != nil {
				return err
			}
		}
	}
	if server := j.dial.Server; server != nil {
		return server.DiskFull()
	}
	return nil
}

// refusal is the caller's error while no job can be accepted for a known reason; nil when there is none.
func (j *Desk) refusal() *fault.Error {
	reason := j.gate.Shut()
	full := j.dial.Server != nil && j.dial.Server.DiskFull() != nil
	if reason == nil || !full && !errors.Is(reason, link.ErrRefused) {
		return nil // a broker that was slow or away may do it now
	}
	f := fault.Wrap(fault.QueueFull, reason, "no job can be accepted: %v", reason)
	f.RetryAfter = 10 * time.Second
	return f
}

// Ready returns nil while the jobs' store is connected and jobs are accepted, or were accepted before; otherwise the reason.
func (j *Desk) Ready() error {
	select {
	case <-j.ready:
	default:
		return errors.New("the broker was not reached yet")
	}
	if !j.store.Link.NC.IsConnected() {
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
