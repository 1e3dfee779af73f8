package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"headrace/api/dialect"
	"headrace/internal/fault"
)

// A voice is the form of error bodies. The path decides it.
type voice int

const (
	mlflowVoice   voice = iota // {"detail": …}
	openAIVoice                // {"error": {…}}
	headraceVoice              // RFC 9457, application/problem+json
)

// voiceOf tells the voice of a path, known or not.
func voiceOf(path string) voice {
	switch {
	case slices.ContainsFunc([]string{"/v1/routes", "/v1/jobs", "/v1/queues", "/v1/dead", "/v1/limits"}, func(base string) bool {
		return path == base || strings.HasPrefix(path, base+"/")
	}):
		return headraceVoice
	case path == "/v1" || strings.HasPrefix(path, "/v1/"):
		return openAIVoice
	}
	return mlflowVoice
}

// meaning is what a code says over HTTP.
type meaning struct {
	status int
	// again: the same call may succeed later.
	again bool
	// vain: repeating cannot help; OpenAI's SDKs, which repeat every 5xx, are told so.
	vain bool
}

// meaningOf is the one table from codes to HTTP.
func meaningOf(e *fault.Error) meaning {
	switch e.Code {
	case fault.Invalid:
		return meaning{status: http.StatusBadRequest, vain: true}
	case fault.NotFound:
		return meaning{status: http.StatusNotFound, vain: true}
	case fault.MethodNotAllowed:
		return meaning{status: http.StatusMethodNotAllowed, vain: true}
	case fault.TooLarge:
		return meaning{status: http.StatusRequestEntityTooLarge, vain: true}
	case fault.RateLimited:
		return meaning{status: http.StatusTooManyRequests, again: true}
	case fault.QueueFull:
		return meaning{status: http.StatusServiceUnavailable, again: true}
	case fault.NoWorkers, fault.UpstreamUnavailable:
		return meaning{status: http.StatusServiceUnavailable, again: true}
	case fault.UpstreamTimeout, fault.Deadline:
		return meaning{status: http.StatusGatewayTimeout, again: true}
	case fault.UpstreamError:
		return upstreamMeaning(e.Status)
	case fault.UpstreamBadResponse:
		return meaning{status: http.StatusBadGateway, vain: true}
	case fault.NotImplemented:
		return meaning{status: http.StatusNotImplemented, vain: true}
	case fault.Conflict:
		return meaning{status: http.StatusConflict, vain: true}
	case fault.KeyReused:
		return meaning{status: http.StatusUnprocessableEntity, vain: true}
	case fault.Gone:
		return meaning{status: http.StatusGone, vain: true}
	case fault.JobFailed:
		return meaning{status: http.StatusFailedDependency, vain: true}
	case fault.ShuttingDown:
		return meaning{status: http.StatusServiceUnavailable, again: true}
	case fault.Internal:
	}
	return meaning{status: http.StatusInternalServerError}
}

func upstreamMeaning(status int) meaning {
	if status < 400 || status > 599 {
		return meaning{status: http.StatusBadGateway}
	}
	return meaning{
		status: status,
		again:  status == http.StatusTooManyRequests || status >= 500 && status != http.StatusNotImplemented,
		vain:   status == http.StatusNotImplemented,
	}
}

// said is a meaning as a voice says it.
func (m meaning) said(v voice, e *fault.Error) meaning {
	if errors.Is(e, errCoding) {
		m.status = http.StatusUnsupportedMediaType
		return m
	}
	switch v {
	case mlflowVoice:
		if e.Code == fault.Invalid && m.status == http.StatusBadRequest && !errors.Is(e, dialect.ErrUnreadable) {
			m.status = http.StatusUnprocessableEntity
		}
	case openAIVoice:
		return m.saidToOpenAI(e)
	case headraceVoice:
		if refusesUs(e) && m.status != http.StatusNotFound && m.status != http.StatusMethodNotAllowed {
			m.status = http.StatusBadGateway // 401 would be about the caller's own key
		}
	}
	return m
}

// saidToOpenAI keeps 5xx for what may be better the next time: many libraries around OpenAI's SDKs repeat every 5xx for
// minutes, whatever x-should-retry says. And 401, 403 and 404 are about the caller's key and model; those of a model
// server are its operator's to mend.
func (m meaning) saidToOpenAI(e *fault.Error) meaning {
	switch {
	case e.Raised: // the servers of MLflow say 400, which is about the caller; to ask again runs the model again
		m.status, m.vain = http.StatusInternalServerError, true
	case e.Code == fault.NotImplemented:
		m.status = http.StatusBadRequest
	case refusesUs(e):
		m.status, m.vain = http.StatusUnprocessableEntity, true
	case m.vain && m.status >= 500:
		m.status = http.StatusUnprocessableEntity
	}
	return m
}

// refusesUs tells a model server that does not take Headrace's address or credentials.
func refusesUs(e *fault.Error) bool {
	return e.Code == fault.UpstreamError && slices.Contains([]int{
		http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired,
	}, e.Status)
}

// problem writes the reply to a failed request.
func problem(w *replyWriter, r *http.Request, e *fault.Error) {
	v := voiceOf(r.URL.Path)
	m := meaningOf(e).said(v, e)
	message := e.Message
	switch {
	case e.Code == fault.Internal:
		message = internalMessage(w.id)
	case refusesUs(e):
		message += ". The gateway's operator can mend this: model_server_url and headers of the route"
	}
	header := w.Header()
	contentType := "application/json"
	var body any
	switch v {
	case mlflowVoice:
		body = mlflowBody(e, message)
	case openAIVoice:
		if m.vain {
			header.Set("X-Should-Retry", "false")
		}
		body = openAIBody(e, m, message)
	case headraceVoice:
		contentType = "application/problem+json"
		body = headraceBody(e, m, message, w.id)
	}
	if wait := pause(e, m, retriesOf(r.Header), rand.Float64()); wait > 0 {
		header.Set("Retry-After", wholeSeconds(wait))
	}
	writeJSON(w, m.status, contentType, body)
}

// internalMessage is what callers hear of an error that is our fault.
func internalMessage(id string) string {
	return "Internal error. The operator finds its cause in the log under the request id " + id + "."
}

// writeJSON writes v without the escapes meant for HTML pages.
func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		// Only a Detail or an Issue that is not JSON can do this; the status still says what happened.
		b.Reset()
		b.WriteString(`{"detail":"the error could not be written"}`)
	}
	writeBytes(w, status, contentType, bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

func writeBytes(w http.ResponseWriter, status int, contentType string, body []byte) {
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // when the caller has gone, there is no one to tell
}

// issueBody is one entry of MLflow's list, in its order of members.
type issueBody struct {
	Type  string          `json:"type"`
	Loc   []any           `json:"loc"`
	Msg   string          `json:"msg"`
	Input json.RawMessage `json:"input,omitempty"`
	Ctx   map[string]any  `json:"ctx,omitempty"`
}

func issueBodies(issues []fault.Issue) []issueBody {
	bodies := make([]issueBody, 0, len(issues))
	for _, i := range issues {
		bodies = append(bodies, issueBody{
			Type: i.Type, Loc: append([]any{"body"}, i.Loc...), Msg: i.Msg, Input: i.In, Ctx: i.Ctx,
		})
	}
	return bodies
}

func mlflowBody(e *fault.Error, message string) any {
	type detail struct {
		Detail any `json:"detail"`
	}
	switch {
	case e.Code == fault.RateLimited:
		return struct {
			Error string `json:"error"`
		}{message}
	case e.Code == fault.Internal:
		return detail{message}
	case e.Code == fault.Invalid && len(e.Issues) > 0:
		return detail{issueBodies(e.Issues)}
	case e.Detail != nil:
		return detail{e.Detail}
	}
	return detail{message}
}

type openAIError struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

func openAIBody(e *fault.Error, m meaning, message string) any {
	body := openAIError{Message: message, Type: "server_error", Code: new(string(e.Code))}
	switch {
	case m.status == http.StatusTooManyRequests:
		body.Type = "rate_limit_error"
	case m.status < 500 && !refusesUs(e) && e.Code != fault.UpstreamBadResponse:
		body.Type = "invalid_request_error"
	}
	if e.Param != "" {
		body.Param = new(e.Param)
	}
	if e.Code == fault.NotFound && e.Param == "model" {
		body.Code = new("model_not_found")
	}
	return struct {
		Error openAIError `json:"error"`
	}{body}
}

func headraceBody(e *fault.Error, m meaning, message, id string) any {
	return struct {
		Type      string      `json:"type"`
		Title     string      `json:"title"`
		Status    int         `json:"status"`
		Detail    string      `json:"detail"`
		Code      fault.Code  `json:"code"`
		Retryable bool        `json:"retryable"`
		Param     string      `json:"param,omitempty"` // field, parameter or header that the error is about
		RequestID string      `json:"request_id"`
		Errors    []issueBody `json:"errors,omitempty"`
	}{
		Type: "about:blank", Title: http.StatusText(m.status), Status: m.status, Detail: message,
		Code: e.Code, Retryable: m.again, Param: e.Param, RequestID: id, Errors: issueBodies(e.Issues),
	}
}
