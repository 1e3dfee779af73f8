package dialect

import (
	"time"

	"headrace/api/schema"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/splice"
)

// routesDialect is the body form of MLflow 2.5 to 2.8: text, candidates.
type routesDialect struct {
	completions, chat, embeddings *schema.Object
	message                       *schema.Object
	vendor                        *vendorForms
}

func newRoutesDialect() *routesDialect {
	one := &schema.Object{Fields: []schema.Field{required("role", schema.String), required("content", schema.String)}}
	return &routesDialect{
		completions: &schema.Object{Open: true, Fields: append(routesParams(), required("prompt", schema.String))},
		chat:        &schema.Object{Open: true, Fields: append(routesParams(), required("messages", messages(one)))},
		embeddings: &schema.Object{Open: true, Fields: []schema.Field{required("text", schema.Union(
			schema.Branch{Name: "str", Rule: schema.String},
			schema.Branch{Name: "list[str]", Rule: schema.List(schema.String, 0)},
		))}},
		message: one, vendor: newRoutesVendor(),
	}
}

// Read checks a body of MLflow 2.5 to 2.8.
func (d *routesDialect) Read(route *inference.Route, body Body) (*Asked, error) {
	if route.Vendor != nil {
		return d.vendor.read(route, body)
	}
	switch route.Type {
	case inference.Completions:
		return readCall(route, body, form{object: d.completions, item: "prompt"})
	case inference.Chat:
		return readCall(route, body, form{object: d.chat, item: "messages", message: d.message})
	case inference.Embeddings:
		return readCall(route, body, form{object: d.embeddings, item: "text"})
	case inference.Raw:
		return readRaw(route, body)
	}
	return nil, unknownType(route)
}

// endpointsDialect is the body form of MLflow 2.9 and later, with the parameters of 3.17.2: input, choices.
type endpointsDialect struct {
	completions, chat, embeddings *schema.Object
	message                       *schema.Object
	vendor                        *vendorForms
}

func newEndpointsDialect() *endpointsDialect {
	one := message()
	return &endpointsDialect{
		completions: &schema.Object{Open: true, Fields: append(endpointsParams(), required("prompt", schema.String))},
		chat: &schema.Object{Open: true, Fields: append(endpointsParams(),
			required("messages", messages(one)), optional("tools", tools()), optional("tool_choice", toolChoice()))},
		embeddings: &schema.Object{Open: true, Fields: []schema.Field{required("input", textsOrTokens())}},
		message:    one, vendor: newEndpointsVendor(),
	}
}

// textsOrTokens accepts what can be embedded: a text, or a list of texts, of token ids, or of lists of them.
func textsOrTokens() schema.Rule {
	return schema.Union(
		schema.Branch{Name: "str", Rule: schema.String},
		schema.Branch{Name: "list[str]", Rule: schema.List(schema.String, 0)},
		schema.Branch{Name: "list[int]", Rule: schema.List(schema.Integer, 0)},
		schema.Branch{Name: "list[list[int]]", Rule: schema.List(schema.List(schema.Integer, 0), 0)},
	)
}

// Read checks a body of MLflow 2.9 and later.
func (d *endpointsDialect) Read(route *inference.Route, body Body) (*Asked, error) {
	if route.Vendor != nil {
		return d.vendor.read(route, body)
	}
	switch route.Type {
	case inference.Completions:
		return readCall(route, body, form{object: d.completions, item: "prompt", streams: true})
	case inference.Chat:
		return readCall(route, body, form{object: d.chat, item: "messages", message: d.message, streams: true})
	case inference.Embeddings:
		return readCall(route, body, form{object: d.embeddings, item: "input"})
	case inference.Raw:
		return readRaw(route, body)
	}
	return nil, unknownType(route)
}

func unknownType(route *inference.Route) error {
	return fault.New(fault.Internal, "the route %s has the unknown type %q", route.Name, route.Type)
}

// form is how one type of call is written in one of MLflow's dialects.
type form struct {
	object  *schema.Object
	item    string         // the member that holds what the model is asked
	message *schema.Object // chat: one message; the item is a list of them
	streams bool           // the member stream asks for a stream
}

// readCall checks a body against its form. The item becomes the request's items, the rest its params.
func readCall(route *inference.Route, body Body, f form) (*Asked, error) {
	fields, err := check(f.object, body)
	if err != nil {
		return nil, err
	}
	a := &Asked{Route: route, created: time.Now(), Request: &inference.Request{Route: route.Name, Type: route.Type}}
	item := declared(f.object, fields, f.item)
	if f.streams && string(declared(f.object, fields, "stream")) == "true" {
		a.Refused = noStream(route)
		return a, nil
	}
	a.Request.Params = params(f.object, fields, f.item)
	if f.message == nil {
		a.Request.Items = itemsOf(item)
		return a, nil
	}
	turns, err := splice.Elements(item)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "messages")
	}
	if len(turns) > 1 {
		a.Refused = fault.New(fault.Invalid, "MLflow chat models are only capable of processing a single query at a time. "+
			"The request submitted consists of %d queries.", len(turns))
		return a, nil
	}
	a.Request.Items, a.Refused = contentOf(f.message, turns[0])
	return a, nil
}

// contentOf is the one item of a single message.
func contentOf(one *schema.Object, turn []byte) ([][]byte, error) {
	var c schema.Check
	text := declared(one, one.Check(&c, turn), "content")
	if text == nil {
		return nil, invalid([]fault.Issue{{
			Loc: []any{"messages", 0, "content"}, Type: "missing", Msg: "Field required: a message without content asks nothing", In: turn,
		}})
	}
	return [][]byte{text}, nil
}

func noStream(route *inference.Route) error {
	kind := "completions"
	if route.Type == inference.Chat {
		kind = "chat"
	}
	e := fault.New(fault.NotImplemented, "The %s streaming route is not implemented for MLflow Model Serving models.", kind)
	e.Param = "stream"
	return e
}

// declared is what stands for the declared member name; nil when it is absent or null.
func declared(o *schema.Object, fields schema.Fields, name string) []byte {
	for i := range o.Fields {
		if o.Fields[i].Name == name {
			return fields.Declared[i]
		}
	}
	return nil
}

// params is the object of all members but those named; nil when there are none.
func params(o *schema.Object, fields schema.Fields, without ...string) []byte {
	size := 2
	for i, value := range fields.Declared {
		size += len(value) + len(o.Fields[i].Name) + 4
	}
	for _, m := range fields.Extra {
		size += len(m.Value) + len(m.Key) + 4
	}
	object := o.Append(make([]byte, 0, min(size, 1<<10)), fields, without...)
	if len(object) == len("{}") {
		return nil
	}
	return object
}

// itemsOf is the elements of a checked list, or the one value that is none.
func itemsOf(item []byte) [][]byte {
	if splice.KindOf(item) != splice.Array {
		return [][]byte{item}
	}
	items, err := splice.Elements(item)
	if err != nil {
		return [][]byte{item} // it was checked before
	}
	return items
}

// Answer writes a reply of MLflow 2.5 to 2.8.
func (d *routesDialect) Answer(out *Output, a *Asked, res *inference.Result) error {
	if a.Request.Type != inference.Raw && whole(res) {
		return d.answerVendor(out, a, res)
	}
	switch a.Request.Type {
	case inference.Raw:
		out.raw(res.Body)
		return nil
	case inference.Completions:
		out.text(`{"candidates":[`)
		for i, text := range res.Items {
			comma(out, i)
			out.text(`{"text":`)
			out.raw(text)
			out.text(`,"metadata":{}}`)
		}
		out.text(`]`)
	case inference.Chat:
		out.text(`{"candidates":[`)
		for i, text := range res.Items {
			comma(out, i)
			out.text(`{"message":{"role":"assistant","content":`)
			out.raw(text)
			out.text(`},"metadata":{"finish_reason":null}}`)
		}
		out.text(`]`)
	case inference.Embeddings:
		out.text(`{"embeddings":[`)
		for i, row := range res.Items {
			comma(out, i)
			out.raw(row)
		}
		out.text(`]`)
	}
	out.text(`,"metadata":{"input_tokens":null,"output_tokens":null,"total_tokens":null,"model":`)
	out.quoted(a.model())
	out.text(`,"route_type":`)
	out.quoted(string(a.Route.Type))
	out.text(`}}`)
	return nil
}

// Answer writes a reply of MLflow 2.9 and later.
func (d *endpointsDialect) Answer(out *Output, a *Asked, res *inference.Result) error {
	if a.Request.Type != inference.Raw && whole(res) {
		return d.answerVendor(out, a, res)
	}
	switch a.Request.Type {
	case inference.Raw:
		out.raw(res.Body)
	case inference.Completions:
		head(out, a, "null", "text_completion")
		choices(out, res.Items, `,"text":`, `,"finish_reason":null}`)
		out.text(`,"usage":{"prompt_tokens":null,"completion_tokens":null,"total_tokens":null}}`)
	case inference.Chat:
		head(out, a, "null", "chat.completion")
		choices(out, res.Items, `,"message":{"role":"assistant","content":`, `,"tool_calls":null,"refusal":null},"finish_reason":null}`)
		out.text(`,"usage":{"prompt_tokens":null,"completion_tokens":null,"total_tokens":null},"provider":`)
		out.quoted(a.Route.Provider)
		out.text(`}`)
	case inference.Embeddings:
		out.text(`{"object":"list","data":[`)
		for i, row := range res.Items {
			comma(out, i)
			out.text(`{"object":"embedding","embedding":`)
			out.raw(row)
			out.text(`,"index":`)
			out.number(int64(i))
			out.text(`}`)
		}
		out.text(`],"model":`)
		out.quoted(a.model())
		out.text(`,"usage":{"prompt_tokens":null,"total_tokens":null}}`)
	}
	return nil
}

func comma(out *Output, i int) {
	if i > 0 {
		out.text(",")
	}
}

// head begins a completion object; id is JSON.
func head(out *Output, a *Asked, id, kind string) {
	out.text(`{"id":` + id + `,"object":"` + kind + `","created":`)
	out.number(a.created.Unix())
	out.text(`,"model":`)
	out.quoted(a.model())
}

// choices writes the list of choices; before and after stand around the text of each.
func choices(out *Output, texts [][]byte, before, after string) {
	out.text(`,"choices":[`)
	for i, text := range texts {
		comma(out, i)
		out.text(`{"index":`)
		out.number(int64(i))
		out.text(before)
		out.raw(text)
		out.text(after)
	}
	out.text(`]`)
}

// CheckLimits checks a body that sets limits, which MLflow's open-source gateway takes and then refuses to act on.
func CheckLimits(body Body) error {
	limits := &schema.Object{Fields: []schema.Field{
		required("route", schema.String), required("limits", schema.List(schema.Dict, 0)),
	}}
	_, err := check(limits, body)
	return err
}
