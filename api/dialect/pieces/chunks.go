package pieces

import (
	"strconv"

	"headrace/api/schema"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/splice"
	"headrace/internal/sse"
)

// Chunks writes chunks of a chat completion, or of a completion: for each choice its role, its text and calls, and why it
// ended; then the usage, when the caller wants it and the model tells it.
type Chunks struct {
	head    []byte
	chat    bool
	usage   bool
	choices int

	begun    map[int]bool // choices that have their role
	finished map[int]bool
	raw      bool   // chunks of the model's own have passed
	more     []byte // other members of the next chunk, each after a comma
}

var _ Writer = (*Chunks)(nil)

// NewChunks makes a writer. head begins each chunk: an object without its end. usage says that the caller wants it, and
// choices how many answers there have to be.
func NewChunks(head []byte, chat, usage bool, choices int) *Chunks {
	return &Chunks{head: head, chat: chat, usage: usage, choices: choices, begun: make(map[int]bool), finished: make(map[int]bool)}
}

// Piece is part of Writer.
func (w *Chunks) Piece(dst []byte, e *inference.Event) []byte {
	switch e.Kind {
	case inference.EventText:
		dst = w.begin(dst, e.Choice)
		if w.chat {
			return w.chunk(dst, e.Choice, `{"content":`+string(e.Text)+`}`, nil)
		}
		return w.chunk(dst, e.Choice, string(e.Text), nil)
	case inference.EventCall:
		return w.chunk(w.begin(dst, e.Choice), e.Choice, `{"tool_calls":[`+callDelta(e.Call)+`]}`, nil)
	case inference.EventFinish:
		dst = w.begin(dst, e.Choice)
		w.finished[e.Choice] = true
		delta := `{}`
		if !w.chat {
			delta = `""`
		}
		w.more = e.Raw
		dst = w.chunk(dst, e.Choice, delta, e.Finish)
		w.more = nil
	case inference.EventUsage:
		if w.usage {
			return w.whole(dst, `,"choices":[],"usage":`+string(e.Usage))
		}
	case inference.EventRaw:
		w.raw = true
		if all := schema.FieldsOf(e.Raw); !w.usage && all.Get("usage") != nil && len(splice.ListOf(all.Get("choices"))) == 0 {
			return dst // many clients read the first choice of each chunk
		}
		return sse.Append(dst, "", e.Raw)
	}
	return dst
}

// End is part of Writer.
func (w *Chunks) End(dst []byte) ([]byte, error) {
	if !w.raw {
		for i := range max(w.choices, 1) {
			switch {
			case i > 0 && !w.begun[i] && !w.finished[i]:
				e := fault.New(fault.Invalid, "n is %d, but the model gave %d; leave n out, and ask several times for several answers", w.choices, i)
				e.Param = "n"
				return dst, e
			case !w.finished[i]:
				dst = w.Piece(dst, &inference.Event{Kind: inference.EventFinish, Choice: i, Finish: []byte(`"stop"`)})
			}
		}
	}
	return sse.Append(dst, "", []byte("[DONE]")), nil
}

// begin writes the role of a choice, once.
func (w *Chunks) begin(dst []byte, choice int) []byte {
	if w.begun[choice] {
		return dst
	}
	w.begun[choice] = true
	if !w.chat {
		return dst
	}
	return w.chunk(dst, choice, `{"role":"assistant","content":""}`, nil)
}

// chunk writes one chunk of a choice. finish nil: it goes on.
func (w *Chunks) chunk(dst []byte, choice int, delta string, finish []byte) []byte {
	if splice.KindOf(finish) != splice.String {
		finish = []byte("null")
	}
	name := "delta"
	if !w.chat {
		name = "text"
	}
	return w.whole(dst, `,"choices":[{"index":`+strconv.Itoa(choice)+`,"`+name+`":`+delta+`,"logprobs":null,"finish_reason":`+string(finish)+`}]`+w.noUsage()+string(w.more))
}

// noUsage is what chunks have beside their choices when the caller has asked for usage.
func (w *Chunks) noUsage() string {
	if w.usage {
		return `,"usage":null`
	}
	return ""
}

func (w *Chunks) whole(dst []byte, rest string) []byte {
	data := make([]byte, 0, len(w.head)+len(rest)+1)
	return sse.Append(dst, "", append(append(append(data, w.head...), rest...), '}'))
}

func callDelta(c *inference.ToolCall) string {
	text := `{"index":` + strconv.Itoa(c.Index)
	if c.ID != nil {
		text += `,"id":` + string(c.ID) + `,"type":"function"`
	}
	text += `,"function":{`
	if c.Name != nil {
		text += `"name":` + string(c.Name) + `,`
	}
	if c.Arguments == nil {
		return text + `"arguments":""}}`
	}
	return text + `"arguments":` + string(c.Arguments) + `}}`
}
