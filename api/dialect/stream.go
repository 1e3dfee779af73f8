package dialect

import (
	"headrace/api/dialect/pieces"
	"headrace/api/schema"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/splice"
	"headrace/internal/sse"
)

// A Streamer is a dialect that has streams.
type Streamer interface {
	// Stream writes a whole answer as the stream of it: the same events that a model's own stream would bring, each once.
	Stream(out *Output, a *Asked, res *inference.Result) error
	// Broken writes the event that ends a stream after an error; body is the error in the dialect's form. No client takes a
	// stream that ends so for a complete answer.
	Broken(out *Output, a *Asked, body []byte)
}

// A PieceStreamer is a Streamer that can write answers that come in pieces.
type PieceStreamer interface {
	Streamer
	// Pieces makes a writer for one answer.
	Pieces(a *Asked) PieceWriter
}

// A PieceWriter writes one answer as its pieces come. It is used by one goroutine. What it writes must be sent before the next
// piece is written.
type PieceWriter interface {
	// Write writes a piece. An error is a *fault.Error and ends the answer.
	Write(out *Output, piece *inference.Event) error
	// End writes the end of an answer that is complete.
	End(out *Output) error
}

var (
	_ PieceStreamer = (*openAIDialect)(nil)
	_ PieceStreamer = (*responsesDialect)(nil)
)

// event adds one event to a stream.
func (o *Output) event(name string, data []byte) { o.buf = sse.Append(o.buf, name, data) }

// Broken writes an error object.
func (*openAIDialect) Broken(out *Output, _ *Asked, body []byte) { out.event("", body) }

// Stream writes chunks: for each choice its role, its text and calls, and why it ended; then the usage, when the caller
// wants it and the model told it.
func (d *openAIDialect) Stream(out *Output, a *Asked, res *inference.Result) error {
	events, head, err := d.events(a, res)
	if err != nil {
		return err
	}
	w := pieces.NewChunks(head, a.Request.Type == inference.Chat, a.usage, 0)
	for i := range events {
		out.buf = w.Piece(out.buf, &events[i])
	}
	out.buf, err = w.End(out.buf)
	return err
}

// written writes an answer's pieces with a writer of package pieces.
type written struct{ writer pieces.Writer }

// Write is part of PieceWriter.
func (w written) Write(out *Output, piece *inference.Event) error {
	out.buf = w.writer.Piece(out.buf, piece)
	return nil
}

// End is part of PieceWriter.
func (w written) End(out *Output) (err error) {
	out.buf, err = w.writer.End(out.buf)
	return err //nolint:wrapcheck // it is a fault
}

// events takes a whole answer apart. head is the beginning that all chunks share.
func (d *openAIDialect) events(a *Asked, res *inference.Result) (events []inference.Event, head []byte, err error) {
	if whole(res) {
		return wholeEvents(a, res)
	}
	var top Output
	if err := enoughChoices(a, res); err != nil {
		return nil, nil, err
	}
	if a.Request.Type == inference.Chat {
		heading(&top, a, nil, "chat.completion.chunk")
	} else {
		headOf(&top, a)
	}
	told := toldOf(res)
	for i, text := range res.Items {
		events = append(events, inference.Event{Choice: i, Text: text}, inference.Event{Kind: inference.EventFinish, Choice: i, Finish: told.ended(i)})
	}
	if told.usage != nil {
		events = append(events, inference.Event{Kind: inference.EventUsage, Usage: told.usage})
	}
	return events, top.buf, nil
}

// wholeEvents takes an answer in OpenAI's form apart.
func wholeEvents(a *Asked, res *inference.Result) (events []inference.Event, head []byte, err error) {
	members, err := schema.Members(res.Body)
	if err != nil {
		return nil, nil, fault.Wrap(fault.Internal, err, "the answer to %s", a.Request.ID)
	}
	if err := enoughIn(a, splice.Fields(members).Get("choices")); err != nil {
		return nil, nil, err
	}
	var top Output
	kind := "chat.completion.chunk"
	if a.Request.Type == inference.Completions {
		kind = "text_completion"
	}
	heading(&top, a, members, kind)
	for i, choice := range splice.ListOf(splice.Fields(members).Get("choices")) {
		events = append(events, choiceEvents(i, schema.FieldsOf(choice))...)
	}
	if usage := splice.Fields(members).Get("usage"); usage != nil {
		events = append(events, inference.Event{Kind: inference.EventUsage, Usage: usage})
	}
	for i := len(events) - 1; i >= 0; i-- {
		if events[i].Kind == inference.EventFinish {
			events[i].Raw = extras(members) // a chunk of their own would have no choices, which many clients read first
			break
		}
	}
	return events, top.buf, nil
}

// Pieces writes chunks. Those of a model server that has OpenAI's form pass as they came.
func (*openAIDialect) Pieces(a *Asked) PieceWriter {
	var top Output
	chat := a.Request.Type == inference.Chat
	if chat {
		heading(&top, a, nil, "chat.completion.chunk")
	} else {
		headOf(&top, a)
	}
	return written{pieces.NewChunks(top.buf, chat, a.usage, a.choices)}
}

func headOf(out *Output, a *Asked) { head(out, a, `"cmpl-`+a.Request.ID+`"`, "text_completion") }

// choiceEvents are the events of one choice of a chat completion, or of a completion.
func choiceEvents(i int, choice splice.Fields) []inference.Event {
	said := schema.FieldsOf(choice.Get("message"))
	var events []inference.Event
	for _, text := range [][]byte{said.Get("content"), choice.Get("text")} {
		if text != nil {
			events = append(events, inference.Event{Choice: i, Text: text})
		}
	}
	for n, call := range splice.ListOf(said.Get("tool_calls")) {
		of := schema.FieldsOf(call)
		function := schema.FieldsOf(of.Get("function"))
		events = append(events, inference.Event{Kind: inference.EventCall, Choice: i, Call: &inference.ToolCall{
			Index: n, ID: of.Get("id"), Name: function.Get("name"), Arguments: function.Get("arguments"),
		}})
	}
	return append(events, inference.Event{Kind: inference.EventFinish, Choice: i, Finish: choice.Get("finish_reason")})
}

// extras are the members of an answer that are not OpenAI's: custom_outputs, and the run of an agent.
func extras(all splice.Fields) []byte {
	var o Output
	for _, m := range all {
		if m.Key == "custom_outputs" || m.Key == "messages" || m.Key == "output" {
			o.text(`,`)
			o.quoted(m.Key)
			o.text(`:`)
			o.buf = append(o.buf, m.Value...)
		}
	}
	return o.buf
}
