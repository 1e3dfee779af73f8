package mlflow

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/splice"
)

// The rules that predictions break, in the words of pydantic, which MLflow's clients match on.
const (
	notAList   = "Input should be a valid list"
	notAString = "Input should be a valid string"
	notANumber = "Input should be a valid number"
	emptyList  = "Value error, The input list is empty"
)

// shape is what one kind of route accepts, by the class that MLflow's text names.
type shape string

const (
	textShape shape = "ServingTextResponse"
	rowShape  shape = "EmbeddingsResponse"
)

func (s shape) accepted() string {
	if s == rowShape {
		return "an embeddings route accepts a list of rows of numbers, or one flat list of floats"
	}
	return "a completions or chat route accepts a non-empty list of strings, " +
		"or an object whose only key, or whose key choices or candidates, holds one"
}

// complaint is one thing wrong with predictions.
type complaint struct {
	at   string // where, below predictions: "", ".0", ".0.1"
	rule string // which rule it breaks
	came string // what stands there, in our words
}

func (s shape) wrong(c complaint, reply provider.Reply) error {
	return s.wrongs([]complaint{c}, reply)
}

// wrongs makes one error out of complaints, of which there is at least one. MLflow's text goes into Detail:
// its count, its class, the first place and rule; then what came and what is accepted.
func (s shape) wrongs(cs []complaint, reply provider.Reply) error {
	first := cs[0]
	explained := first.came + "; " + s.accepted()
	if strings.HasSuffix(first.came, "an object") {
		explained += `; if the answer stands in a member of each object, name that member in the route's output.field`
	}
	if reply.Status >= 300 {
		explained += "; the server answered " + status(reply) + ", and redirects are not followed"
	}
	plural := "s"
	if len(cs) == 1 {
		plural = ""
	}
	detail := fmt.Sprintf("%d validation error%s for %s\npredictions%s\n  %s. The model server's reply does not fit: %s",
		len(cs), plural, s, first.at, first.rule, explained)
	err := fault.New(fault.UpstreamBadResponse, "the model server's reply does not fit the route: %s", explained)
	err.Detail = quoted(detail)
	return err
}

// dotted spells indexes as MLflow does, name as we do.
func dotted(indexes ...int) string {
	var b strings.Builder
	for _, i := range indexes {
		b.WriteByte('.')
		b.WriteString(strconv.Itoa(i))
	}
	return b.String()
}

func name(indexes ...int) string {
	var b strings.Builder
	b.WriteString("predictions")
	for _, i := range indexes {
		b.WriteString("[" + strconv.Itoa(i) + "]")
	}
	return b.String()
}

// textInsteadOfJSON is MLflow's verdict on text/plain: an object without predictions.
func textInsteadOfJSON(req *inference.Request, reply provider.Reply) error {
	came := "the model server answered plain text: " + excerpt(reply.Body)
	switch req.Type {
	case inference.Completions, inference.Chat:
		return textShape.wrong(complaint{rule: "Field required", came: came}, reply)
	case inference.Embeddings:
		return rowShape.wrong(complaint{rule: "Field required", came: came}, reply)
	case inference.Raw:
	}
	return fault.New(fault.UpstreamBadResponse, "%s; a model server's answer must be JSON", came)
}

func unsupportedMedia(reply provider.Reply) error {
	received := reply.ContentType
	if received == "" {
		received = "None"
	}
	err := fault.New(fault.UpstreamBadResponse,
		"the model server answered %s with content type %s instead of application/json: %s; is model_server_url an MLflow model server?",
		status(reply), received, excerpt(reply.Body))
	if passing(reply.Status) {
		// A proxy's page while the model server restarts: MLflow's status, but no matter of shape.
		err = fault.New(fault.UpstreamError,
			"the model server, or a proxy in front of it, answered %s with content type %s: %s; it may be overloaded or restarting, try again",
			status(reply), received, excerpt(reply.Body))
		err.Status = http.StatusBadGateway
		err.RetryAfter = reply.RetryAfter
	}
	err.Detail = quoted("The returned data type from the route service is not supported. Received content type: " + received)
	return err
}

// passing tells the statuses that a server answers with for a while only.
func passing(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

func notJSON(reply provider.Reply, why string) error {
	if len(reply.Body) == 0 {
		return fault.New(fault.UpstreamBadResponse, "the model server answered %s with an empty body where JSON was announced", status(reply))
	}
	return fault.New(fault.UpstreamBadResponse, "the model server answered %s with a body that is not JSON, %s: %s", status(reply), why, excerpt(reply.Body))
}

func nonFinite(row int) error {
	where := "the model server's reply"
	if row >= 0 {
		where = fmt.Sprintf("row %d of the model server's predictions (counted from 0)", row)
	}
	return fault.New(fault.UpstreamBadResponse,
		`%s holds NaN, Infinity or a number beyond float64, and the route says nan = "error"; without that it would become null`, where)
}

// status is "404 Not Found", or the number alone when there is no phrase for it.
func status(reply provider.Reply) string {
	return strings.TrimSpace(strconv.Itoa(reply.Status) + " " + reason(reply))
}

// reason is the reply's own phrase, else the usual one.
func reason(reply provider.Reply) string {
	if reply.Reason != "" {
		return reply.Reason
	}
	return http.StatusText(reply.Status)
}

// excerpt quotes the beginning of a body for a message.
func excerpt(body []byte) string {
	const most = 120
	text := strings.ToValidUTF8(string(body[:min(len(body), most)]), "\ufffd")
	if len(body) > most {
		return strconv.Quote(text) + "…"
	}
	return strconv.Quote(text)
}

// quoted is text as a JSON string.
func quoted(text string) json.RawMessage { return splice.Quote(text) }

// encoded is v as JSON without the escapes meant for HTML pages; nil for what cannot be encoded.
func encoded(v any) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil
	}
	return bytes.TrimSpace(b.Bytes())
}
