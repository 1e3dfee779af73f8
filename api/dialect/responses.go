package dialect

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"time"

	"headrace/api/schema"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/splice"
)

// responsesDialect is OpenAI's form of POST /v1/responses. It asks chat routes: the call goes as it is to models that take
// it, and as a conversation to others, which is the provider's to write. Nothing is stored: what would need that is
// refused with the reason.
type responsesDialect struct {
	object *schema.Object
	chat   *openAIDialect
}

func newResponsesDialect(chat *openAIDialect) *responsesDialect {
	positive := schema.Int(1, math.MaxInt64)
	return &responsesDialect{chat: chat, object: &schema.Object{Open: true, Fields: []schema.Field{
		required("input", schema.Union(
			schema.Branch{Name: "str", Rule: schema.String},
			schema.Branch{Name: "list", Rule: schema.List(anyObject(), 0)},
		)),
		optional("model", schema.String),
		optional("instructions", schema.String),
		optional("stream", schema.Bool),
		optional("background", schema.Bool),
		optional("store", schema.Bool),
		optional("previous_response_id", schema.String),
		optional("max_output_tokens", positive),
		optional("temperature", schema.Float(0, 2)),
		optional("top_p", schema.Float(0, 1)),
		optional("metadata", schema.Dict),
	}}}
}

// anyObject accepts an object and keeps its bytes.
func anyObject() schema.Rule {
	return func(c *schema.Check, raw []byte) []byte {
		if schema.Dict(c, raw) == nil {
			return nil
		}
		return raw
	}
}

// Read checks a body.
func (d *responsesDialect) Read(route *inference.Route, body Body) (*Asked, error) {
	if route.Type != inference.Chat {
		return nil, unknownType(route)
	}
	fields, err := check(d.object, body)
	if err != nil {
		return nil, err
	}
	if err := d.unstored(fields); err != nil {
		return nil, err
	}
	input := declared(d.object, fields, "input")
	if splice.KindOf(input) == splice.Array && emptyList(input) {
		return nil, invalid([]fault.Issue{{Loc: []any{"input"}, Type: "too_short", Msg: "there is nothing in the list", In: input}})
	}
	a := &Asked{Route: route, created: time.Now(), Request: &inference.Request{Route: route.Name, Type: route.Type}}
	a.Stream = string(declared(d.object, fields, "stream")) == "true"
	if string(declared(d.object, fields, "store")) == "true" {
		a.Dropped = append(a.Dropped, "store")
	}
	if route.Format == inference.FormatInputs {
		lost, err := judgeResponses(fields.Extra)
		if err != nil {
			return nil, err
		}
		a.Dropped = append(a.Dropped, lost...)
	} else {
		a.Request.Body = d.object.Append(nil, fields, "model", "stream", "background", "store", "previous_response_id")
	}
	if route.Native() {
		return a, nil
	}
	a.Request.Params = textParams(d.object, fields)
	prompt, err := d.prompt(route, input, declared(d.object, fields, "instructions"))
	switch {
	case err == nil:
		a.Request.Items = [][]byte{prompt}
	case route.Format == "" || route.Format == inference.FormatInputs, fault.CodeOf(err) != fault.Invalid:
		return nil, err
	}
	return a, nil
}

// unstored refuses what needs a store of responses.
func (d *responsesDialect) unstored(fields schema.Fields) error {
	refuse := func(name, why string) error {
		e := fault.New(fault.Invalid, "%s is not supported: %s", name, why)
		e.Param = name
		return e
	}
	if string(declared(d.object, fields, "background")) == "true" {
		return refuse("background", "place a job instead, with the header Prefer: respond-async or POST /v1/jobs")
	}
	if declared(d.object, fields, "previous_response_id") != nil {
		return refuse("previous_response_id", "this gateway stores no responses; send the earlier items in input")
	}
	for _, m := range fields.Extra {
		if (m.Key == "conversation" || m.Key == "prompt") && splice.KindOf(m.Value) != splice.Null {
			return refuse(m.Key, "this gateway stores no conversations and no prompts; send the text in input")
		}
	}
	return nil
}

// judgeResponses names the members that a model of texts cannot give effect to, or refuses the call.
func judgeResponses(extra []splice.Member) ([]string, error) {
	var lost []string
	for _, m := range extra {
		text := strings.Join(strings.Fields(string(m.Value[:min(len(m.Value), 64)])), "")
		switch m.Key {
		case "tools":
			if text != "[]" {
				e := fault.New(fault.Invalid, "tools is not supported: the model of this route calls no tools. Leave it out")
				e.Param = m.Key
				return nil, e
			}
		case "text":
			if text != `{"format":{"type":"text"}}` && text != "{}" {
				e := fault.New(fault.Invalid, "text is not supported: a model of texts cannot be held to a format. Leave it out")
				e.Param = m.Key
				return nil, e
			}
		default:
			if text != "null" && text != "[]" && text != `"auto"` {
				lost = append(lost, m.Key)
			}
		}
	}
	return lost, nil
}

// textParams are the parameters for a model of texts.
func textParams(o *schema.Object, fields schema.Fields) []byte {
	text := []byte("{")
	for _, p := range [][2]string{{"temperature", "temperature"}, {"top_p", "top_p"}, {"max_output_tokens", "max_tokens"}} {
		if value := declared(o, fields, p[0]); value != nil {
			if len(text) > 1 {
				text = append(text, ',')
			}
			text = append(append(append(schema.AppendString(text, p[1]), ':'), value...), []byte(nil)...)
		}
	}
	if len(text) == 1 {
		return nil
	}
	return append(text, '}')
}

// prompt renders input as the one text that a model of texts takes, with the messages that chat would have.
func (d *responsesDialect) prompt(route *inference.Route, input, instructions []byte) ([]byte, error) {
	var turns [][]byte
	turn := func(role string, content []byte) {
		text := append(schema.AppendString([]byte(`{"role":`), role), `,"content":`...)
		turns = append(turns, append(append(text, content...), '}'))
	}
	if instructions != nil {
		turn("system", instructions)
	}
	if splice.KindOf(input) == splice.String {
		turn("user", input)
	}
	for i, item := range splice.ListOf(input) {
		of := schema.FieldsOf(item)
		if kind := of.Text("type"); kind != "" && kind != "message" || of.Text("role") == "" || of.Get("content") == nil {
			return nil, invalid([]fault.Issue{{
				Loc: []any{"input", i}, Type: "value_error", Msg: "only messages with a role and a text can be rendered into one prompt for this route",
			}})
		}
		turn(of.Text("role"), of.Get("content"))
	}
	list := append(append([]byte("["), bytes.Join(turns, []byte(","))...), ']')
	return d.chat.prompt(route, list)
}

// Answer writes a response.
func (d *responsesDialect) Answer(out *Output, a *Asked, res *inference.Result) error {
	r, err := responseOf(a, res)
	if err != nil {
		return err
	}
	out.raw(r.object(r.status, r.items, r.usage))
	return nil
}

// response is a whole answer.
type response struct {
	head   []byte // its id, object, created_at and model
	id     string
	status string
	items  [][]byte
	usage  []byte
	rest   []byte // other members of the model's, each after a comma
}

// responseOf completes what a model answered: ids, types and states that clients read are there afterwards.
func responseOf(a *Asked, res *inference.Result) (*response, error) {
	told := schema.FieldsOf(res.Body)
	r := &response{status: "completed", usage: told.Get("usage")}
	if len(res.Items) > 0 {
		t := toldOf(res)
		r.usage = usageOfResponse(t.usage)
		if string(t.ended(0)) == `"length"` {
			r.status = "incomplete"
		}
		text := append([]byte(`{"type":"message","role":"assistant","content":[{"type":"output_text","text":`), res.Items[0]...)
		r.items = [][]byte{r.item(a, 0, append(text, `,"annotations":[]}]}`...))}
		told = nil
	}
	for i, item := range splice.ListOf(told.Get("output")) {
		r.items = append(r.items, r.item(a, i, item))
	}
	if len(r.items) == 0 {
		return nil, fault.New(fault.UpstreamBadResponse, "the model's response has no output")
	}
	if status := told.Text("status"); status != "" {
		r.status = status
	} else if told.Get("incomplete_details") != nil {
		r.status = "incomplete"
	}
	r.heading(a, told)
	r.remainder(told)
	return r, nil
}

// heading writes the id, the time and the model: the model's own where it tells them.
func (r *response) heading(a *Asked, told splice.Fields) {
	r.id = told.Text("id")
	if r.id == "" {
		r.id = "resp_" + a.Request.ID
	}
	var head Output
	head.text(`{"id":`)
	head.quoted(r.id)
	head.text(`,"object":"response","created_at":`)
	if at := told.Get("created_at"); splice.KindOf(at) == splice.Number {
		head.buf = append(head.buf, at...)
	} else {
		head.number(a.created.Unix())
	}
	head.text(`,"model":`)
	if model := told.Text("model"); model != "" {
		head.quoted(model)
	} else {
		head.quoted(a.model())
	}
	r.head = head.buf
}

// remainder writes the other members that the model tells, and those that clients read.
func (r *response) remainder(told splice.Fields) {
	var rest Output
	seen := map[string]bool{"id": true, "object": true, "created_at": true, "model": true, "status": true, "output": true, "usage": true}
	for _, m := range told {
		if !seen[m.Key] {
			seen[m.Key] = true
			rest.text(`,`)
			rest.quoted(m.Key)
			rest.text(`:`)
			rest.buf = append(rest.buf, m.Value...)
		}
	}
	for _, d := range [][2]string{
		{"error", "null"},
		{"incomplete_details", "null"},
		{"instructions", "null"},
		{"metadata", "{}"},
		{"parallel_tool_calls", "true"},
		{"temperature", "null"},
		{"top_p", "null"},
		{"tool_choice", `"auto"`},
		{"tools", "[]"},
		{"previous_response_id", "null"},
		{"store", "false"},
	} {
		if seen[d[0]] {
			continue
		}
		value := d[1]
		if d[0] == "incomplete_details" && r.status == "incomplete" {
			value = `{"reason":"max_output_tokens"}`
		}
		rest.text(`,"` + d[0] + `":` + value)
	}
	r.rest = rest.buf
}

// item fills in what an item of an output lacks: its id, and its state.
func (r *response) item(a *Asked, i int, raw []byte) []byte {
	of := schema.FieldsOf(raw)
	prefix := map[string]string{"message": "msg_", "function_call": "fc_", "function_call_output": "fco_", "reasoning": "rs_"}[of.Text("type")]
	if prefix == "" || of.Get("id") != nil && of.Get("status") != nil {
		return raw
	}
	text := bytes.TrimSuffix(bytes.TrimSpace(raw), []byte("}"))
	text = append([]byte(nil), text...)
	if of.Get("id") == nil {
		text = schema.AppendString(append(text, `,"id":`...), prefix+a.Request.ID+"_"+strconv.Itoa(i))
	}
	if of.Get("status") == nil && prefix != "rs_" {
		text = append(text, `,"status":"completed"`...)
	}
	return append(text, '}')
}

// object writes the response in a state.
func (r *response) object(status string, items [][]byte, usage []byte) []byte {
	text := append([]byte(nil), r.head...)
	text = append(append(append(text, `,"status":"`...), status...), `","output":[`...)
	text = append(append(text, bytes.Join(items, []byte(","))...), ']')
	text = append(text, `,"usage":`...)
	if usage == nil {
		text = append(text, "null"...)
	} else {
		text = append(text, detailed(usage)...)
	}
	return append(append(text, r.rest...), '}')
}

// detailed is a usage with the details that OpenAI's clients expect beside the counts.
func detailed(usage []byte) []byte {
	of := schema.FieldsOf(usage)
	text := bytes.TrimSuffix(bytes.TrimSpace(usage), []byte("}"))
	text = append([]byte(nil), text...)
	if of.Get("input_tokens_details") == nil {
		text = append(text, `,"input_tokens_details":{"cached_tokens":0}`...)
	}
	if of.Get("output_tokens_details") == nil {
		text = append(text, `,"output_tokens_details":{"reasoning_tokens":0}`...)
	}
	return append(text, '}')
}

// usageOfResponse is a usage of chat under the names of responses; nil when it is not known.
func usageOfResponse(usage []byte) []byte {
	of := schema.FieldsOf(usage)
	in, out, all := of.Get("prompt_tokens"), of.Get("completion_tokens"), of.Get("total_tokens")
	if in == nil || out == nil || all == nil {
		return nil
	}
	return []byte(`{"input_tokens":` + string(in) + `,"output_tokens":` + string(out) + `,"total_tokens":` + string(all) + `}`)
}
