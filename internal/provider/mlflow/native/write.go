package native

import (
	"strconv"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/splice"
)

// result writes an answer in the form in which the caller asked. What the model does not say is left out, for the
// dialect to fill in.
func (a *answer) result(req *inference.Request) (*inference.Result, error) {
	switch {
	case req.Body == nil:
		return a.texts()
	case IsResponses(req):
		return &inference.Result{Body: a.response()}, nil
	}
	if err := a.failed(); err != nil {
		return nil, err
	}
	return &inference.Result{Body: a.completion()}, nil
}

// texts is the answer for callers whose dialect has texts only.
func (a *answer) texts() (*inference.Result, error) {
	if err := a.failed(); err != nil {
		return nil, err
	}
	res := &inference.Result{}
	var finish [][]byte
	for _, c := range a.choices {
		if c.content == nil && len(c.calls) > 0 {
			return nil, fault.New(fault.UpstreamBadResponse,
				"the model answered with a call of a tool, which this path cannot say; ask at /v1/chat/completions or /v1/responses")
		}
		res.Items = append(res.Items, orEmpty(c.content))
		finish = append(finish, c.reason())
	}
	var o splice.ObjectWriter
	o.Add("finish_reasons", splice.ListWith(finish...))
	o.Add("usage", chatUsage(a.usage))
	res.Body = o.Bytes()
	return res, nil
}

// completion is the answer as a chat completion.
func (a *answer) completion() []byte {
	var choices [][]byte
	for i, c := range a.choices {
		var said, o splice.ObjectWriter
		said.Add("role", []byte(`"assistant"`))
		content := c.content
		if content == nil {
			content = []byte("null")
		}
		said.Add("content", content)
		if c.refusal == nil {
			c.refusal = []byte("null")
		}
		said.Add("refusal", c.refusal)
		if len(c.calls) > 0 {
			said.Add("tool_calls", chatCalls(c.calls))
		}
		o.Add("index", strconv.AppendInt(nil, int64(i), 10))
		o.Add("message", said.Bytes())
		o.Add("logprobs", []byte("null"))
		o.Add("finish_reason", c.reason())
		choices = append(choices, o.Bytes())
	}
	var o splice.ObjectWriter
	o.Add("id", a.id)
	o.Add("created", wholeSeconds(a.created))
	o.Add("model", a.model)
	o.Add("choices", splice.ListWith(choices...))
	o.Add("usage", chatUsage(a.usage))
	o.Add("custom_outputs", a.outputs)
	o.Add("messages", a.run)
	if len(a.items) > 1 {
		o.Add("output", splice.ListWith(a.items...))
	}
	return o.Bytes()
}

// wholeSeconds is a time as chat has it; ResponsesAgent's may be a float.
func wholeSeconds(value []byte) []byte {
	if splice.KindOf(value) != splice.Number {
		return nil
	}
	for i, c := range value {
		if c == '.' {
			return value[:i]
		}
	}
	return value
}

// chatUsage is a usage as chat has it.
func chatUsage(usage []byte) []byte {
	return renamed(usage, "input_tokens", "prompt_tokens", "output_tokens", "completion_tokens")
}

// responseUsage is a usage as responses have it, complete with the details that clients read.
func responseUsage(usage []byte) []byte {
	if usage == nil {
		return nil
	}
	fields := splice.FieldsOf(renamed(usage, "prompt_tokens", "input_tokens", "completion_tokens", "output_tokens"))
	if fields.Get("input_tokens") == nil || fields.Get("output_tokens") == nil {
		return nil // clients cannot read half a usage
	}
	var o splice.ObjectWriter
	for _, m := range fields {
		o.Add(m.Key, m.Value)
	}
	return o.Bytes()
}

// renamed is usage with other names for two of its members; one that has the new names stays.
func renamed(usage []byte, pairs ...string) []byte {
	if usage == nil {
		return nil
	}
	var o splice.ObjectWriter
	for _, m := range splice.FieldsOf(usage) {
		key := m.Key
		for i := 0; i+1 < len(pairs); i += 2 {
			if key == pairs[i] {
				key = pairs[i+1]
			}
			if key == pairs[i]+"_details" {
				key = pairs[i+1] + "_details"
			}
		}
		o.Add(key, m.Value)
	}
	return o.Bytes()
}

// response is the answer as a response.
func (a *answer) response() []byte {
	var o splice.ObjectWriter
	o.Add("id", a.id)
	o.Add("created_at", a.created)
	o.Add("model", a.model)
	o.Add("status", a.status)
	items := a.items
	if items == nil {
		items = a.outputItems()
	}
	o.Add("output", splice.ListWith(items...))
	o.Add("usage", responseUsage(a.usage))
	o.Add("custom_outputs", a.outputs)
	for _, m := range a.more {
		o.Add(m.Key, m.Value)
	}
	if a.items == nil && len(a.choices) > 0 && splice.TextOf(a.choices[0].reason()) == "length" {
		o.Add("incomplete_details", []byte(`{"reason":"max_output_tokens"}`))
	}
	return o.Bytes()
}

// outputItems are the items that stand for the answer of a chat model: every message of an agent's run, else the first
// choice.
func (a *answer) outputItems() [][]byte {
	var items [][]byte
	for _, turn := range splice.ListOf(a.run) {
		m := messageOf(turn)
		fields := splice.FieldsOf(turn)
		if m.role == "tool" {
			m.callID = fields.Get("tool_call_id")
			of, _ := m.items() // a tool's result has no parts that fail
			items = append(items, of...)
			continue
		}
		items = append(items, outputOf(choice{content: m.content, calls: m.calls}, fields.Get("id"))...)
	}
	if a.run == nil && len(a.choices) > 0 {
		items = outputOf(a.choices[0], nil)
	}
	return items
}

// outputOf is a choice as items of an output. Ids that are not given are left for the dialect.
func outputOf(c choice, id []byte) [][]byte {
	var items [][]byte
	if c.content != nil && (splice.TextOf(c.content) != "" || len(c.calls) == 0) {
		var part, o splice.ObjectWriter
		part.Add("type", []byte(`"output_text"`))
		part.Add("text", c.content)
		part.Add("annotations", []byte("[]"))
		o.Add("type", []byte(`"message"`))
		o.Add("id", id)
		o.Add("role", []byte(`"assistant"`))
		o.Add("status", []byte(`"completed"`))
		o.Add("content", splice.ListWith(part.Bytes()))
		items = append(items, o.Bytes())
	}
	for _, call := range c.calls {
		items = append(items, call.item(nil))
	}
	return items
}
