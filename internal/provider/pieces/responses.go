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
	kind := text(get(fields, "type"))
	if e := get(fields, "error"); e != nil && kind == "" {
		return nil, false, told(e)
	}
	switch kind {
	case "":
		return nil, false, nil // AgentServer's trace_id, which no client's form has a place for
	case "error":
		if e := get(fields, "error"); e != nil {
			return nil, false, told(e)
		}
		return nil, false, told(raw)
	case "response.failed":
		return nil, false, failed(members(get(fields, "response")))
	case "response.completed", "response.incomplete":
		complete = true
	}
	if r.raw {
		return []inference.Event{{Kind: inference.EventRaw, Raw: raw}}, complete, nil
	}
	if complete {
		r.length = kind == "response.incomplete"
		return r.finish(members(get(fields, "response"))), true, nil
	}
	return r.apart(kind, fields), false, nil
}

// failed is the error of a response that says of itself that it failed.
func failed(response []splice.Member) *fault.Error {
	if e := get(response, "error"); e != nil {
		return told(e)
	}
	return told([]byte(`"its response failed, and it does not say why"`))
}

// apart is what a chat can say of one event: texts as they come. Calls of tools are kept to the end, because an agent may
// answer them itself in a later item, and then they are not for the caller.
func (r *Responses) apart(kind string, fields []splice.Member) []inference.Event {
	switch kind {
	case "response.output_text.delta":
		r.said[text(get(fields, "item_id"))] = true
		if delta := str(get(fields, "delta")); delta != nil {
			return []inference.Event{{Text: delta}}
		}
	case "response.output_item.done":
		return r.item(members(get(fields, "item")))
	}
	return nil
}

// item takes an item that is complete. Nothing is left to say of a message that has come in pieces.
func (r *Responses) item(of []splice.Member) (pieces []inference.Event) {
	switch text(get(of, "type")) {
	case "message":
		if r.said[text(get(of, "id"))] {
			return nil
		}
		for _, part := range elements(get(of, "content")) {
			if t := str(get(members(part), "text")); t != nil {
				pieces = append(pieces, inference.Event{Text: t})
			}
		}
	case "function_call":
		r.calls = append(r.calls, callOf(of))
	case "function_call_output":
		answered := text(get(of, "call_id"))
		r.calls = slices.DeleteFunc(r.calls, func(c inference.ToolCall) bool { return text(c.ID) == answered })
	}
	return pieces
}

// callOf reads an item that is the call of a tool, complete with what clients read.
func callOf(of []splice.Member) inference.ToolCall {
	c := inference.ToolCall{ID: str(get(of, "call_id")), Name: str(get(of, "name")), Arguments: str(get(of, "arguments"))}
	if c.ID == nil {
		c.ID = str(get(of, "id"))
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
func (r *Responses) finish(response []splice.Member) []inference.Event {
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
	if usage := usage(members(get(response, "usage"))); usage != nil {
		pieces = append(pieces, inference.Event{Kind: inference.EventUsage, Usage: usage})
	}
	return pieces
}

// usage is that of responses under the names of chat; nil when it is not whole.
func usage(of []splice.Member) []byte {
	counts := [][]byte{get(of, "input_tokens"), get(of, "output_tokens"), get(of, "total_tokens")}
	for _, n := range counts {
		if splice.KindOf(n) != splice.Number {
			return nil
		}
	}
	return append(bytes.Join([][]byte{[]byte(`{"prompt_tokens":`), counts[0], []byte(`,"completion_tokens":`), counts[1], []byte(`,"total_tokens":`), counts[2]}, nil), '}')
}
