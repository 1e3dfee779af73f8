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
	for i, turn := range elements(value) {
		fields := members(turn)
		m := message{
			role: text(get(fields, "role")), name: get(fields, "name"), refusal: get(fields, "refusal"), callID: get(fields, "tool_call_id"),
			at: "messages[" + strconv.Itoa(i) + "]",
		}
		m.read(get(fields, "content"))
		for _, call := range elements(get(fields, "tool_calls")) {
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
	for _, part := range elements(content) {
		fields := members(part)
		words := get(fields, "text")
		if words == nil {
			words = get(fields, "refusal")
		}
		switch text(get(fields, "type")) {
		case "text", "input_text", "output_text", "summary_text", "refusal":
			joined.WriteString(text(words))
			var o object
			o.add("type", []byte(`"text"`))
			o.add("text", words)
			m.parts = append(m.parts, o.bytes())
		default:
			plain = false
			m.parts = append(m.parts, part)
		}
	}
	if plain {
		m.content, m.parts = quoted(joined.String()), nil
	}
}

// onlyText says no to parts that are not text, for models that take nothing else.
func (m *message) onlyText() error {
	for i, part := range m.parts {
		if kind := text(get(members(part), "type")); kind != "text" {
			at := m.at + ".content[" + strconv.Itoa(i) + "]"
			return wrong(at, "%s is a part of the type %q, and this model takes text only", at, kind)
		}
	}
	return nil
}

// chat is the message as models of chats have it: members that their signatures do not know are left out. The empty
// content of an assistant that calls tools is left out, too.
func (m *message) chat(names map[string][]byte) []byte {
	var o object
	role := m.role
	if role == "developer" {
		role = "system"
	}
	o.add("role", quoted(role))
	o.add("content", m.content)
	name := m.name
	if name == nil && m.role == "tool" && m.callID != nil {
		name = names[text(m.callID)] // ChatAgent wants the tool's name, OpenAI's messages have none
	}
	o.add("name", name)
	o.add("refusal", m.refusal)
	if len(m.calls) > 0 {
		o.add("tool_calls", chatCalls(m.calls))
	}
	o.add("tool_call_id", m.callID)
	return o.bytes()
}

// toolNames maps the ids of calls to the names of their tools.
func toolNames(all []message) map[string][]byte {
	names := make(map[string][]byte)
	for _, m := range all {
		for _, c := range m.calls {
			names[text(c.id)] = c.name
		}
	}
	return names
}

// items is the message as items of the form of responses.
func (m *message) items() ([][]byte, error) {
	if m.role == "tool" {
		var o object
		o.add("type", []byte(`"function_call_output"`))
		o.add("call_id", m.callID)
		o.add("output", orEmpty(m.content))
		return [][]byte{o.bytes()}, nil
	}
	var all [][]byte
	content := m.content
	if m.parts != nil {
		var err error
		if content, err = m.inputParts(); err != nil {
			return nil, err
		}
	}
	if content != nil && (len(m.calls) == 0 || text(content) != "") {
		var o object
		o.add("role", quoted(m.role))
		o.add("content", content)
		all = append(all, o.bytes())
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
		fields := members(part)
		var o object
		switch kind := text(get(fields, "type")); kind {
		case "text":
			o.add("type", []byte(`"input_text"`))
			o.add("text", get(fields, "text"))
		case "image_url":
			image := members(get(fields, "image_url"))
			o.add("type", []byte(`"input_image"`))
			o.add("image_url", get(image, "url"))
			detail := get(image, "detail")
			if detail == nil {
				detail = []byte(`"auto"`)
			}
			o.add("detail", detail)
		case "input_image", "input_file":
			parts = append(parts, part)
			continue
		default:
			at := m.at + ".content[" + strconv.Itoa(i) + "]"
			return nil, wrong(at, "%s is a part of the type %q, and this model takes text and images only", at, kind)
		}
		parts = append(parts, o.bytes())
	}
	return list(parts...), nil
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
	for i, item := range elements(input) {
		fields := members(item)
		m := message{at: "input[" + strconv.Itoa(i) + "]"}
		switch kind := text(get(fields, "type")); kind {
		case "", "message":
			m.role = text(get(fields, "role"))
			m.read(get(fields, "content"))
		case "function_call":
			call := toolCall{id: get(fields, "call_id"), name: get(fields, "name"), arguments: get(fields, "arguments")}
			if last := len(all) - 1; last >= 0 && all[last].role == "assistant" && strings.HasPrefix(all[last].at, "input") {
				all[last].calls = append(all[last].calls, call)
				continue
			}
			m.role, m.calls = "assistant", []toolCall{call}
		case "function_call_output":
			m.role, m.callID = "tool", get(fields, "call_id")
			output := get(fields, "output")
			if splice.KindOf(output) != splice.String && splice.KindOf(output) != splice.Array {
				output = quoted(string(bytes.TrimSpace(output)))
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
