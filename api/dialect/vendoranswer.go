package dialect

import (
	"bytes"
	"strings"

	"headrace/api/schema"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/splice"
)

// This file writes the answers of routes to vendors, which come in OpenAI's form, as MLflow's dialects have them.

// whole says that a result is an answer in OpenAI's form, and not made of items.
func whole(res *inference.Result) bool { return len(res.Items) == 0 && res.Body != nil }

// answerRaw is the body of an answer in OpenAI's form, taken apart.
func answerRaw(a *Asked, res *inference.Result) (splice.Fields, error) {
	all, err := schema.Members(res.Body)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "the answer to %s", a.Request.ID)
	}
	return all, nil
}

// orNull writes a value, and null for nil.
func (o *Output) orNull(value []byte) {
	if value == nil {
		o.text("null")
		return
	}
	o.raw(value)
}

// answerVendor writes an answer as MLflow 3 does: with the members that it declares, in its order.
func (d *endpointsDialect) answerVendor(out *Output, a *Asked, res *inference.Result) error {
	all, err := answerRaw(a, res)
	if err != nil {
		return err
	}
	switch a.Request.Type {
	case inference.Embeddings:
		vendorEmbeddings(out, a, all)
		return nil
	case inference.Completions:
		vendorTexts(out, a, all)
		return nil
	case inference.Chat, inference.Raw:
	}
	kind := "chat.completion"
	if given := all.Text("object"); given != "" {
		kind = given
	}
	vendorHead(out, a, all, kind)
	for i, choice := range splice.ListOf(all.Get("choices")) {
		comma(out, i)
		out.text(`{"index":`)
		out.number(int64(i))
		vendorMessage(out, schema.FieldsOf(choice))
	}
	out.text(`],"usage":{"prompt_tokens":`)
	usage := schema.FieldsOf(all.Get("usage"))
	counts(out, usage, "prompt_tokens", "completion_tokens", "total_tokens")
	for _, m := range usage {
		told := m.Key == "prompt_tokens" || m.Key == "completion_tokens" || m.Key == "total_tokens"
		if !told && (splice.KindOf(m.Value) != splice.Null || !strings.HasSuffix(m.Key, "_details")) {
			out.text(`,`)
			out.quoted(m.Key)
			out.text(`:`)
			out.raw(m.Value)
		}
	}
	out.text(`},"provider":`)
	out.quoted(a.Route.Provider)
	out.text(`}`)
	return nil
}

// vendorEmbeddings writes rows.
func vendorEmbeddings(out *Output, a *Asked, all splice.Fields) {
	out.text(`{"object":"list","data":[`)
	for i, row := range splice.ListOf(all.Get("data")) {
		comma(out, i)
		out.text(`{"object":"embedding","embedding":`)
		out.orNull(schema.FieldsOf(row).Get("embedding"))
		out.text(`,"index":`)
		out.number(int64(i))
		out.text(`}`)
	}
	out.text(`],"model":`)
	vendorModel(out, a, all)
	out.text(`,"usage":{"prompt_tokens":`)
	counts(out, schema.FieldsOf(all.Get("usage")), "prompt_tokens", "total_tokens")
	out.text(`}}`)
}

// vendorTexts writes completions.
func vendorTexts(out *Output, a *Asked, all splice.Fields) {
	vendorHead(out, a, all, "text_completion")
	for i, choice := range splice.ListOf(all.Get("choices")) {
		comma(out, i)
		of := schema.FieldsOf(choice)
		out.text(`{"index":`)
		out.number(int64(i))
		out.text(`,"text":`)
		out.orNull(of.Get("text"))
		out.text(`,"finish_reason":`)
		out.orNull(of.Get("finish_reason"))
		out.text(`}`)
	}
	out.text(`],"usage":{"prompt_tokens":`)
	counts(out, schema.FieldsOf(all.Get("usage")), "prompt_tokens", "completion_tokens", "total_tokens")
	out.text(`}}`)
}

// vendorMessage writes the rest of a choice of a chat.
func vendorMessage(out *Output, choice splice.Fields) {
	said := schema.FieldsOf(choice.Get("message"))
	out.text(`,"message":{"role":`)
	if role := said.Get("role"); role != nil {
		out.raw(role)
	} else {
		out.text(`"assistant"`)
	}
	out.text(`,"content":`)
	out.orNull(said.Get("content"))
	out.text(`,"tool_calls":`)
	out.orNull(said.Get("tool_calls"))
	out.text(`,"refusal":`)
	out.orNull(said.Get("refusal"))
	out.text(`},"finish_reason":`)
	out.orNull(choice.Get("finish_reason"))
	out.text(`}`)
}

// vendorHead begins a completion object, up to its choices.
func vendorHead(out *Output, a *Asked, all splice.Fields, kind string) {
	out.text(`{"id":`)
	out.orNull(all.Get("id"))
	out.text(`,"object":`)
	out.quoted(kind)
	out.text(`,"created":`)
	if created := bytes.Trim(all.Get("created"), `"`); splice.KindOf(created) == splice.Number {
		out.raw(created)
	} else {
		out.number(a.created.Unix())
	}
	out.text(`,"model":`)
	vendorModel(out, a, all)
	out.text(`,"choices":[`)
}

// vendorModel writes the model that the vendor names, else the route's.
func vendorModel(out *Output, a *Asked, all splice.Fields) {
	if model := all.Get("model"); splice.KindOf(model) == splice.String {
		out.raw(model)
		return
	}
	out.quoted(a.model())
}

// counts writes the numbers of a usage, with the names but the first before them.
func counts(out *Output, usage splice.Fields, names ...string) {
	for i, name := range names {
		if i > 0 {
			out.text(`,"` + name + `":`)
		}
		out.orNull(usage.Get(name))
	}
}

// answerVendor writes an answer as MLflow 2.8 does.
func (d *routesDialect) answerVendor(out *Output, a *Asked, res *inference.Result) error {
	all, err := answerRaw(a, res)
	if err != nil {
		return err
	}
	usage := schema.FieldsOf(all.Get("usage"))
	said := usage.Get("completion_tokens")
	switch a.Request.Type {
	case inference.Embeddings:
		said = []byte("0")
		out.text(`{"embeddings":[`)
		for i, row := range splice.ListOf(all.Get("data")) {
			comma(out, i)
			out.orNull(schema.FieldsOf(row).Get("embedding"))
		}
	case inference.Completions, inference.Chat, inference.Raw:
		out.text(`{"candidates":[`)
		for i, choice := range splice.ListOf(all.Get("choices")) {
			comma(out, i)
			candidate(out, a, schema.FieldsOf(choice))
		}
	}
	out.text(`],"metadata":{"input_tokens":`)
	out.orNull(usage.Get("prompt_tokens"))
	out.text(`,"output_tokens":`)
	out.orNull(said)
	out.text(`,"total_tokens":`)
	out.orNull(usage.Get("total_tokens"))
	out.text(`,"model":`)
	vendorModel(out, a, all)
	out.text(`,"route_type":`)
	out.quoted(string(a.Route.Type))
	out.text(`}}`)
	return nil
}

// candidate writes one choice of a chat or of a completion.
func candidate(out *Output, a *Asked, choice splice.Fields) {
	if a.Request.Type == inference.Completions {
		out.text(`{"text":`)
		out.orNull(choice.Get("text"))
	} else {
		said := schema.FieldsOf(choice.Get("message"))
		out.text(`{"message":{"role":"assistant","content":`)
		out.orNull(said.Get("content"))
		if calls := said.Get("tool_calls"); calls != nil { // 2.8 had no word for them, and failed
			out.text(`,"tool_calls":`)
			out.raw(calls)
		}
		out.text(`}`)
	}
	out.text(`,"metadata":{"finish_reason":`)
	out.orNull(choice.Get("finish_reason"))
	out.text(`}}`)
}
