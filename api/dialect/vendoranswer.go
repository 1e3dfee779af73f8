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
func answerRaw(a *Asked, res *inference.Result) (members, error) {
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
	if given := all.str("object"); given != "" {
		kind = given
	}
	vendorHead(out, a, all, kind)
	for i, choice := range elements(all.get("choices")) {
		comma(out, i)
		out.text(`{"index":`)
		out.number(int64(i))
		vendorMessage(out, membersOf(choice))
	}
	out.text(`],"usage":{"prompt_tokens":`)
	usage := membersOf(all.get("usage"))
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
func vendorEmbeddings(out *Output, a *Asked, all members) {
	out.text(`{"object":"list","data":[`)
	for i, row := range elements(all.get("data")) {
		comma(out, i)
		out.text(`{"object":"embedding","embedding":`)
		out.orNull(membersOf(row).get("embedding"))
		out.text(`,"index":`)
		out.number(int64(i))
		out.text(`}`)
	}
	out.text(`],"model":`)
	vendorModel(out, a, all)
	out.text(`,"usage":{"prompt_tokens":`)
	counts(out, membersOf(all.get("usage")), "prompt_tokens", "total_tokens")
	out.text(`}}`)
}

// vendorTexts writes completions.
func vendorTexts(out *Output, a *Asked, all members) {
	vendorHead(out, a, all, "text_completion")
	for i, choice := range elements(all.get("choices")) {
		comma(out, i)
		of := membersOf(choice)
		out.text(`{"index":`)
		out.number(int64(i))
		out.text(`,"text":`)
		out.orNull(of.get("text"))
		out.text(`,"finish_reason":`)
		out.orNull(of.get("finish_reason"))
		out.text(`}`)
	}
	out.text(`],"usage":{"prompt_tokens":`)
	counts(out, membersOf(all.get("usage")), "prompt_tokens", "completion_tokens", "total_tokens")
	out.text(`}}`)
}

// vendorMessage writes the rest of a choice of a chat.
func vendorMessage(out *Output, choice members) {
	said := membersOf(choice.get("message"))
	out.text(`,"message":{"role":`)
	if role := said.get("role"); role != nil {
		out.raw(role)
	} else {
		out.text(`"assistant"`)
	}
	out.text(`,"content":`)
	out.orNull(said.get("content"))
	out.text(`,"tool_calls":`)
	out.orNull(said.get("tool_calls"))
	out.text(`,"refusal":`)
	out.orNull(said.get("refusal"))
	out.text(`},"finish_reason":`)
	out.orNull(choice.get("finish_reason"))
	out.text(`}`)
}

// vendorHead begins a completion object, up to its choices.
func vendorHead(out *Output, a *Asked, all members, kind string) {
	out.text(`{"id":`)
	out.orNull(all.get("id"))
	out.text(`,"object":`)
	out.quoted(kind)
	out.text(`,"created":`)
	if created := bytes.Trim(all.get("created"), `"`); splice.KindOf(created) == splice.Number {
		out.raw(created)
	} else {
		out.number(a.created.Unix())
	}
	out.text(`,"model":`)
	vendorModel(out, a, all)
	out.text(`,"choices":[`)
}

// vendorModel writes the model that the vendor names, else the route's.
func vendorModel(out *Output, a *Asked, all members) {
	if model := all.get("model"); splice.KindOf(model) == splice.String {
		out.raw(model)
		return
	}
	out.quoted(a.model())
}

// counts writes the numbers of a usage, with the names but the first before them.
func counts(out *Output, usage members, names ...string) {
	for i, name := range names {
		if i > 0 {
			out.text(`,"` + name + `":`)
		}
		out.orNull(usage.get(name))
	}
}

// answerVendor writes an answer as MLflow 2.8 does.
func (d *routesDialect) answerVendor(out *Output, a *Asked, res *inference.Result) error {
	all, err := answerRaw(a, res)
	if err != nil {
		return err
	}
	usage := membersOf(all.get("usage"))
	said := usage.get("completion_tokens")
	switch a.Request.Type {
	case inference.Embeddings:
		said = []byte("0")
		out.text(`{"embeddings":[`)
		for i, row := range elements(all.get("data")) {
			comma(out, i)
			out.orNull(membersOf(row).get("embedding"))
		}
	case inference.Completions, inference.Chat, inference.Raw:
		out.text(`{"candidates":[`)
		for i, choice := range elements(all.get("choices")) {
			comma(out, i)
			candidate(out, a, membersOf(choice))
		}
	}
	out.text(`],"metadata":{"input_tokens":`)
	out.orNull(usage.get("prompt_tokens"))
	out.text(`,"output_tokens":`)
	out.orNull(said)
	out.text(`,"total_tokens":`)
	out.orNull(usage.get("total_tokens"))
	out.text(`,"model":`)
	vendorModel(out, a, all)
	out.text(`,"route_type":`)
	out.quoted(string(a.Route.Type))
	out.text(`}}`)
	return nil
}

// candidate writes one choice of a chat or of a completion.
func candidate(out *Output, a *Asked, choice members) {
	if a.Request.Type == inference.Completions {
		out.text(`{"text":`)
		out.orNull(choice.get("text"))
	} else {
		said := membersOf(choice.get("message"))
		out.text(`{"message":{"role":"assistant","content":`)
		out.orNull(said.get("content"))
		if calls := said.get("tool_calls"); calls != nil { // 2.8 had no word for them, and failed
			out.text(`,"tool_calls":`)
			out.raw(calls)
		}
		out.text(`}`)
	}
	out.text(`,"metadata":{"finish_reason":`)
	out.orNull(choice.get("finish_reason"))
	out.text(`}}`)
}
