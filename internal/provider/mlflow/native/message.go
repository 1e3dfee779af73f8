package native

import (
	"bytes"
	"strconv"
	"strings"

	"headrace/internal/splice"
)

// message is one turn of a conversation, out of either of OpenAI's forms. Values are raw JSON.
type message struct {
	role    string
	content []byte   // a string; nil: none
	parts   [][]byte // the parts of a content that is not text alone, as chat has them; content is nil then
	at      string   // where it stands in the request
	name    []byte
	refusal []byte
	callID  []byte // of a result of a tool
	calls   []toolCall
}

// toolCall is a call of a tool that a model has made.
type toolCall struct{ id, name, arguments []byte }

// chatMessages reads the messages of a chat call.
func chatMessages(value []byte) []message {
	var all []message
	for i, turn := range splice.ListOf(value) {
		fields := splice.FieldsOf(turn)
		m := message{
			role: splice.TextOf(fields.Get("role")), name: fields.Get("name"), refusal: fields.Get("refusal"), callID: fields.Get("tool_call_id"),
			at: "messages[" + strconv.Itoa(i) + "]",
		}
		m.read(fields.Get("content"))
		for _, call := range splice.ListOf(fields.Get("tool_calls")) {
			m.calls = append(m.calls, callOf(call))
		}
		all = append(all, m)
	}
	return all
}

// read takes a content: a text, or parts. Parts that are all text become one.
func (m *message) read(content []byte) {
	if splice.KindOf(content) != splice.Array {
		m.content = content
		return
	}
	var joined strings.Builder
	plain := true
	for _, part := range splice.ListOf(content) {
		fields := splice.FieldsOf(part)
		words := fields.Get("text")
		if words == nil {
			words = fields.Get("refusal")
		}
		switch splice.TextOf(fields.Get("type")) {
		case "text", "input_text", "output_text", "summary_text", "refusal":
			joined.WriteString(splice.TextOf(words))
			var o splice.ObjectWriter
			o.Add("type", []byte(`"text"`))
			o.Add("text", words)
			m.parts = append(m.parts, o.Bytes())
		default:
			plain = false
			m.parts = append(m.parts, part)
		}
	}
	if plain {
		m.content, m.parts = splice.Quote(joined.String()), nil
	}
}

// onlyText says no to parts that are not text, for models that take nothing else.
func (m *message) onlyText() error {
	for i, part := range m.parts {
		if kind := splice.TextOf(splice.FieldsOf(part).Get("type")); kind != "text" {
			at := m.at + ".content[" + strconv.Itoa(i) + "]"
			return wrong(at, "%s is a part of the type %q, and this model takes text only", at, kind)
		}
	}
	return nil
}

// chat is the message as models of chats have it: members that their signatures do not know are left out. The empty
// content of an assistant that calls tools is left out, too.
func (m *message) chat(names map[string][]byte) []byte {
	var o splice.ObjectWriter
	role := m.role
	if role == "developer" {
		role = "system"
	}
	o.Add("role", splice.Quote(role))
	o.Add("content", m.content)
	name := m.name
	if name == nil && m.role == "tool" && m.callID != nil {
		name = names[splice.TextOf(m.callID)] // ChatAgent wants the tool's name, OpenAI's messages have none
	}
	o.Add("name", name)
	o.Add("refusal", m.refusal)
	if len(m.calls) > 0 {
		o.Add("tool_calls", chatCalls(m.calls))
	}
	o.Add("tool_call_id", m.callID)
	return o.Bytes()
}

// toolNames maps the ids of calls to the names of their tools.
func toolNames(all []message) map[string][]byte {
	names := make(map[string][]byte)
	for _, m := range all {
		for _, c := range m.calls {
			names[splice.TextOf(c.id)] = c.name
		}
	}
	return names
}

// items is the message as items of the form of responses.
func (m *message) items() ([][]byte, error) {
	if m.role == "tool" {
		var o splice.ObjectWriter
		o.Add("type", []byte(`"function_call_output"`))
		o.Add("call_id", m.callID)
		o.Add("output", orEmpty(m.content))
		return [][]byte{o.Bytes()}, nil
	}
	var all [][]byte
	content := m.content
	if m.parts != nil {
		var err error
		if content, err = m.inputParts(); err != nil {
			return nil, err
		}
	}
	if content != nil && (len(m.calls) == 0 || splice.TextOf(content) != "") {
		var o splice.ObjectWriter
		o.Add("role", splice.Quote(m.role))
		o.Add("content", content)
		all = append(all, o.Bytes())
	}
	for _, c := range m.calls {
		all = append(all, c.item(nil))
	}
	return all, nil
}

// inputParts are the parts of a content as responses have them.
func (m *message) inputParts() ([]byte, error) {
	var parts [][]byte
	for i, part := range m.parts {
		fields := splice.FieldsOf(part)
		var o splice.ObjectWriter
		switch kind := splice.TextOf(fields.Get("type")); kind {
		case "text":
			o.Add("type", []byte(`"input_text"`))
			o.Add("text", fields.Get("text"))
		case "image_url":
			image := splice.FieldsOf(fields.Get("image_url"))
			o.Add("type", []byte(`"input_image"`))
			o.Add("image_url", image.Get("url"))
			detail := image.Get("detail")
			if detail == nil {
				detail = []byte(`"auto"`)
			}
			o.Add("detail", detail)
		case "input_image", "input_file":
			parts = append(parts, part)
			continue
		default:
			at := m.at + ".content[" + strconv.Itoa(i) + "]"
			return nil, wrong(at, "%s is a part of the type %q, and this model takes text and images only", at, kind)
		}
		parts = append(parts, o.Bytes())
	}
	return splice.ListWith(parts...), nil
}

// orEmpty is a content that must be there.
func orEmpty(content []byte) []byte {
	if content == nil {
		return []byte(`""`)
	}
	return content
}

// inputMessages reads the input of a call in the form of responses, and its instructions.
func inputMessages(input, instructions []byte) ([]message, error) {
	var all []message
	if instructions != nil {
		all = append(all, message{role: "system", content: instructions, at: "instructions"})
	}
	if splice.KindOf(input) == splice.String {
		return append(all, message{role: "user", content: input, at: "input"}), nil
	}
	for i, item := range splice.ListOf(input) {
		fields := splice.FieldsOf(item)
		m := message{at: "input[" + strconv.Itoa(i) + "]"}
		switch kind := splice.TextOf(fields.Get("type")); kind {
		case "", "message":
			m.role = splice.TextOf(fields.Get("role"))
			m.read(fields.Get("content"))
		case "function_call":
			call := toolCall{id: fields.Get("call_id"), name: fields.Get("name"), arguments: fields.Get("arguments")}
			if last := len(all) - 1; last >= 0 && all[last].role == "assistant" && strings.HasPrefix(all[last].at, "input") {
				all[last].calls = append(all[last].calls, call)
				continue
			}
			m.role, m.calls = "assistant", []toolCall{call}
		case "function_call_output":
			m.role, m.callID = "tool", fields.Get("call_id")
			output := fields.Get("output")
			if splice.KindOf(output) != splice.String && splice.KindOf(output) != splice.Array {
				output = splice.Quote(string(bytes.TrimSpace(output)))
			}
			m.read(output)
		case "reasoning": // what a model thought aloud is no part of a conversation
			continue
		default:
			return nil, wrong(m.at, "%s is of the type %q, which a chat model cannot be told of", m.at, kind)
		}
		all = append(all, m)
	}
	return all, nil
}
