package dialect

import (
	"strconv"

	"headrace/internal/inference"
)

var _ Streamer = (*endpointsDialect)(nil)

// Broken writes an error object, which ends the stream without "[DONE]".
func (*endpointsDialect) Broken(out *Output, _ *Asked, body []byte) { out.event("", body) }

// Stream writes an answer in the chunks of MLflow 3: data alone, without names of events, members that say nothing as null,
// and the usage at the end unless the caller does not want it. MLflow 3.18 ends a stream with "[DONE]", and so do OpenAI's
// clients expect it.
func (*endpointsDialect) Stream(out *Output, a *Asked, res *inference.Result) error {
	events, _, err := (&openAIDialect{}).events(a, res)
	if err != nil {
		return err
	}
	all, err := answerRaw(a, res)
	if err != nil {
		return err
	}
	var top Output
	kind := "chat.completion.chunk"
	if a.Request.Type == inference.Completions {
		kind = "text_completion_chunk"
	}
	heading(&top, a, all, kind)
	w := vendorChunks{out: out, a: a, head: string(top.buf), begun: make(map[int]bool)}
	for i := range events {
		w.write(&events[i])
	}
	out.event("", []byte(done))
	return nil
}

// vendorChunks writes events as MLflow's chunks.
type vendorChunks struct {
	out   *Output
	a     *Asked
	head  string
	begun map[int]bool // choices that have their role
}

func (w *vendorChunks) write(e *inference.Event) {
	switch e.Kind {
	case inference.EventText:
		w.chunk(e.Choice, string(e.Text), "null", nil)
	case inference.EventCall:
		w.chunk(e.Choice, "null", "["+callDelta(e.Call)+"]", nil)
	case inference.EventFinish:
		w.chunk(e.Choice, "null", "null", e.Finish)
	case inference.EventUsage:
		if w.a.usage {
			w.whole(`,"choices":[],"usage":` + string(e.Usage))
		}
	case inference.EventRaw: // not MLflow's
	}
}

// chunk writes one chunk of a choice. finish nil: it goes on.
func (w *vendorChunks) chunk(choice int, text, calls string, finish []byte) {
	if finish == nil {
		finish = []byte("null")
	}
	head := `,"choices":[{"index":` + strconv.Itoa(choice) + `,"finish_reason":` + string(finish)
	if w.a.Request.Type == inference.Completions {
		if text == "null" {
			text = `""`
		}
		w.whole(head + `,"text":` + text + `}],"usage":null`)
		return
	}
	role := "null"
	if !w.begun[choice] {
		w.begun[choice], role = true, `"assistant"`
	}
	w.whole(head + `,"delta":{"role":` + role + `,"content":` + text + `,"tool_calls":` + calls + `}}],"usage":null`)
}

func (w *vendorChunks) whole(rest string) {
	var chunk Output
	chunk.text(w.head)
	chunk.text(rest)
	chunk.text(`,"provider":`)
	chunk.quoted(w.a.Route.Provider)
	chunk.text(`}`)
	w.out.event("", chunk.buf)
}
