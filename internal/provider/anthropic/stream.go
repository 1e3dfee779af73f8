package anthropic

import (
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/splice"
)

// stream reads the events of one answer of the Messages API. Blocks that are no text and no call for the caller, such as what
// the model thinks, are passed over, and so are events that are not known.
type stream struct {
	tools  map[int64]*toolBlock // by the index of the block
	usage  splice.Fields        // what was told last of each count
	finish string
}

// toolBlock is a call of a tool that is being told.
type toolBlock struct {
	index int  // among the calls
	begun bool // a piece of its arguments has come
}

func newStream() *stream { return &stream{tools: make(map[int64]*toolBlock), finish: "stop"} }

// Read is part of provider.Pieces. The answer is complete at message_stop.
func (s *stream) Read(_, data string) (pieces []inference.Event, done bool, err error) {
	if data == "" { // some servers keep a connection alive so
		return nil, false, nil
	}
	v, broken := splice.Whole([]byte(data))
	if broken != nil || v.Kind != splice.Object {
		return nil, false, fault.New(fault.UpstreamBadResponse, "an event of the vendor's stream is not an object in JSON")
	}
	raw := v.Raw
	if v.NonFinite {
		raw = splice.Nulled(raw)
	}
	event := splice.FieldsOf(raw)
	switch event.Text("type") {
	case "message_start":
		s.count(splice.FieldsOf(event.Get("message")).Get("usage"))
	case "content_block_start":
		return s.begin(splice.IntOf(event.Get("index")), splice.FieldsOf(event.Get("content_block"))), false, nil
	case "content_block_delta":
		return s.delta(splice.IntOf(event.Get("index")), splice.FieldsOf(event.Get("delta"))), false, nil
	case "content_block_stop":
		if tool := s.tools[splice.IntOf(event.Get("index"))]; tool != nil && !tool.begun {
			return tool.piece([]byte(`"{}"`)), false, nil
		}
	case "message_delta":
		if reason := splice.FieldsOf(event.Get("delta")).Text("stop_reason"); reason != "" {
			s.finish = finish(reason)
		}
		s.count(event.Get("usage"))
	case "message_stop":
		return s.end(), true, nil
	case "error":
		return nil, false, told(splice.FieldsOf(event.Get("error")))
	}
	return nil, false, nil
}

// count takes the counts of a usage, which are of the whole answer each time.
func (s *stream) count(usage []byte) {
	for _, m := range splice.FieldsOf(usage) {
		if splice.KindOf(m.Value) != splice.Null {
			s.usage = append(s.usage.Without(m.Key), m)
		}
	}
}

func (s *stream) begin(index int64, block splice.Fields) []inference.Event {
	switch block.Text("type") {
	case "text":
		return said(block.Get("text"))
	case "tool_use":
		tool := &toolBlock{index: len(s.tools)}
		s.tools[index] = tool
		return []inference.Event{{Kind: inference.EventCall, Call: &inference.ToolCall{
			Index: tool.index, ID: block.Get("id"), Name: block.Get("name"), Arguments: []byte(`""`),
		}}}
	}
	return nil
}

func (s *stream) delta(index int64, delta splice.Fields) []inference.Event {
	switch delta.Text("type") {
	case "text_delta":
		return said(delta.Get("text"))
	case "input_json_delta":
		piece := delta.Get("partial_json")
		if tool := s.tools[index]; tool != nil && splice.KindOf(piece) == splice.String && len(piece) > len(`""`) {
			return tool.piece(piece)
		}
	}
	return nil
}

// said is a piece of text; nothing for an empty one.
func said(text []byte) []inference.Event {
	if splice.KindOf(text) != splice.String || len(text) == len(`""`) {
		return nil
	}
	return []inference.Event{{Kind: inference.EventText, Text: text}}
}

func (t *toolBlock) piece(arguments []byte) []inference.Event {
	t.begun = true
	return []inference.Event{{Kind: inference.EventCall, Call: &inference.ToolCall{Index: t.index, Arguments: arguments}}}
}

func (s *stream) end() []inference.Event {
	pieces := []inference.Event{{Kind: inference.EventFinish, Finish: splice.Quote(s.finish)}}
	var o splice.ObjectWriter
	for _, m := range s.usage {
		o.Add(m.Key, m.Value)
	}
	if counts := usage(o.Bytes()); counts != nil {
		pieces = append(pieces, inference.Event{Kind: inference.EventUsage, Usage: counts})
	}
	return pieces
}

// told is the error that ends a stream after its status was sent.
func told(e splice.Fields) error {
	kind := e.Text("type")
	f := fault.New(fault.UpstreamError, "the vendor of the model ended its stream with an error: %.2000s", e.Text("message"))
	f.Kind = kind
	switch kind {
	case "overloaded_error":
		f.Status, f.Repeat = 529, fault.RepeatHelps
	case "rate_limit_error":
		f.Status, f.Repeat = 429, fault.RepeatHelps
	default:
		f.Status = 500
	}
	return f
}
