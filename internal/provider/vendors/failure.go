package vendors

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/splice"
)

const (
	// maxDetail bounds the error body that is passed on: it outlives the reply's own reservation of memory.
	maxDetail = 256 << 10
	// maxText bounds the text of a message, in bytes.
	maxText = 2000
)

// Failure is the error that a reply with a status of 400 or more stands for: the status and the vendor's own message are kept,
// as MLflow's gateway keeps them, and whether repeating helps is decided by the vendor's code rather than by the status. A
// refusal of the gateway's own credentials becomes 502 without the vendor's text, which quotes parts of the key: no caller
// can mend it.
func Failure(vendor *inference.Vendor, reply provider.Reply) error {
	body := reply.Body[:min(len(reply.Body), maxDetail)]
	if len(vendor.Key) > 0 {
		body = bytes.ReplaceAll(body, []byte(vendor.Key), []byte("[hidden]"))
	}
	said := read(reply, body)
	e := fault.New(fault.UpstreamError, "%s", said.sentence(reply))
	e.Status, e.RetryAfter = reply.Status, reply.RetryAfter
	e.Detail, e.Kind, e.Reason, e.Param = said.detail, said.kind, said.code, said.param
	e.Repeat = repeat(reply.Status, said.kind, said.code)
	if reply.Status == http.StatusUnauthorized || reply.Status == http.StatusForbidden {
		return refusedKey(reply, said)
	}
	return e
}

// refusedKey is the error of a key that is wrong or may not do what was asked.
func refusedKey(reply provider.Reply, said said) error {
	name := ""
	if code := said.code + said.kind; code != "" && len(code) <= 64 {
		name = " (" + strings.TrimPrefix(strings.TrimSuffix(said.kind+", "+said.code, ", "), ", ") + ")"
	}
	e := fault.New(fault.UpstreamError, "the vendor of the model refused the gateway's credentials with %d%s; the gateway's operator can mend this: "+
		"the key of the route, or what it may do", reply.Status, name)
	e.Status, e.Repeat = http.StatusBadGateway, fault.RepeatVain
	if reply.Status == http.StatusForbidden && said.text != "" {
		e.Err = errors.New(said.text) // for the log
	}
	return e
}

// said is what an error body says.
type said struct {
	text       string          // for a person
	detail     json.RawMessage // as MLflow's gateway passes it
	kind, code string
	param      string
}

func (s said) sentence(reply provider.Reply) string {
	if s.text == "" {
		return "the vendor of the model answered " + strconv.Itoa(reply.Status) + " " + reason(reply)
	}
	return s.text
}

// read takes an error body apart: OpenAI's and Anthropic's object, what other servers put in its place, or text.
func read(reply provider.Reply, body []byte) said {
	v, err := splice.Whole(body)
	if err != nil || !utf8.Valid(body) {
		return readText(reply, body)
	}
	raw := json.RawMessage(bytes.Clone(v.Raw))
	if v.NonFinite {
		raw = splice.Nulled(v.Raw)
	}
	top := splice.FieldsOf(raw)
	in := top.Get("error")
	s := said{detail: raw, text: shorten(top.Text("message"))}
	switch splice.KindOf(in) {
	case splice.Object:
		s = readError(reply, splice.FieldsOf(in))
	case splice.String:
		s.detail, s.text = json.RawMessage(in), shorten(splice.TextOf(in))
		s.kind = top.Text("error_type")
	case splice.Invalid, splice.Null, splice.Bool, splice.Number, splice.NonFinite, splice.Array:
		if v.Kind == splice.String {
			s.text = shorten(splice.TextOf(raw))
		}
		if v.Kind == splice.Null {
			s.detail = splice.Quote(reason(reply))
		}
	}
	return s
}

// readText reads an error body that is not JSON. Only plain text is for people: pages of proxies are not.
func readText(reply provider.Reply, body []byte) said {
	text := strings.TrimSpace(strings.ToValidUTF8(string(body), "\ufffd"))
	plain, object := strings.Contains(reply.ContentType, "text/plain"), strings.Contains(reply.ContentType, "json")
	if plain && text != "" {
		return said{text: shorten(text), detail: encoded(map[string]string{"message": shorten(text)})}
	}
	text = "the vendor of the model, or a proxy before it, answered " + strconv.Itoa(reply.Status) + " " + reason(reply)
	if plain || object {
		return said{text: text, detail: splice.Quote(text)}
	}
	return said{text: text, detail: splice.Quote(fault.From(unsupported(reply.ContentType)).Message)}
}

// readError takes the object apart that stands under `error`.
func readError(reply provider.Reply, e splice.Fields) said {
	s := said{kind: e.Text("type"), code: e.Text("code"), param: e.Text("param")}
	if code := e.Get("code"); splice.KindOf(code) == splice.Number {
		s.code = string(code) // vLLM's is the status
	}
	if code := splice.FieldsOf(e.Get("details")).Text("error_code"); code != "" { // Anthropic's
		s.code = code
	}
	message := e.Get("message")
	switch splice.KindOf(message) {
	case splice.String:
		s.detail, s.text = json.RawMessage(bytes.Clone(message)), shorten(splice.TextOf(message))
	case splice.Invalid:
		s.detail = splice.Quote(reason(reply))
	case splice.Null, splice.Bool, splice.Number, splice.NonFinite, splice.Array, splice.Object:
		s.detail = json.RawMessage(bytes.Clone(message))
	}
	return s
}

// repeat says whether a repeated call can help. A quota that is used up is money, not pace.
func repeat(status int, kind, code string) fault.Repeat {
	spent := []string{
		"insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded", "project_spend_limit_exceeded",
		"organization_usage_limit_exceeded", "billing_hard_limit_reached", "billing_error", "enforced_spend_limit_reached",
	}
	switch {
	case slices.Contains(spent, code), slices.Contains(spent, kind):
		return fault.RepeatVain
	case status == http.StatusRequestTimeout, status == http.StatusConflict, status == http.StatusTooManyRequests:
		return fault.RepeatHelps
	case status >= 500 && status != http.StatusNotImplemented:
		return fault.RepeatHelps
	}
	return fault.RepeatByStatus
}

// reason is the phrase of a status.
func reason(reply provider.Reply) string {
	if reply.Reason != "" {
		return reply.Reason
	}
	return http.StatusText(reply.Status)
}

func shorten(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "…"
}

func encoded(v any) json.RawMessage {
	text, err := json.Marshal(v)
	if err != nil {
		return nil // strings can always be encoded
	}
	return text
}
