package pieces

import (
	"bytes"
	"slices"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/splice"
)

// Responses reads events of responses. Those of AgentServer lack the beginning and the end, and are complete at "[DONE]".
type Responses struct {
	raw bool

	said   map[string]bool // messages whose text has come in pieces
	calls  []inference.ToolCall
	length bool // the answer was cut at max_output_tokens
	ended  bool
}

// NewResponses makes a reader. raw gives events as they came, else they are taken apart into what a chat can say.
func NewResponses(raw bool) *Responses {
	return &Responses{raw: raw, said: make(map[string]bool)}
}

// Read is part of provider.Pieces.
func (r *Responses) Read(_, data string) (pieces []inference.Event, complete bool, err error) {
	if data == done {
		return r.finish(nil), true, nil
	}
	raw, fields, err := parsed(data)
	if err != nil {
		return nil, false, err
	}
	kind := splice.TextOf(fields.Get("type"))
	if e := fields.Get("error"); e != nil && kind == "" {
		return nil, false, told(e)
	}
	switch kind {
	case "":
		return nil, false, nil // AgentServer's trace_id, which no client's form has a place for
	case "error":
		if e := fields.Get("error"); e != nil {
			return nil, false, told(e)
		}
		return nil, false, told(raw)
	case "response.failed":
		return nil, false, failed(splice.FieldsOf(fields.Get("response")))
	case "response.completed", "response.incomplete":
		complete = true
	}
	if r.raw {
		return []inference.Event{{Kind: inference.EventRaw, Raw: raw}}, complete, nil
	}
	if complete {
		r.length = kind == "response.incomplete"
		return r.finish(splice.FieldsOf(fields.Get("response"))), true, nil
	}
	return r.apart(kind, fields), false, nil
}

// failed is the error of a response that says of itself that it failed.
func failed(response splice.Fields) *fault.Error {
	if e := response.Get("error"); e != nil {
		return told(e)
	}
	return told([]byte(`"its response failed, and it does not say why"`))
}

// apart is what a chat can say of one event: texts as they come. Calls of tools are kept to the end, because an agent may
// answer them itself in a later item, and then they are not for the caller.
func (r *Responses) apart(kind string, fields splice.Fields) []inference.Event {
	switch kind {
	case "response.output_text.delta":
		r.said[splice.TextOf(fields.Get("item_id"))] = true
		if delta := str(fields.Get("delta")); delta != nil {
			return []inference.Event{{Text: delta}}
		}
	case "response.output_item.done":
		return r.item(splice.FieldsOf(fields.Get("item")))
	}
	return nil
}

// item takes an item that is complete. Nothing is left to say of a message that has come in pieces.
func (r *Responses) item(of splice.Fields) (pieces []inference.Event) {
	switch splice.TextOf(of.Get("type")) {
	case "message":
		if r.said[splice.TextOf(of.Get("id"))] {
			return nil
		}
		for _, part := range splice.ListOf(of.Get("content")) {
			if t := str(splice.FieldsOf(part).Get("text")); t != nil {
				pieces = append(pieces, inference.Event{Text: t})
			}
		}
	case "function_call":
		r.calls = append(r.calls, callOf(of))
	case "function_call_output":
		answered := splice.TextOf(of.Get("call_id"))
		r.calls = slices.DeleteFunc(r.calls, func(c inference.ToolCall) bool { return splice.TextOf(c.ID) == answered })
	}
	return pieces
}

// callOf reads an item that is the call of a tool, complete with what clients read.
func callOf(of splice.Fields) inference.ToolCall {
	c := inference.ToolCall{ID: str(of.Get("call_id")), Name: str(of.Get("name")), Arguments: str(of.Get("arguments"))}
	if c.ID == nil {
		c.ID = str(of.Get("id"))
	}
	if c.Name == nil {
		c.Name = []byte(`""`)
	}
	if c.Arguments == nil {
		c.Arguments = []byte(`"{}"`)
	}
	return c
}

// finish says why the answer ended, once, and what it used.
func (r *Responses) finish(response splice.Fields) []inference.Event {
	if r.raw || r.ended {
		return nil
	}
	r.ended = true
	why := `"stop"`
	switch {
	case r.length:
		why = `"length"`
	case len(r.calls) > 0:
		why = `"tool_calls"`
	}
	var pieces []inference.Event
	for i := range r.calls {
		r.calls[i].Index = i
		pieces = append(pieces, inference.Event{Kind: inference.EventCall, Call: &r.calls[i]})
	}
	pieces = append(pieces, inference.Event{Kind: inference.EventFinish, Finish: []byte(why)})
	if usage := usage(splice.FieldsOf(response.Get("usage"))); usage != nil {
		pieces = append(pieces, inference.Event{Kind: inference.EventUsage, Usage: usage})
	}
	return pieces
}

// usage is that of responses under the names of chat; nil when it is not whole.
func usage(of splice.Fields) []byte {
	counts := [][]byte{of.Get("input_tokens"), of.Get("output_tokens"), of.Get("total_tokens")}
	for _, n := range counts {
		if splice.KindOf(n) != splice.Number {
			return nil
		}
	}
	return append(bytes.Join([][]byte{[]byte(`{"prompt_tokens":`), counts[0], []byte(`,"completion_tokens":`), counts[1], []byte(`,"total_tokens":`), counts[2]}, nil), '}')
}
