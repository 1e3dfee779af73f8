package native

import (
	"slices"

	"headrace/internal/openai"
	"headrace/internal/splice"
)

// encodeResponses writes a call for ResponsesAgent or AgentServer.
func encodeResponses(f Form, c caller, lost *dropped) ([]byte, error) {
	input, err := c.input()
	if err != nil {
		return nil, err
	}
	var o splice.ObjectWriter
	o.Add("input", input)
	for _, m := range c.members {
		if splice.KindOf(m.Value) != splice.Null && !c.told(m.Key) {
			c.responsesMember(&o, f, m, lost)
		}
	}
	return o.Bytes(), nil
}

// Streamed is a call that asks for a stream; body is an object of Encode's.
func Streamed(body []byte) []byte {
	var o splice.ObjectWriter
	o.Add("stream", []byte("true"))
	for _, m := range splice.FieldsOf(body) {
		o.Add(m.Key, m.Value)
	}
	return o.Bytes()
}

// input is the list of items. Those of a caller of responses stay as they are; instructions stand before them.
func (c caller) input() ([]byte, error) {
	if !c.responses {
		all, err := c.conversation()
		if err != nil {
			return nil, err
		}
		var items [][]byte
		for _, m := range all {
			of, err := m.items()
			if err != nil {
				return nil, err
			}
			items = append(items, of...)
		}
		return splice.ListWith(items...), nil
	}
	given := c.members.Get("input")
	instructions := c.members.Get("instructions")
	if splice.KindOf(given) != splice.String && instructions == nil {
		return given, nil
	}
	var items [][]byte
	turn := func(role string, content []byte) {
		var o splice.ObjectWriter
		o.Add("role", splice.Quote(role))
		o.Add("content", content)
		items = append(items, o.Bytes())
	}
	if instructions != nil {
		turn("system", instructions)
	}
	if splice.KindOf(given) == splice.String {
		turn("user", given)
	} else {
		items = append(items, splice.ListOf(given)...)
	}
	return splice.ListWith(items...), nil
}

// responsesMember writes what stands for one member, or notes that it is lost.
func (c caller) responsesMember(o *splice.ObjectWriter, f Form, m splice.Member, lost *dropped) {
	switch m.Key {
	case "temperature", "top_p", "metadata", "user", "custom_inputs", "context", "parallel_tool_calls", "truncation":
		o.Add(m.Key, m.Value)
	case "max_tokens", "max_completion_tokens", "max_output_tokens":
		if c.members.Get("max_completion_tokens") == nil || m.Key == "max_completion_tokens" {
			o.Add("max_output_tokens", whole(m.Value))
		}
	case "tools":
		tools := flatTools(m.Value)
		if f == Responses { // its signature refuses every tool that says more than its type
			if tools != nil {
				lost.add("tools")
			}
			return
		}
		o.Add("tools", tools)
	case "tool_choice":
		if f == Responses && c.members.Get("tools") != nil {
			if !openai.Idle(m.Key, m.Value) {
				lost.add(m.Key)
			}
			return
		}
		o.Add(m.Key, flatChoice(m.Value))
	case "reasoning", "store", "text":
		if c.responses {
			o.Add(m.Key, m.Value)
			return
		}
		c.lose(m, lost)
	default:
		c.lose(m, lost)
	}
}

// lose notes that a member does not reach the model, when that matters.
func (caller) lose(m splice.Member, lost *dropped) {
	if !openai.Idle(m.Key, m.Value) {
		lost.add(m.Key)
	}
}

// flatChoice is a tool_choice as responses have it.
func flatChoice(choice []byte) []byte {
	inner := splice.FieldsOf(splice.FieldsOf(choice).Get("function"))
	if !slices.ContainsFunc(inner, func(m splice.Member) bool { return m.Key == "name" }) {
		return choice
	}
	var o splice.ObjectWriter
	o.Add("type", []byte(`"function"`))
	o.Add("name", inner.Get("name"))
	return o.Bytes()
}
