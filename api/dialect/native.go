package dialect

import (
	"headrace/api/schema"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/splice"
)

// This file has the chat calls of models that take conversations. The request carries the call in OpenAI's form, and
// beside it, as long as the model may turn out to take one text, that text. The provider, which learns what the model
// takes, cleans the call, names what does not reach the model, and answers in OpenAI's form.

// readNative reads a chat call that passes as it is.
func (d *openAIDialect) readNative(a *Asked, o *schema.Object, fields schema.Fields) error {
	a.Request.Body = o.Append(nil, fields, "model", "stream", "stream_options")
	if a.Route.Native() {
		return nil
	}
	a.Request.Params = params(o, fields, d.unsaid(a)...)
	prompt, err := d.prompt(a.Route, declared(o, fields, "messages"))
	switch {
	case err == nil:
		a.Request.Items = [][]byte{prompt}
	case a.Route.Format == "", fault.CodeOf(err) != fault.Invalid:
		return err
	}
	return nil
}

// answerNative writes a chat completion: what the model told, and what clients need beside it. A usage is never made up.
func (d *openAIDialect) answerNative(out *Output, a *Asked, res *inference.Result) error {
	members, err := schema.Members(res.Body)
	if err != nil {
		return fault.Wrap(fault.Internal, err, "the answer to %s", a.Request.ID)
	}
	if err := enoughIn(a, splice.Fields(members).Get("choices")); err != nil {
		return err
	}
	kind := "chat.completion"
	if a.Request.Type == inference.Completions {
		kind = "text_completion"
	}
	heading(out, a, members, kind)
	for _, m := range members {
		if isHeading(m.Key) {
			continue
		}
		out.text(`,`)
		out.quoted(m.Key)
		out.text(`:`)
		out.raw(m.Value)
	}
	out.text(`}`)
	return nil
}

// heading begins a chat completion, or a chunk of one, with what the model told of it and what it did not.
func heading(out *Output, a *Asked, members []splice.Member, kind string) {
	out.text(`{"id":`)
	if id := splice.Fields(members).Get("id"); splice.KindOf(id) == splice.String && len(id) > 2 {
		out.raw(id)
	} else {
		out.quoted("chatcmpl-" + a.Request.ID)
	}
	out.text(`,"object":"` + kind + `","created":`)
	if created := splice.Fields(members).Get("created"); splice.KindOf(created) == splice.Number {
		out.raw(created)
	} else {
		out.number(a.created.Unix())
	}
	out.text(`,"model":`)
	if model := splice.Fields(members).Get("model"); splice.KindOf(model) == splice.String {
		out.raw(model)
	} else {
		out.quoted(a.model())
	}
}

func isHeading(key string) bool {
	return key == "id" || key == "object" || key == "created" || key == "model"
}

// enoughIn checks that a list has as many choices as n asked for.
func enoughIn(a *Asked, choices []byte) error {
	all, err := splice.Elements(choices)
	if err != nil {
		return fault.Wrap(fault.Internal, err, "the choices of %s", a.Request.ID)
	}
	if len(all) >= a.choices {
		return nil
	}
	e := fault.New(fault.Invalid, "n is %d, but the model gave %d; leave n out, and ask several times for several answers", a.choices, len(all))
	e.Param = "n"
	return e
}

// told is what a model said beside its texts; nil where it said nothing.
type told struct {
	usage  []byte
	finish [][]byte // for each text
}

func toldOf(res *inference.Result) told {
	if len(res.Items) == 0 || res.Body == nil {
		return told{}
	}
	members, err := schema.Members(res.Body)
	if err != nil {
		return told{}
	}
	t := told{usage: splice.Fields(members).Get("usage")}
	if finish, err := splice.Elements(splice.Fields(members).Get("finish_reasons")); err == nil && len(finish) == len(res.Items) {
		t.finish = finish
	}
	return t
}

// ended is why the i-th text ended.
func (t told) ended(i int) []byte {
	if i < len(t.finish) {
		return t.finish[i]
	}
	return []byte(`"stop"`)
}

// endedChoices writes the list of choices, with why each ended.
func endedChoices(out *Output, texts [][]byte, before, after string, t told) {
	out.text(`,"choices":[`)
	for i, text := range texts {
		comma(out, i)
		out.text(`{"index":`)
		out.number(int64(i))
		out.text(before)
		out.raw(text)
		out.text(after)
		out.raw(t.ended(i))
		out.text(`}`)
	}
	out.text(`]`)
}
