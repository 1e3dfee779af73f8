package problem

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"

	"headrace/internal/fault"
)

// Caller is what a reply to a failed request has to know of it.
type Caller struct {
	RequestID string
	Retries   int     // how often the caller says that it has repeated the request
	Dice      float64 // from 0 to 1: which of the pauses that would do is asked for, so that callers do not return together
}

// Reply is the whole reply to a failed request.
type Reply struct {
	Status      int
	ContentType string
	RetryAfter  time.Duration // 0 = the header is left out
	Vain        bool          // X-Should-Retry: false, which only OpenAI's SDKs read
	Body        []byte
}

// Of gives the reply to a request that failed of e, in a voice. The text of an error without a code stays inside: its body names
// the request id, under which the log has the cause.
func Of(v Voice, e *fault.Error, c Caller) Reply {
	m, body := Body(v, e, c.RequestID)
	r := Reply{Status: m.Status, ContentType: "application/json", Vain: v == OpenAI && m.Vain, Body: Encode(body)}
	if v == Headrace {
		r.ContentType = "application/problem+json"
	}
	r.RetryAfter = pause(e, m, c.Retries, c.Dice)
	return r
}

// Body gives the body of an error in a voice, as a value to encode, and what it means; for errors inside another reply.
func Body(v Voice, e *fault.Error, requestID string) (Meaning, any) {
	m := MeaningOf(v, e)
	message := e.Message
	switch {
	case e.Code == fault.Internal:
		message = "Internal error. The operator finds its cause in the log under the request id " + requestID + "."
	case refusesUs(e):
		message += ". The gateway's operator can mend this: the address, the model and the credentials of the route"
	}
	switch v {
	case MLflow:
		return m, mlflowBody(e, message)
	case OpenAI:
		return m, openAIBody(e, m, message)
	case Headrace:
	}
	return m, headraceBody(e, m, message, requestID)
}

// Encode gives a value as JSON, without the escapes meant for HTML pages.
func Encode(v any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		// Only a Detail or an Issue that is not JSON can do this; the status still says what happened.
		return []byte(`{"detail":"the error could not be written"}`)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// WholeSeconds is a duration as Retry-After has it: rounded up, and at least one second.
func WholeSeconds(d time.Duration) string {
	return strconv.FormatInt(int64(max(1, math.Ceil(d.Seconds()))), 10)
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

func openAIBody(e *fault.Error, m Meaning, message string) any {
	body := openAIError{Message: message, Type: "server_error", Code: new(string(e.Code))}
	switch {
	case m.Status == http.StatusTooManyRequests:
		body.Type = "rate_limit_error"
	case m.Status < 500 && !refusesUs(e) && e.Code != fault.UpstreamBadResponse:
		body.Type = "invalid_request_error"
	}
	if e.Param != "" {
		body.Param = new(e.Param)
	}
	if e.Code == fault.NotFound && e.Param == "model" {
		body.Code = new("model_not_found")
	}
	if e.Code == fault.UpstreamError && e.Kind != "" {
		body.Type, body.Code = e.Kind, nil
		if e.Reason != "" {
			body.Code = new(e.Reason)
		}
	}
	return struct {
		Error openAIError `json:"error"`
	}{body}
}

func headraceBody(e *fault.Error, m Meaning, message, id string) any {
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
		Type: "about:blank", Title: http.StatusText(m.Status), Status: m.Status, Detail: message,
		Code: e.Code, Retryable: m.Again, Param: e.Param, RequestID: id, Errors: issueBodies(e.Issues),
	}
}
