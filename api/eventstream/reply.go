// Package eventstream writes a reply that is a stream of server-sent events: its headers, and each write with a time of its own.
package eventstream

import (
	"context"
	"io"
	"net/http"
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/sse"
)

// Header says how a stream was made.
const Header = "Headrace-Stream"

// The values of Header.
const (
	Whole  = "whole"  // of an answer that came at once
	Pieces = "pieces" // as they came from the model server
)

// Reply is one reply. It is used by one goroutine.
type Reply struct {
	How string // of Header; to be set before the reply begins

	w        http.ResponseWriter
	control  *http.ResponseController
	patience time.Duration
	begun    bool
	// Quiet leaves comments out between pieces, for clients that fail at every line that is no data.
	Quiet bool
}

// New makes a reply to w, whose connection is conn's. The caller has patience for each write; one that takes longer fails.
func New(w, conn http.ResponseWriter, patience time.Duration) *Reply {
	return &Reply{How: Whole, w: w, control: http.NewResponseController(conn), patience: patience}
}

// Begun says whether the status and the headers are written.
func (r *Reply) Begun() bool { return r.begun }

// begin writes the status and the headers, once, and gives the caller time to take what comes next.
func (r *Reply) begin() {
	if !r.begun {
		r.begun = true
		header := r.w.Header()
		header.Set("Content-Type", sse.ContentType)
		header.Set("Cache-Control", "no-cache")
		header.Set("X-Accel-Buffering", "no") // proxies would hold it back
		header.Set(Header, r.How)
		r.w.WriteHeader(http.StatusOK)
	}
	_ = r.control.SetWriteDeadline(time.Now().Add(r.patience)) // recorders of tests have no deadlines; connections do
}

// Send writes bytes and sends them at once. An error means that the caller has gone.
func (r *Reply) Send(bytes []byte) error {
	r.begin()
	if _, err := r.w.Write(bytes); err != nil {
		return err
	}
	return r.control.Flush()
}

// Write is Send for what was written to out, which is empty afterwards.
func (r *Reply) Write(out interface {
	io.WriterTo
	Reset()
},
) error {
	defer out.Reset()
	r.begin()
	if _, err := out.WriteTo(r.w); err != nil {
		return err
	}
	return r.control.Flush()
}

// Next waits for the next piece of an answer. Comments fill a silence, one each beat.
func (r *Reply) Next(ctx context.Context, pieces inference.Stream, beat time.Duration) (*inference.Event, error) {
	for {
		waiting, cancel := context.WithTimeout(ctx, beat)
		piece, err := pieces.Next(waiting)
		silent := err != nil && waiting.Err() != nil && ctx.Err() == nil
		cancel()
		if !silent {
			return piece, err
		}
		if r.Quiet {
			continue
		}
		if err := r.Send(sse.AppendComment(nil, "waiting")); err != nil {
			return nil, fault.Wrap(fault.Deadline, err, "the caller has gone")
		}
	}
}
