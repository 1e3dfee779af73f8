package anthropic

import (
	"bytes"
	"strconv"
	"strings"

	"headrace/internal/splice"
)

// conversation translates the messages, or the prompt of a completion.
func (c *call) conversation() error {
	if c.all.Get("messages") == nil {
		prompt := c.all.Get("prompt")
		if list := splice.ListOf(prompt); len(list) == 1 {
			prompt = list[0]
		}
		if splice.KindOf(prompt) != splice.String {
			return wrong("prompt", "prompt must be one text: Anthropic's models are asked as a chat")
		}
		c.out.Add("messages", splice.ListWith(turn("user", prompt)))
		return nil
	}
	var t turns
	for i, m := range splice.ListOf(c.all.Get("messages")) {
		at := "messages[" + strconv.Itoa(i) + "]"
		if err := c.message(&t, splice.FieldsOf(m), at); err != nil {
			return err
		}
	}
	t.settle()
	c.out.Add("messages", splice.ListWith(t.all...))
	return nil
}

// turns are the messages so far. Results of tools wait for the message after them, for they have to stand first in one.
type turns struct {
	all     [][]byte
	results [][]byte
}

// settle writes results that no user message follows.
func (t *turns) settle() {
	if len(t.results) > 0 {
		t.all = append(t.all, turn("user", splice.ListWith(t.results...)))
		t.results = nil
	}
}

func turn(role string, content []byte) []byte {
	var o splice.ObjectWriter
	o.AddText("role", role)
	o.Add("content", content)
	return o.Bytes()
}

func (c *call) message(t *turns, m splice.Fields, at string) error {
	content := m.Get("content")
	switch role := m.Text("role"); role {
	case "system", "developer":
		blocks, err := blocksOf(content, at)
		c.system = append(c.system, blocks...)
		return err
	case "user":
		return t.user(content, at)
	case "assistant":
		t.settle()
		return t.assistant(m, at)
	case "tool":
		return t.tool(m, at)
	default:
		return wrong(at+".role", "%s.role is %q, which Anthropic's models cannot be told of; there are system, developer, user, assistant and tool", at, role)
	}
}

func (t *turns) user(content []byte, at string) error {
	if content == nil {
		return wrong(at+".content", "%s.content is required", at)
	}
	if splice.KindOf(content) == splice.String && len(t.results) == 0 {
		t.all = append(t.all, turn("user", content))
		return nil
	}
	blocks, err := blocksOf(content, at)
	if err != nil {
		return err
	}
	t.all = append(t.all, turn("user", splice.ListWith(append(t.results, blocks...)...)))
	t.results = nil
	return nil
}

func (t *turns) assistant(m splice.Fields, at string) error {
	content, calls := m.Get("content"), splice.ListOf(m.Get("tool_calls"))
	if content == nil && m.Get("refusal") != nil {
		content = m.Get("refusal")
	}
	if len(calls) == 0 && splice.KindOf(content) == splice.String {
		t.all = append(t.all, turn("assistant", content))
		return nil
	}
	blocks, err := blocksOf(content, at)
	if err != nil {
		return err
	}
	for i, each := range calls {
		use, err := toolUse(each, at+".tool_calls["+strconv.Itoa(i)+"]")
		if err != nil {
			return err
		}
		blocks = append(blocks, use)
	}
	t.all = append(t.all, turn("assistant", splice.ListWith(blocks...)))
	return nil
}

// toolUse is a call of a tool as Anthropic has it, whose arguments are an object.
func toolUse(value []byte, at string) ([]byte, error) {
	of := splice.FieldsOf(value)
	function := splice.FieldsOf(of.Get("function"))
	arguments := []byte(strings.TrimSpace(function.Text("arguments")))
	if len(arguments) == 0 {
		arguments = []byte("{}")
	}
	if v, err := splice.Whole(arguments); err != nil || v.Kind != splice.Object || v.NonFinite {
		return nil, wrong(at+".function.arguments", "the arguments of the tool call %q are not an object in JSON", of.Text("id"))
	}
	var o splice.ObjectWriter
	o.AddText("type", "tool_use")
	o.Add("id", of.Get("id"))
	o.Add("name", function.Get("name"))
	o.Add("input", arguments)
	return o.Bytes(), nil
}

// tool takes the result of a tool.
func (t *turns) tool(m splice.Fields, at string) error {
	id, content := m.Get("tool_call_id"), m.Get("content")
	if id == nil {
		return wrong(at+".tool_call_id", "%s.tool_call_id is required: it says which call the result belongs to", at)
	}
	if splice.KindOf(content) == splice.Array {
		blocks, err := blocksOf(content, at)
		if err != nil {
			return err
		}
		content = splice.ListWith(blocks...)
	}
	var o splice.ObjectWriter
	o.AddText("type", "tool_result")
	o.Add("tool_use_id", id)
	o.Add("content", content)
	t.results = append(t.results, o.Bytes())
	return nil
}

// blocksOf is a content as blocks: one of a text, one of each part. An empty text is none, for Anthropic refuses it.
func blocksOf(content []byte, at string) ([][]byte, error) {
	if splice.KindOf(content) == splice.String {
		if len(content) == len(`""`) {
			return nil, nil
		}
		return [][]byte{textBlock(content, nil)}, nil
	}
	var blocks [][]byte
	for i, part := range splice.ListOf(content) {
		block, err := blockOf(part, at+".content["+strconv.Itoa(i)+"]")
		if err != nil {
			return nil, err
		}
		if block != nil {
			blocks = append(blocks, block)
		}
	}
	return blocks, nil
}

func textBlock(text, cache []byte) []byte {
	var o splice.ObjectWriter
	o.AddText("type", "text")
	o.Add("text", text)
	o.Add("cache_control", cache)
	return o.Bytes()
}

// blockOf translates one part. Blocks of Anthropic's own pass as they are.
func blockOf(part []byte, at string) ([]byte, error) {
	of := splice.FieldsOf(part)
	cache := of.Get("cache_control")
	switch kind := of.Text("type"); kind {
	case "text":
		if text := of.Get("text"); len(text) > len(`""`) {
			return textBlock(text, cache), nil
		}
		return nil, nil //nolint:nilnil // an empty text is no block
	case "refusal":
		return textBlock(of.Get("refusal"), cache), nil
	case "image_url":
		source := sourceOf(splice.FieldsOf(of.Get("image_url")).Text("url"))
		return sourced("image", source, cache), nil
	case "file":
		data := splice.FieldsOf(of.Get("file")).Text("file_data")
		if !strings.HasPrefix(data, "data:") {
			return nil, wrong(at, "%s is a file without file_data, which Anthropic cannot be given", at)
		}
		return sourced("document", sourceOf(data), cache), nil
	case "reasoning": // what a model thought aloud is no part of a conversation
		return nil, nil //nolint:nilnil // as above
	case "input_audio", "":
		return nil, wrong(at, "%s is a part of the type %q, and Anthropic's models take text, images and files", at, kind)
	}
	return bytes.TrimSpace(part), nil
}

func sourced(kind string, source, cache []byte) []byte {
	var o splice.ObjectWriter
	o.AddText("type", kind)
	o.Add("source", source)
	o.Add("cache_control", cache)
	return o.Bytes()
}

// sourceOf is where the bytes of an image are: in a data URL, or at an address.
func sourceOf(url string) []byte {
	var o splice.ObjectWriter
	if data, ok := strings.CutPrefix(url, "data:"); ok {
		if media, bytes, ok := strings.Cut(data, ";base64,"); ok {
			o.AddText("type", "base64")
			o.AddText("media_type", media)
			o.AddText("data", bytes)
			return o.Bytes()
		}
	}
	o.AddText("type", "url")
	o.AddText("url", url)
	return o.Bytes()
}
