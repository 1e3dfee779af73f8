package pieces

import (
	"strconv"

	"headrace/internal/splice"
	"headrace/internal/sse"
)

// Events writes the events of a response, and numbers them. The zero value is ready.
type Events struct{ next int }

// Write writes one event; rest are its members but for its type and its number.
func (w *Events) Write(dst []byte, kind, rest string) []byte {
	data := `{"type":"` + kind + `","sequence_number":` + strconv.Itoa(w.next) + `,` + rest + `}`
	w.next++
	return sse.Append(dst, kind, []byte(data))
}

// Item writes one whole item of an output, from added to done.
func (w *Events) Item(dst []byte, i int, raw []byte) []byte {
	of := membersOf(raw)
	at := `"item_id":` + quotedOr(of.get("id")) + `,"output_index":` + strconv.Itoa(i)
	switch of.str("type") {
	case "message":
		dst = w.added(dst, i, unfinished(of, [2]string{"content", "[]"}))
		for n, part := range elements(of.get("content")) {
			dst = w.part(dst, at+`,"content_index":`+strconv.Itoa(n), part)
		}
	case "function_call":
		dst = w.added(dst, i, unfinished(of, [2]string{"arguments", `""`}))
		arguments := quotedOr(of.get("arguments"))
		name := ""
		if n := of.get("name"); n != nil {
			name = `,"name":` + string(n)
		}
		dst = w.Write(dst, "response.function_call_arguments.delta", at+`,"delta":`+arguments)
		dst = w.Write(dst, "response.function_call_arguments.done", at+name+`,"arguments":`+arguments)
	default:
		dst = w.added(dst, i, string(raw))
	}
	return w.done(dst, i, string(raw))
}

// quotedOr is a text; an empty one for what is none.
func quotedOr(value []byte) string {
	if splice.KindOf(value) != splice.String {
		return `""`
	}
	return string(value)
}

func (w *Events) added(dst []byte, i int, item string) []byte {
	return w.Write(dst, "response.output_item.added", `"output_index":`+strconv.Itoa(i)+`,"item":`+item)
}

func (w *Events) done(dst []byte, i int, item string) []byte {
	return w.Write(dst, "response.output_item.done", `"output_index":`+strconv.Itoa(i)+`,"item":`+item)
}

// part writes one part of a message.
func (w *Events) part(dst []byte, at string, raw []byte) []byte {
	of := membersOf(raw)
	text := of.get("text")
	if of.str("type") != "output_text" || text == nil {
		dst = w.Write(dst, "response.content_part.added", at+`,"part":`+string(raw))
		return w.Write(dst, "response.content_part.done", at+`,"part":`+string(raw))
	}
	dst = w.Write(dst, "response.content_part.added", at+`,"part":`+unfinished(of, [2]string{"text", `""`}))
	dst = w.Write(dst, "response.output_text.delta", at+`,"delta":`+string(text)+`,"logprobs":[]`)
	dst = w.Write(dst, "response.output_text.done", at+`,"text":`+string(text)+`,"logprobs":[]`)
	return w.Write(dst, "response.content_part.done", at+`,"part":`+string(raw))
}

// unfinished is an object as it is before one of its members is there, and while it is being written.
func unfinished(of members, change [2]string) string {
	changes := [][2]string{change}
	if of.get("status") != nil {
		changes = append(changes, [2]string{"status", `"in_progress"`})
	}
	return with(of, changes...)
}
