package pieces

import (
	"strconv"

	"headrace/api/schema"
	"headrace/internal/inference"
	"headrace/internal/splice"
	"headrace/internal/sse"
)

// MLflow writes the chunks of MLflow 3: data alone, without names of events, members that say nothing as null, and the usage
// at the end unless the caller does not want it. MLflow 3.18 ends a stream with "[DONE]", and so do OpenAI's clients expect it.
type MLflow struct {
	head, tail string
	chat       bool
	usage      bool
	begun      map[int]bool // choices that have their role
}

var _ Writer = (*MLflow)(nil)

// NewMLflow makes a writer. head begins each chunk, an object without its end; provider stands at its end. usage says that the
// caller wants it.
func NewMLflow(head []byte, provider string, chat, usage bool) *MLflow {
	tail := string(schema.AppendString([]byte(`,"provider":`), provider)) + `}`
	return &MLflow{head: string(head), tail: tail, chat: chat, usage: usage, begun: make(map[int]bool)}
}

// Piece is part of Writer.
func (w *MLflow) Piece(dst []byte, e *inference.Event) []byte {
	switch e.Kind {
	case inference.EventText:
		return w.chunk(dst, e.Choice, string(e.Text), "null", nil)
	case inference.EventCall:
		return w.chunk(dst, e.Choice, "null", "["+callDelta(e.Call)+"]", nil)
	case inference.EventFinish:
		return w.chunk(dst, e.Choice, "null", "null", e.Finish)
	case inference.EventUsage:
		if w.usage {
			return w.whole(dst, `,"choices":[],"usage":`+string(e.Usage))
		}
	case inference.EventRaw:
		return w.raw(dst, schema.FieldsOf(e.Raw))
	}
	return dst
}

// raw writes a chunk of OpenAI's.
func (w *MLflow) raw(dst []byte, of splice.Fields) []byte {
	for i, each := range splice.ListOf(of.Get("choices")) {
		choice := schema.FieldsOf(each)
		if n, err := strconv.Atoi(string(choice.Get("index"))); err == nil {
			i = n
		}
		delta := schema.FieldsOf(choice.Get("delta"))
		text, calls := delta.Get("content"), delta.Get("tool_calls")
		if text == nil {
			text = choice.Get("text")
		}
		finish := choice.Get("finish_reason")
		if w.chat && text == nil && calls == nil && finish == nil {
			continue
		}
		dst = w.chunk(dst, i, orNull(text), orNull(calls), finish)
	}
	if usage := of.Get("usage"); usage != nil && w.usage {
		return w.whole(dst, `,"choices":[],"usage":`+string(usage))
	}
	return dst
}

func orNull(value []byte) string {
	if value == nil {
		return "null"
	}
	return string(value)
}

// End is part of Writer.
func (*MLflow) End(dst []byte) ([]byte, error) { return sse.Append(dst, "", []byte("[DONE]")), nil }

// chunk writes one chunk of a choice. finish nil: it goes on.
func (w *MLflow) chunk(dst []byte, choice int, text, calls string, finish []byte) []byte {
	if splice.KindOf(finish) != splice.String {
		finish = []byte("null")
	}
	head := `,"choices":[{"index":` + strconv.Itoa(choice) + `,"finish_reason":` + string(finish)
	if !w.chat {
		if text == "null" {
			text = `""`
		}
		return w.whole(dst, head+`,"text":`+text+`}],"usage":null`)
	}
	role := "null"
	if !w.begun[choice] {
		w.begun[choice], role = true, `"assistant"`
	}
	return w.whole(dst, head+`,"delta":{"role":`+role+`,"content":`+text+`,"tool_calls":`+calls+`}}],"usage":null`)
}

func (w *MLflow) whole(dst []byte, rest string) []byte {
	return sse.Append(dst, "", []byte(w.head+rest+w.tail))
}
