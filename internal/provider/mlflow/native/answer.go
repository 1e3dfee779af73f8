package native

import (
	"bytes"
	"strconv"
	"strings"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/splice"
)

// answer is what a model said, out of any of the forms. Values are raw JSON; nil where the model says nothing.
type answer struct {
	choices []choice
	items   [][]byte // the items of an output of responses, as they came
	run     []byte   // all messages of an agent's run
	usage   []byte
	id      []byte
	created []byte
	model   []byte
	status  []byte
	outputs []byte        // custom_outputs
	more    splice.Fields // other members of a response
}

// choice is one answer to a conversation.
type choice struct {
	content []byte // a string; nil: none
	refusal []byte
	calls   []toolCall
	finish  []byte // a string; nil: the model does not say
}

// Decode reads the answer to a request that was asked in the form f: the body of a reply of status 200. The result is in
// the form in which the caller asked. UpstreamBadResponse: the answer has another shape.
func Decode(f Form, req *inference.Request, body []byte) (*inference.Result, error) {
	v, err := splice.Whole(body)
	if err != nil {
		return nil, fault.New(fault.UpstreamBadResponse, "the model server answered with a body that is not JSON, %s", err)
	}
	value := v.Raw
	if v.NonFinite {
		value = splice.Nulled(value)
	}
	if p := splice.FieldsOf(value).Get("predictions"); p != nil && len(splice.FieldsOf(value)) == 1 {
		value = p
	}
	switch {
	case f == Embeddings:
		return decodeEmbeddings(value)
	case f == Completions && req.Type == inference.Completions:
		return decodeCompletions(req, value)
	}
	if all := splice.ListOf(value); len(all) == 1 {
		value = all[0]
	}
	a, err := read(value)
	if err != nil {
		return nil, err
	}
	return a.result(req)
}

// shapeless says that an answer is not what it should be.
func shapeless(want string, value []byte) error {
	const most = 120
	came := strings.ToValidUTF8(string(value[:min(len(value), most)]), "\ufffd")
	return fault.New(fault.UpstreamBadResponse, "the model server's answer is not %s: it begins %s", want, strconv.Quote(came))
}

// read takes an answer apart, whichever form it has.
func read(value []byte) (*answer, error) {
	switch splice.KindOf(value) {
	case splice.String:
		return &answer{choices: []choice{{content: value}}}, nil
	case splice.Object:
	case splice.Invalid, splice.Null, splice.Bool, splice.Number, splice.NonFinite, splice.Array:
		return nil, shapeless("a chat completion, messages, an output, or a text", value)
	}
	fields := splice.FieldsOf(value)
	a := &answer{
		usage: usageOf(fields.Get("usage")), id: fields.Get("id"), created: fields.Get("created"), model: fields.Get("model"),
		outputs: fields.Get("custom_outputs"),
	}
	if splice.TextOf(a.model) == "" {
		a.model = nil // "" is the name of a model that was saved from memory
	}
	switch {
	case fields.Get("choices") != nil:
		return a, a.readChoices(fields.Get("choices"), value)
	case fields.Get("messages") != nil:
		return a, a.readMessages(fields, value)
	case fields.Get("output") != nil:
		a.readOutput(fields)
		return a, nil
	case splice.KindOf(fields.Get("content")) == splice.String: // a message of LangChain's
		a.id = nil
		a.choices = []choice{{content: fields.Get("content")}}
		return a, nil
	}
	return nil, shapeless("a chat completion, messages, an output, or a text", value)
}

// usageOf is a usage that tells something: LangChain's has nothing but nulls.
func usageOf(value []byte) []byte {
	for _, m := range splice.FieldsOf(value) {
		if splice.KindOf(m.Value) != splice.Null {
			return value
		}
	}
	return nil
}

func (a *answer) readChoices(value, all []byte) error {
	for _, each := range splice.ListOf(value) {
		of := splice.FieldsOf(each)
		said := of.Get("message")
		if said == nil {
			said = of.Get("delta")
		}
		m := messageOf(said)
		c := choice{content: m.content, refusal: m.refusal, calls: m.calls, finish: of.Get("finish_reason")}
		if c.content == nil && splice.KindOf(of.Get("text")) == splice.String {
			c.content = of.Get("text")
		}
		a.choices = append(a.choices, c)
	}
	if len(a.choices) == 0 {
		return shapeless("a chat completion, an object with choices", all)
	}
	return nil
}

// messageOf reads a message of a model.
func messageOf(value []byte) message {
	fields := splice.FieldsOf(value)
	m := message{role: splice.TextOf(fields.Get("role")), refusal: fields.Get("refusal")}
	m.read(fields.Get("content"))
	for _, call := range splice.ListOf(fields.Get("tool_calls")) {
		m.calls = append(m.calls, callOf(call))
	}
	return m
}

// readMessages reads the run of a ChatAgent: the last text of the assistant is its answer, and the calls in its last
// message are for the caller. All messages stay to be read.
func (a *answer) readMessages(fields splice.Fields, all []byte) error {
	a.run = fields.Get("messages")
	turns := splice.ListOf(a.run)
	if len(turns) == 0 {
		return shapeless("an agent's messages", all)
	}
	var c choice
	for i, turn := range turns {
		m := messageOf(turn)
		if m.role == "assistant" && m.content != nil && splice.TextOf(m.content) != "" {
			c.content = m.content
		}
		if i == len(turns)-1 {
			c.calls = m.calls
			if m.role == "assistant" && len(m.calls) > 0 && splice.TextOf(m.content) == "" {
				c.content = nil
			}
		}
	}
	if c.content == nil && len(c.calls) == 0 {
		c.content = []byte(`""`)
	}
	c.finish = fields.Get("finish_reason")
	a.choices = []choice{c}
	return nil
}

// readOutput reads the output of a response: its last message is the answer, and calls that no item answers are for
// the caller.
func (a *answer) readOutput(fields splice.Fields) {
	a.created, a.status = fields.Get("created_at"), fields.Get("status")
	for _, m := range fields {
		switch m.Key {
		case "output", "usage", "id", "created_at", "model", "custom_outputs", "status", "object":
		default:
			a.more = append(a.more, m)
		}
	}
	a.items = splice.ListOf(fields.Get("output"))
	answered := make(map[string]bool)
	for _, item := range a.items {
		if of := splice.FieldsOf(item); splice.TextOf(of.Get("type")) == "function_call_output" {
			answered[splice.TextOf(of.Get("call_id"))] = true
		}
	}
	var c choice
	for _, item := range a.items {
		of := splice.FieldsOf(item)
		switch splice.TextOf(of.Get("type")) {
		case "message", "":
			m := message{}
			m.read(of.Get("content"))
			if m.content != nil {
				c.content = m.content
			}
		case "function_call":
			if call := (toolCall{of.Get("call_id"), of.Get("name"), of.Get("arguments")}); !answered[splice.TextOf(call.id)] {
				c.calls = append(c.calls, call)
			}
		}
	}
	if c.content == nil && len(c.calls) == 0 {
		c.content = []byte(`""`)
	}
	if splice.TextOf(splice.FieldsOf(fields.Get("incomplete_details")).Get("reason")) == "max_output_tokens" {
		c.finish = []byte(`"length"`)
	}
	a.choices = []choice{c}
}

// failed is the error that a response tells of itself; nil when it tells none.
func (a *answer) failed() error {
	if splice.TextOf(a.status) != "failed" {
		return nil
	}
	why := splice.TextOf(splice.FieldsOf(a.more.Get("error")).Get("message"))
	if why == "" {
		why = "it does not say why"
	}
	return fault.New(fault.UpstreamBadResponse, "the agent says that its response failed: %s", why)
}

// reason is why a choice ended.
func (c *choice) reason() []byte {
	switch {
	case len(c.calls) > 0 && (c.finish == nil || bytes.Equal(c.finish, []byte(`"stop"`))):
		return []byte(`"tool_calls"`)
	case splice.KindOf(c.finish) == splice.String:
		return c.finish
	}
	return []byte(`"stop"`)
}
