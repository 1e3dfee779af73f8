package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"headrace/internal/job"
)

// heartbeat is how often a stream of events says that it lives, so that proxies do not cut it.
const heartbeat = 15 * time.Second

// jobEvents answers GET /v1/jobs/{id}/events: a snapshot, then one event for every change, and the stream ends with
// the job. An event's id is the record's revision. A caller who resumes with Last-Event-ID gets a snapshot when the
// job has changed since; no other history is kept.
func (j *jobReader) jobEvents(w *replyWriter, r *http.Request, name string) error {
	rec, err := j.known(r.Context(), name)
	if err != nil {
		return err
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // test recorders have none
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	stream := &eventStream{desk: j.jobDesk, w: w, control: control}
	first := func() error { return stream.send("snapshot", rec) }
	if `"`+r.Header.Get("Last-Event-ID")+`"` == etag(rec) {
		first = stream.comment
	}
	if first() == nil { // else the caller has gone
		stream.follow(r.Context(), rec)
	}
	return nil
}

// eventStream writes events to one caller, who may be slow: each write has the time that a reply has.
type eventStream struct {
	desk    *jobDesk
	w       *replyWriter
	control *http.ResponseController
}

// follow sends what happens to a job until it has ended, the caller leaves or this front end drains.
func (e *eventStream) follow(ctx context.Context, rec *job.Record) {
	for !rec.State.Terminal() {
		seen := rec.Revision
		waiting, cancel := e.desk.patient(ctx, heartbeat)
		next, err := e.desk.jobs.Wait(waiting, rec.ID, func(rec *job.Record) bool { return rec.Revision != seen })
		cancel()
		switch {
		case err != nil || ctx.Err() != nil || e.desk.gate.isShut():
			return // the follower reconnects with Last-Event-ID
		case next.Revision == seen:
			err = e.comment()
		default:
			rec = next
			err = e.send("status", rec)
		}
		if err != nil {
			return
		}
	}
	_ = e.send("done", rec) // an error means that the caller has gone
}

func (e *eventStream) send(kind string, rec *job.Record) error {
	data, err := json.Marshal(e.desk.viewJob(rec))
	if err != nil {
		return fmt.Errorf("writing an event: %w", err)
	}
	return e.write(fmt.Appendf(nil, "id: %d\nevent: %s\ndata: %s\n\n", rec.Revision, kind, data))
}

func (e *eventStream) comment() error { return e.write([]byte(": alive\n\n")) }

func (e *eventStream) write(text []byte) error {
	_ = e.control.SetWriteDeadline(time.Now().Add(writePatience)) // test recorders have none
	if _, err := e.w.Write(text); err != nil {
		return err
	}
	return e.control.Flush()
}
