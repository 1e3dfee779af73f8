package api

import (
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"headrace/api/problem"
	"headrace/internal/fault"
)

const headerRequestID = "X-Request-Id"

// middleware wraps the router from outside, so that replies to unknown paths go through it as well.
func (b *switchboard) middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		reply := &replyWriter{ResponseWriter: w, id: requestID(r)}
		w.Header().Set(headerRequestID, reply.id)
		if ambiguous(r) {
			w.Header().Set("Connection", "close")
		}
		defer b.finish(reply, r, began)
		next.ServeHTTP(reply, r)
	})
}

// finish logs the request, and turns a panic into an internal error.
func (b *switchboard) finish(w *replyWriter, r *http.Request, began time.Time) {
	if p := recover(); p != nil {
		if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(p) //nolint:forbidigo // the server's own way to cut a connection passes through
		}
		b.log.ErrorContext(r.Context(), "a handler panicked", "request_id", w.id, "panic", p, "stack", string(debug.Stack()))
		if w.status != 0 {
			panic(http.ErrAbortHandler) //nolint:forbidigo // a reply that broke off must not look whole
		}
		w.fail(r, fault.New(fault.Internal, "panic"))
	}
	if b.log.Enabled(r.Context(), slog.LevelDebug) {
		b.log.DebugContext(r.Context(), "request", "request_id", w.id, "method", r.Method, "path", r.URL.Path,
			"status", w.status, "duration_ms", time.Since(began).Milliseconds())
	}
}

// requestID is the caller's id when it is sane, else a new one.
func requestID(r *http.Request) string {
	if id := r.Header.Get(headerRequestID); problem.Sane(id) {
		return id
	}
	return rand.Text()
}
