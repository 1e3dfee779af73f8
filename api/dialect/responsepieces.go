package dialect

import (
	"strconv"

	"headrace/api/schema"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/splice"
)

// responsePieces writes a response as its pieces come. Events of a model server that begin with response.created are complete
// and pass as they came. Others, as MLflow's AgentServer sends them, get what they lack: the beginning, items and parts that are
// added, numbers, and the end. Texts and calls out of other forms become items of their own.
type responsePieces struct {
	a      *Asked
	r      *response
	w      responseEvents
	begun  bool
	native bool // the model server's events are complete
	over   bool // and its last one has passed
	open   *openItem
	items  [][]byte // that are complete, for the last event
	held   int64    // bytes of items, and of what is open
}

// openItem is an item of the output that was added and is not done.
type openItem struct {
	id     []byte // raw
	call   *inference.ToolCall
	number int    // of a call, among the calls
	text   []byte // what has come of its text or its arguments, without quotes
}

// Pieces writes events of responses.
func (*responsesDialect) Pieces(a *Asked) PieceWriter {
	r := &response{status: "completed"}
	r.heading(a, nil)
	return &responsePieces{a: a, r: r}
}

// Write is part of PieceWriter.
func (p *responsePieces) Write(out *Output, piece *inference.Event) error {
	p.w.out = out
	if piece.Kind == inference.EventRaw {
		return p.raw(piece.Raw)
	}
	p.begin()
	switch piece.Kind {
	case inference.EventText:
		if piece.Choice > 0 {
			return nil // a response is one answer
		}
		return p.text(nil, piece.Text)
	case inference.EventCall:
		return p.call(piece.Call)
	case inference.EventFinish:
		if string(piece.Finish) == `"length"` {
			p.r.status = "incomplete"
		}
	case inference.EventUsage:
		p.r.usage = usageOfResponse(piece.Usage)
	case inference.EventRaw:
	}
	return nil
}

// End is part of PieceWriter.
func (p *responsePieces) End(out *Output) error {
	p.w.out = out
	if p.native {
		if !p.over {
			return fault.New(fault.UpstreamUnavailable, "the model server ended its stream before the response was completed")
		}
		return nil
	}
	p.begin()
	p.close(nil)
	if len(p.items) == 0 {
		return fault.New(fault.UpstreamBadResponse, "the model's response has no output")
	}
	last := "response.completed"
	if p.r.status == "incomplete" {
		last = "response.incomplete"
	}
	p.r.remainder(nil)
	p.w.write(last, `"response":`+string(p.r.object(p.r.status, p.items, p.r.usage)))
	return nil
}

// begin writes the first events, once.
func (p *responsePieces) begin() {
	if p.begun {
		return
	}
	p.begun = true
	p.r.remainder(nil)
	for _, kind := range []string{"response.created", "response.in_progress"} {
		p.w.write(kind, `"response":`+string(p.r.object("in_progress", nil, nil)))
	}
}

// raw takes an event of a model server that has OpenAI's form.
func (p *responsePieces) raw(event []byte) error {
	of := schema.FieldsOf(event)
	kind := of.Text("type")
	if kind == "response.created" && !p.begun {
		p.begun, p.native = true, true
	}
	if p.native {
		p.over = p.over || kind == "response.completed" || kind == "response.incomplete"
		p.w.out.event(kind, event)
		return nil
	}
	p.begin()
	switch kind {
	case "response.output_text.delta":
		return p.text(of.Get("item_id"), of.Get("delta"))
	case "response.output_item.done":
		return p.done(of.Get("item"))
	case "response.completed", "response.incomplete":
		response := schema.FieldsOf(of.Get("response"))
		p.r.usage = response.Get("usage")
		if kind == "response.incomplete" {
			p.r.status = "incomplete"
		}
	case "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added", "response.content_part.done", "response.output_text.done":
		// they are made of the events above
	default:
		p.other(kind, of)
	}
	return nil
}

// other passes an event that nothing is known of, with its number and the place of its item.
func (p *responsePieces) other(kind string, of splice.Fields) {
	rest := strconv.AppendInt([]byte(`"output_index":`), int64(len(p.items)), 10)
	for _, m := range of {
		if m.Key != "type" && m.Key != "sequence_number" && m.Key != "output_index" {
			rest = append(append(schema.AppendString(append(rest, ','), m.Key), ':'), m.Value...)
		}
	}
	p.w.write(kind, string(rest))
}

// hold counts bytes that are kept for the last event.
func (p *responsePieces) hold(n int) error {
	p.held += int64(n)
	if most := p.a.Route.MaxReply; most > 0 && p.held > most {
		return fault.New(fault.UpstreamBadResponse, "the model's answer has more than %d bytes, the limit that worker.max_reply sets; raise it, or ask for less at a time", most)
	}
	return nil
}

// at is the place of the open item.
func (p *responsePieces) at() string {
	return `"item_id":` + string(p.open.id) + `,"output_index":` + strconv.Itoa(len(p.items))
}

// text writes a piece of a message's text. id nil: of the message that is open, or of a new one.
func (p *responsePieces) text(id, delta []byte) error {
	if splice.KindOf(delta) != splice.String {
		return nil
	}
	if p.open != nil && (p.open.call != nil || id != nil && string(p.open.id) != string(id)) {
		p.close(nil)
	}
	if p.open == nil {
		if splice.KindOf(id) != splice.String {
			id = p.newID("msg_")
		}
		p.open = &openItem{id: id}
		p.w.added(len(p.items), `{"id":`+string(id)+`,"type":"message","status":"in_progress","role":"assistant","content":[]}`)
		p.w.write("response.content_part.added", p.at()+`,"content_index":0,"part":{"type":"output_text","text":"","annotations":[]}`)
	}
	p.open.text = append(p.open.text, inner(delta)...)
	p.w.write("response.output_text.delta", p.at()+`,"content_index":0,"delta":`+string(delta)+`,"logprobs":[]`)
	return p.hold(len(delta))
}

// call writes a call of a tool, or a piece of one.
func (p *responsePieces) call(c *inference.ToolCall) error {
	if p.open != nil && (p.open.call == nil || p.open.number != c.Index) {
		p.close(nil)
	}
	if p.open == nil {
		of := &inference.ToolCall{ID: c.ID, Name: c.Name}
		if of.ID == nil {
			of.ID = p.newID("call_")
		}
		if of.Name == nil {
			of.Name = []byte(`""`)
		}
		p.open = &openItem{id: p.newID("fc_"), call: of, number: c.Index}
		p.w.added(len(p.items), p.callItem(`""`, "in_progress"))
	}
	if splice.KindOf(c.Arguments) != splice.String || len(c.Arguments) <= len(`""`) {
		return nil
	}
	p.open.text = append(p.open.text, inner(c.Arguments)...)
	p.w.write("response.function_call_arguments.delta", p.at()+`,"delta":`+string(c.Arguments))
	return p.hold(len(c.Arguments))
}

// callItem is the open call as an item.
func (p *responsePieces) callItem(arguments, status string) string {
	of := p.open.call
	return `{"id":` + string(p.open.id) + `,"type":"function_call","status":"` + status + `","call_id":` + string(of.ID) +
		`,"name":` + string(of.Name) + `,"arguments":` + arguments + `}`
}

// done takes an item that is complete: the open one, or another.
func (p *responsePieces) done(item []byte) error {
	if schema.FieldsOf(item) == nil {
		return nil
	}
	of := schema.FieldsOf(item)
	if p.open != nil && of.Text("type") == "message" && (of.Get("id") == nil || string(of.Get("id")) == string(p.open.id)) {
		p.close(item)
		return p.hold(len(item))
	}
	p.close(nil)
	item = p.r.item(p.a, len(p.items), item)
	p.w.item(len(p.items), item)
	p.items = append(p.items, item)
	return p.hold(len(item))
}

// close ends the open item. item is what the model says that it is; nil: what has come of it.
func (p *responsePieces) close(item []byte) {
	if p.open == nil {
		return
	}
	text := `"` + string(p.open.text) + `"`
	switch {
	case p.open.call != nil:
		if len(p.open.text) == 0 {
			text = `"{}"`
		}
		item = []byte(p.callItem(text, "completed"))
		p.w.write("response.function_call_arguments.done", p.at()+`,"name":`+string(p.open.call.Name)+`,"arguments":`+text)
	default:
		part := `{"type":"output_text","text":` + text + `,"annotations":[]}`
		if item == nil {
			item = []byte(`{"id":` + string(p.open.id) + `,"type":"message","status":"completed","role":"assistant","content":[` + part + `]}`)
		} else if parts := splice.ListOf(schema.FieldsOf(item).Get("content")); len(parts) > 0 {
			part = string(parts[0])
		}
		p.w.write("response.output_text.done", p.at()+`,"content_index":0,"text":`+text+`,"logprobs":[]`)
		p.w.write("response.content_part.done", p.at()+`,"content_index":0,"part":`+part)
		item = p.r.item(p.a, len(p.items), item)
	}
	p.w.write("response.output_item.done", `"output_index":`+strconv.Itoa(len(p.items))+`,"item":`+string(item))
	p.items = append(p.items, item)
	p.open = nil
}

// newID is the raw id of the next item.
func (p *responsePieces) newID(prefix string) []byte {
	return schema.AppendString(nil, prefix+p.a.Request.ID+"_"+strconv.Itoa(len(p.items)))
}

// inner is a raw string without its quotes.
func inner(raw []byte) []byte { return raw[1 : len(raw)-1] }
