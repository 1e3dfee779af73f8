package dialect

import (
	"bytes"
	"strconv"
	"time"

	"headrace/api/schema"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/splice"
)

// This file reads the calls of routes to vendors. Their request is the call in OpenAI's form, without the model, which the
// provider knows. In MLflow's dialects the parameters that MLflow declares are checked as it checks them, and written as OpenAI
// has them; schemas of tools, members of messages, and what MLflow does not know pass unchanged. In OpenAI's dialect nearly
// everything is the vendor's to judge.

// vendorForms are the forms of calls in one of MLflow's dialects. Fields of an object are in the order in which they are sent.
type vendorForms struct {
	completions, chat, embeddings *schema.Object
	count                         string // the name of OpenAI's n
	text                          string // the name of OpenAI's input
	hottest                       float64
	// cold is sent as the temperature to models of OpenAI's when a caller asks for none; "" = none is sent.
	cold string
}

// kept checks a value with a rule and keeps its bytes.
func kept(rule schema.Rule) schema.Rule {
	return func(c *schema.Check, raw []byte) []byte {
		if rule(c, raw) == nil {
			return nil
		}
		return raw
	}
}

// cleaned checks a value with a rule and keeps its bytes but for members that are null, which MLflow leaves out.
func cleaned(rule schema.Rule) schema.Rule {
	return func(c *schema.Check, raw []byte) []byte {
		if rule(c, raw) == nil {
			return nil
		}
		return schema.Clean(raw)
	}
}

// textOrTexts accepts a text, which MLflow refuses, or a list of them.
func textOrTexts() schema.Rule {
	texts := schema.List(schema.String, 1)
	return func(c *schema.Check, raw []byte) []byte {
		if splice.KindOf(raw) == splice.String {
			return schema.String(c, raw)
		}
		return texts(c, raw)
	}
}

// vendorTools accepts definitions of tools, of which the schema is the vendor's to judge.
func vendorTools() schema.Rule {
	return schema.List(object(
		required("type", schema.OneOf("function", "uc_function")),
		optional("function", object(required("name", schema.String))),
		optional("uc_function", object(required("name", schema.String))),
	), 0)
}

func newRoutesVendor() *vendorForms {
	one := &schema.Object{Fields: []schema.Field{required("role", schema.String), required("content", schema.String)}}
	fields := func(more ...schema.Field) *schema.Object {
		params := withoutDefault(routesParams(), "temperature")
		return &schema.Object{Open: true, Fields: append(replaced(params, "stop", textOrTexts()), more...)}
	}
	return &vendorForms{
		completions: fields(required("prompt", schema.String)),
		chat:        fields(required("messages", cleaned(messages(one)))),
		embeddings: &schema.Object{Open: true, Fields: []schema.Field{required("text", schema.Union(
			schema.Branch{Name: "str", Rule: schema.String},
			schema.Branch{Name: "list[str]", Rule: schema.List(schema.String, 0)},
		))}},
		count: "candidate_count", text: "text", hottest: 1, cold: "0.0",
	}
}

func newEndpointsVendor() *vendorForms {
	fields := func(more ...schema.Field) *schema.Object {
		return &schema.Object{Open: true, Fields: append(replaced(endpointsParams(), "stop", textOrTexts()), more...)}
	}
	return &vendorForms{
		completions: fields(required("prompt", schema.String)),
		chat: fields(required("messages", cleaned(messages(message()))),
			optional("tools", kept(vendorTools())), optional("tool_choice", toolChoice())),
		embeddings: &schema.Object{Open: true, Fields: []schema.Field{required("input", textsOrTokens())}},
		count:      "n", text: "input", hottest: 2,
	}
}

// replaced gives the field of a name another rule, which null does not break.
func replaced(fields []schema.Field, name string, rule schema.Rule) []schema.Field {
	for i := range fields {
		if fields[i].Name == name {
			fields[i].Rule = schema.Nullable(rule)
		}
	}
	return fields
}

func withoutDefault(fields []schema.Field, name string) []schema.Field {
	for i := range fields {
		if fields[i].Name == name {
			fields[i].Default = ""
		}
	}
	return fields
}

// read reads a call. What MLflow refuses after its check of the body is in Asked.Refused.
func (f *vendorForms) read(route *inference.Route, body Body) (*Asked, error) {
	form, item := f.chat, "messages"
	switch route.Type {
	case inference.Chat:
	case inference.Completions:
		form, item = f.completions, "prompt"
	case inference.Embeddings:
		form, item = f.embeddings, f.text
	case inference.Raw:
		return nil, unknownType(route)
	}
	fields, err := check(form, body)
	if err != nil {
		return nil, err
	}
	a := &Asked{Route: route, created: time.Now(), Request: &inference.Request{Route: route.Name, Type: route.Type}}
	a.Stream = string(declared(form, fields, "stream")) == "true"
	a.usage = string(schema.FieldsOf(declared(form, fields, "stream_options")).Get("include_usage")) != "false"
	a.Request.Body = f.neutral(a, form, fields, item)
	a.Refused = f.refused(route, form, fields)
	return a, nil
}

// refused is what MLflow's gateway refuses of a body that is valid.
func (f *vendorForms) refused(route *inference.Route, form *schema.Object, fields schema.Fields) error {
	model := declared(form, fields, "model")
	if model == nil {
		model = splice.Fields(fields.Extra).Get("model")
	}
	if model != nil {
		e := fault.New(fault.Invalid, "The parameter 'model' is not permitted to be passed. The route being queried already defines a model instance.")
		e.Param = "model"
		return e
	}
	if f.count != "n" && route.Type != inference.Embeddings && splice.Fields(fields.Extra).Get("n") != nil {
		e := fault.New(fault.Invalid, "Invalid parameter `n`. Use `%s` instead.", f.count)
		e.Param = "n"
		return e
	}
	if stream := vendorText(splice.Fields(fields.Extra).Get("stream")); f.count != "n" && stream == "true" {
		e := fault.New(fault.Invalid, "Setting the 'stream' parameter to 'true' is not supported with the MLflow Gateway.")
		e.Param = "stream"
		return e
	}
	if route.Vendor.API == inference.AnthropicAPI {
		return f.refusedOfAnthropic(form, fields)
	}
	return nil
}

// vendorText is a value without the quotes that it may have.
func vendorText(value []byte) string { return string(bytes.Trim(value, `"`)) }

// refusedOfAnthropic has the bounds that MLflow sets to calls of Anthropic's models.
func (f *vendorForms) refusedOfAnthropic(form *schema.Object, fields schema.Fields) error {
	const mostTokens = 1_000_000
	for _, name := range []string{"max_tokens", "max_completion_tokens"} {
		if checkedInt(declared(form, fields, name)) > mostTokens {
			e := fault.New(fault.Invalid, "Invalid value for max_tokens: cannot exceed %d.", mostTokens)
			e.Param = name
			return e
		}
	}
	top := declared(form, fields, "top_p")
	if top == nil {
		top = splice.Fields(fields.Extra).Get("top_p")
	}
	if top != nil && declared(form, fields, "temperature") != nil {
		e := fault.New(fault.Invalid, "Cannot set both 'temperature' and 'top_p' parameters.")
		e.Param = "top_p"
		return e
	}
	return nil
}

// neutral writes a checked call in OpenAI's form. A member that a caller gives under OpenAI's own name counts.
func (f *vendorForms) neutral(a *Asked, form *schema.Object, fields schema.Fields, item string) []byte {
	route := a.Route
	factor := route.Vendor.MaxTemperature() / f.hottest
	o := []byte("{")
	for i, value := range fields.Declared {
		name := form.Fields[i].Name
		switch name {
		case "stream", "stream_options":
			if a.Stream {
				continue
			}
		case "temperature":
			if value == nil && f.cold != "" && route.Vendor.API == inference.OpenAIAPI {
				value = []byte(f.cold)
			}
			value = scaled(value, factor)
		case f.count:
			name = "n"
		case item:
			if name == f.text && route.Type == inference.Embeddings {
				name = "input"
			}
		}
		if name != form.Fields[i].Name && splice.Fields(fields.Extra).Get(name) != nil {
			continue
		}
		o = member(o, name, value)
	}
	for _, m := range fields.Extra {
		o = member(o, m.Key, m.Value)
	}
	return append(o, '}')
}

// member adds a member to an object that is being written; nothing for a nil value.
func member(o []byte, name string, value []byte) []byte {
	if value == nil {
		return o
	}
	if len(o) > 1 {
		o = append(o, ',')
	}
	return append(append(schema.AppendString(o, name), ':'), value...)
}

// scaled is a checked number times a factor.
func scaled(value []byte, factor float64) []byte {
	number, err := strconv.ParseFloat(string(value), 64)
	if value == nil || err != nil || factor == 1 {
		return value
	}
	text := strconv.AppendFloat(nil, number*factor, 'f', -1, 64)
	if number*factor == float64(int64(number*factor)) {
		text = append(text, ".0"...)
	}
	return text
}

// readVendor reads a call of OpenAI's dialect: all members but those that steer the gateway pass as they are.
func (d *openAIDialect) readVendor(route *inference.Route, body Body) (*Asked, error) {
	item, rule := "messages", kept(schema.List(anyObject(), 1))
	switch route.Type {
	case inference.Completions:
		item, rule = "prompt", schema.Any
	case inference.Embeddings:
		item, rule = "input", schema.Any
	case inference.Chat, inference.Raw:
	}
	form := &schema.Object{Fields: []schema.Field{required(item, rule), optional("stream", schema.Bool), optional("stream_options", schema.Dict)}}
	fields, err := check(form, body)
	if err != nil {
		return nil, err
	}
	a := &Asked{Route: route, created: time.Now(), Request: &inference.Request{Route: route.Name, Type: route.Type}}
	a.Stream = string(fields.Declared[1]) == "true"
	a.usage = string(schema.FieldsOf(fields.Declared[2]).Get("include_usage")) == "true"
	o := []byte("{")
	for _, m := range body.members {
		if m.Key == "model" || a.Stream && m.Key == "stream" {
			continue
		}
		o = member(o, m.Key, nulled(m.Value))
	}
	o = append(o, '}')
	a.Request.Body = o
	return a, nil
}

// nulled is a value in JSON proper: NaN and Infinity, which Python writes, are null.
func nulled(value []byte) []byte {
	v, err := splice.Whole(value)
	if err == nil && v.NonFinite {
		return splice.Nulled(value)
	}
	return value
}
