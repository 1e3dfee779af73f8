package api

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"headrace/api/dialect"
	"headrace/api/problem"
	"headrace/internal/fault"
)

// headerRetries is how often OpenAI's SDKs say that they have repeated a call.
const headerRetries = "X-Stainless-Retry-Count"

// replyWriter is the ResponseWriter of one request. It knows the request's id and what was written.
type replyWriter struct {
	http.ResponseWriter

	id     string
	status int   // 0: nothing was written yet
	sent   int64 // bytes of the body
}

// WriteHeader gives the caller a bounded time to take the reply, from here on.
func (w *replyWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
		// Test recorders have no deadlines; connections do.
		_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(writePatience))
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write is WriteHeader(200) when nothing was written before.
func (w *replyWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	n, err := w.ResponseWriter.Write(p)
	w.sent += int64(n)
	return n, err //nolint:wrapcheck // it stands for the writer that it wraps
}

// Unwrap lets http.ResponseController reach the connection.
func (w *replyWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// fail writes the reply to a failed request, in the voice of its path.
func (w *replyWriter) fail(r *http.Request, e *fault.Error) {
	reply := problem.Of(problem.VoiceOf(r.URL.Path), e, problem.Caller{
		RequestID: w.id, Retries: problem.Retries(r.Header.Get(headerRetries)), Dice: rand.Float64(),
	})
	header := w.Header()
	if reply.Vain {
		header.Set("X-Should-Retry", "false")
	}
	if reply.RetryAfter > 0 {
		header.Set("Retry-After", problem.WholeSeconds(reply.RetryAfter))
	}
	writeBytes(w, reply.Status, reply.ContentType, reply.Body)
}

// writeJSON writes v without the escapes meant for HTML pages.
func writeJSON(w http.ResponseWriter, status int, v any) {
	writeBytes(w, status, "application/json", problem.Encode(v))
}

func writeBytes(w http.ResponseWriter, status int, contentType string, body []byte) {
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) //nolint:gosec // never HTML of a caller's; an error means that the caller has gone
}

func writeOutput(w http.ResponseWriter, out *dialect.Output) error {
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(out.Len()))
	w.WriteHeader(http.StatusOK)
	_, _ = out.WriteTo(w) // an error means that the caller has gone
	return nil
}
