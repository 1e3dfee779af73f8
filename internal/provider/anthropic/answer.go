package anthropic

import (
	"bytes"
	"encoding/json"
	"strings"

	"headrace/internal/provider/vendors"
	"headrace/internal/splice"
)

// answer is a message of Anthropic's. Values are raw JSON.
type answer struct {
	id, model []byte
	text      string
	spoken    bool // there is text
	calls     [][]byte
	finish    string
	refusal   []byte
	usage     []byte
}

// read takes a message apart. Blocks that are not meant for the caller, such as what the model thought, are left out.
func read(top splice.Fields) (*answer, error) {
	content := top.Get("content")
	if splice.KindOf(content) != splice.Array && splice.KindOf(content) != splice.String {
		return nil, vendors.Lacks("content")
	}
	a := &answer{id: top.Get("id"), model: top.Get("model"), finish: finish(top.Text("stop_reason")), usage: usage(top.Get("usage"))}
	var text strings.Builder
	if splice.KindOf(content) == splice.String {
		text.WriteString(splice.TextOf(content))
		a.spoken = true
	}
	for _, block := range splice.ListOf(content) {
		of := splice.FieldsOf(block)
		switch of.Text("type") {
		case "text":
			text.WriteString(of.Text("text"))
			a.spoken = true
		case "tool_use":
			a.calls = append(a.calls, toolCall(of))
		}
	}
	a.text = text.String()
	if a.finish == "content_filter" {
		a.refusal = splice.FieldsOf(top.Get("stop_details")).Get("explanation")
	}
	return a, nil
}

// finish is why an answer ended, in OpenAI's words.
func finish(reason string) string {
	switch reason {
	case "max_tokens", "model_context_window_exceeded":
		return "length"
	case "tool_use":
		return "tool_calls"
	case "refusal":
		return "content_filter"
	}
	return "stop"
}

// toolCall is a call as OpenAI has it, whose arguments are JSON in a string.
func toolCall(of splice.Fields) []byte {
	var arguments bytes.Buffer
	if input := of.Get("input"); input == nil || json.Compact(&arguments, input) != nil {
		arguments.Reset()
		arguments.WriteString("{}")
	}
	var function, o splice.ObjectWriter
	function.Add("name", of.Get("name"))
	function.AddText("arguments", arguments.String())
	o.Add("id", of.Get("id"))
	o.AddText("type", "function")
	o.Add("function", function.Bytes())
	return o.Bytes()
}

// usage is OpenAI's: its prompt tokens have those in them that Anthropic counts apart, as read from the cache and written to
// it. nil when the counts are not told.
func usage(value []byte) []byte {
	of := splice.FieldsOf(value)
	if of.Get("input_tokens") == nil && of.Get("output_tokens") == nil {
		return nil
	}
	const read, written = "cache_read_input_tokens", "cache_creation_input_tokens"
	var o splice.ObjectWriter
	prompt := splice.IntOf(of.Get("input_tokens")) + splice.IntOf(of.Get(read)) + splice.IntOf(of.Get(written))
	said := splice.IntOf(of.Get("output_tokens"))
	if of.Get("input_tokens") != nil {
		o.AddInt("prompt_tokens", prompt)
	}
	if of.Get("output_tokens") != nil {
		o.AddInt("completion_tokens", said)
	}
	if of.Get("input_tokens") != nil && of.Get("output_tokens") != nil {
		o.AddInt("total_tokens", prompt+said)
	}
	if of.Get(read) != nil || of.Get(written) != nil {
		var details splice.ObjectWriter
		details.Add("cached_tokens", of.Get(read))
		details.Add("cache_write_tokens", of.Get(written))
		o.Add("prompt_tokens_details", details.Bytes())
	}
	for _, m := range of {
		if m.Key != "input_tokens" && m.Key != "output_tokens" && m.Key != read {
			o.Add(m.Key, m.Value)
		}
	}
	return o.Bytes()
}

// chat is the answer as a chat completion. What only the dialect knows, the time, is left for it.
func (a *answer) chat() []byte {
	var message, choice, o splice.ObjectWriter
	message.AddText("role", "assistant")
	if a.spoken {
		message.AddText("content", a.text)
	} else {
		message.Add("content", []byte("null"))
	}
	message.Add("refusal", orNull(a.refusal))
	if len(a.calls) > 0 {
		message.Add("tool_calls", splice.ListWith(a.calls...))
	}
	choice.AddInt("index", 0)
	choice.Add("message", message.Bytes())
	choice.Add("logprobs", []byte("null"))
	choice.AddText("finish_reason", a.finish)
	o.Add("id", a.id)
	o.AddText("object", "chat.completion")
	o.Add("model", a.model)
	o.Add("choices", splice.ListWith(choice.Bytes()))
	o.Add("usage", a.usage)
	return o.Bytes()
}

// completion is the answer as a completion.
func (a *answer) completion() []byte {
	var choice, o splice.ObjectWriter
	choice.AddText("text", a.text)
	choice.AddInt("index", 0)
	choice.Add("logprobs", []byte("null"))
	choice.AddText("finish_reason", a.finish)
	o.Add("id", a.id)
	o.AddText("object", "text_completion")
	o.Add("model", a.model)
	o.Add("choices", splice.ListWith(choice.Bytes()))
	o.Add("usage", a.usage)
	return o.Bytes()
}

func orNull(value []byte) []byte {
	if value == nil {
		return []byte("null")
	}
	return value
}
