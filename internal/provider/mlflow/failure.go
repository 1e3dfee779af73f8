package mlflow

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"unicode/utf8"

	"headrace/internal/fault"
	"headrace/internal/provider"
	"headrace/internal/splice"
)

// maxDetail bounds the error body that is passed on: it outlives the reply's own reservation of memory.
const maxDetail = 256 << 10

// timeLimit is the body of the scoring server's 504, which calls itself JSON and is not.
const timeLimit = "Request processing time exceeded limit"

// failure turns a 4xx or 5xx into an error with MLflow's detail: the message of an `error` object, else the
// whole JSON value, and of plain text an object with the text as its message.
func failure(reply provider.Reply, m media) error {
	if m == mediaText {
		text := textOf(reply)
		return upstreamError(reply, message(text), shorten(strings.TrimSpace(text)))
	}
	v, err := splice.Whole(reply.Body)
	if err != nil || !utf8.Valid(reply.Body) {
		return brokenFailure(reply)
	}
	if len(v.Raw) > maxDetail {
		return upstreamError(reply, message("the model server's error body is too long to pass on"), "an error body that is too long to pass on")
	}
	detail, text := judge(reply, v)
	return judged(upstreamError(reply, detail, text), reply)
}

// judge finds the detail of an error body, and the sentence for a person in it.
func judge(reply provider.Reply, v splice.Value) (json.RawMessage, string) {
	switch v.Kind {
	case splice.Object:
		return judgeObject(reply, v)
	case splice.String:
		return raw(v), sentence(v)
	case splice.Null:
		return quoted(reason(reply)), ""
	case splice.Invalid, splice.Bool, splice.Number, splice.NonFinite, splice.Array:
	}
	return raw(v), ""
}

func judgeObject(reply provider.Reply, v splice.Value) (json.RawMessage, string) {
	_, values := members(v.Raw)
	e, ok := values["error"]
	if !ok {
		return raw(v), sentence(values["message"])
	}
	if e.Kind == splice.String { // MLServer's form
		return raw(e), sentence(e)
	}
	if e.Kind != splice.Object {
		return raw(v), sentence(values["message"])
	}
	m, ok := member(e.Raw, "message")
	switch {
	case !ok:
		return quoted(reply.Reason), ""
	case m.Kind == splice.Null: // MLflow says nothing then, and its framework puts in the usual phrase
		return quoted(http.StatusText(reply.Status)), ""
	}
	return raw(m), sentence(m)
}

// brokenFailure judges a 4xx or 5xx whose body is announced as JSON and is not.
func brokenFailure(reply provider.Reply) error {
	if reply.Status == http.StatusGatewayTimeout && string(bytes.TrimSpace(reply.Body)) == timeLimit {
		return fault.New(fault.UpstreamTimeout, "the model server gave up: %s; its limit is the option --timeout of `mlflow models serve` "+
			"or MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT, 60 seconds by default", timeLimit)
	}
	text := textOf(reply)
	if strings.TrimSpace(text) == "" {
		text = reason(reply)
	}
	return upstreamError(reply, message(text), shorten(text))
}

func upstreamError(reply provider.Reply, detail json.RawMessage, text string) *fault.Error {
	if text != "" {
		text = ": " + text
	}
	err := fault.New(fault.UpstreamError, "the model server answered %s%s", status(reply), text)
	err.Status = reply.Status
	err.Detail = detail
	err.RetryAfter = reply.RetryAfter
	return err
}

// raw is a copy of v's text, legal JSON.
func raw(v splice.Value) json.RawMessage {
	text := v.Raw
	if v.NonFinite {
		text = splice.Nulled(text)
	}
	return bytes.Clone(text)
}

// sentence is the text of a string value, shortened to what a message can hold; "" for other values.
func sentence(v splice.Value) string {
	if v.Kind != splice.String {
		return ""
	}
	text, err := splice.Unquote(v.Raw)
	if err != nil {
		return ""
	}
	return shorten(text)
}

func shorten(text string) string {
	const most = 1000
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// textOf is the body as text.
func textOf(reply provider.Reply) string {
	return strings.ToValidUTF8(string(reply.Body[:min(len(reply.Body), maxDetail)]), "\ufffd")
}

// message is the object that MLflow makes of plain text.
func message(text string) json.RawMessage { return encoded(map[string]string{"message": text}) }
