package dialect

import (
	"strconv"

	"headrace/api/schema"
	"headrace/internal/inference"
	"headrace/internal/splice"
)

// Stream writes a whole response as the events that OpenAI's clients need to build it: created, each item with its parts
// from added to done, and completed.
func (d *responsesDialect) Stream(out *Output, a *Asked, res *inference.Result) error {
	r, err := responseOf(a, res)
	if err != nil {
		return err
	}
	w := responseEvents{out: out}
	w.write("response.created", `"response":`+string(r.object("in_progress", nil, nil)))
	w.write("response.in_progress", `"response":`+string(r.object("in_progress", nil, nil)))
	for i, item := range r.items {
		w.item(i, item)
	}
	last := "response.completed"
	switch r.status {
	case "incomplete", "failed":
		last = "response." + r.status
	}
	w.write(last, `"response":`+string(r.object(r.status, r.items, r.usage)))
	return nil
}

// Broken writes an error object: clients that only iterate over events would not notice response.failed.
func (*responsesDialect) Broken(out *Output, _ *Asked, body []byte) { out.event("error", body) }

// responseEvents numbers the events of a response.
type responseEvents struct {
	out  *Output
	next int
}

func (w *responseEvents) write(kind, rest string) {
	data := `{"type":"` + kind + `","sequence_number":` + strconv.Itoa(w.next) + `,` + rest + `}`
	w.next++
	w.out.event(kind, []byte(data))
}

// item writes one item of an output, from added to done.
func (w *responseEvents) item(i int, raw []byte) {
	of := schema.FieldsOf(raw)
	id := orText(of.Get("id"), `""`)
	at := `"item_id":` + id + `,"output_index":` + strconv.Itoa(i)
	kind := of.Text("type")
	switch kind {
	case "message":
		w.added(i, without(of, "content", "[]"))
		for n, part := range splice.ListOf(of.Get("content")) {
			w.part(at+`,"content_index":`+strconv.Itoa(n), part)
		}
	case "function_call":
		w.added(i, without(of, "arguments", `""`))
		arguments, name := orText(of.Get("arguments"), `"{}"`), orText(of.Get("name"), `""`)
		w.write("response.function_call_arguments.delta", at+`,"delta":`+arguments)
		w.write("response.function_call_arguments.done", at+`,"name":`+name+`,"arguments":`+arguments)
	default:
		w.added(i, string(raw))
	}
	w.write("response.output_item.done", `"output_index":`+strconv.Itoa(i)+`,"item":`+string(raw))
}

// orText is a raw value; instead of one that is absent, another.
func orText(value []byte, instead string) string {
	if value == nil {
		return instead
	}
	return string(value)
}

func (w *responseEvents) added(i int, item string) {
	w.write("response.output_item.added", `"output_index":`+strconv.Itoa(i)+`,"item":`+item)
}

// part writes one part of a message.
func (w *responseEvents) part(at string, raw []byte) {
	of := schema.FieldsOf(raw)
	text := of.Get("text")
	if of.Text("type") != "output_text" || text == nil {
		w.write("response.content_part.added", at+`,"part":`+string(raw))
		w.write("response.content_part.done", at+`,"part":`+string(raw))
		return
	}
	w.write("response.content_part.added", at+`,"part":`+without(of, "text", `""`))
	w.write("response.output_text.delta", at+`,"delta":`+string(text)+`,"logprobs":[]`)
	w.write("response.output_text.done", at+`,"text":`+string(text)+`,"logprobs":[]`)
	w.write("response.content_part.done", at+`,"part":`+string(raw))
}

// without is an object as it is before one of its members is there, and while it is being written.
func without(of splice.Fields, key, instead string) string {
	text := []byte("{")
	for _, m := range of {
		if len(text) > 1 {
			text = append(text, ',')
		}
		value := string(m.Value)
		switch m.Key {
		case key:
			value = instead
		case "status":
			value = `"in_progress"`
		}
		text = append(append(schema.AppendString(text, m.Key), ':'), value...)
	}
	return string(append(text, '}'))
}
