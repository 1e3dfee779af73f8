package dialect

import (
	"math"
	"slices"

	"headrace/api/schema"
	"headrace/internal/splice"
)

// This file holds the rules for the members of request bodies, as facts of the two MLflow versions: their
// order is the order of `params`, and of issues.

// routesParams are the parameters of 2.8.1 for completions and chat.
func routesParams() []schema.Field {
	return []schema.Field{
		{Name: "temperature", Rule: schema.Float(0, 1), Default: "0.0"},
		{Name: "candidate_count", Rule: schema.Int(1, 5), Default: "1"},
		{Name: "stop", Rule: schema.Nullable(schema.List(schema.String, 1))},
		{Name: "max_tokens", Rule: schema.Nullable(schema.Int(1, math.MaxInt64))},
	}
}

// endpointsParams are the parameters of 3.17.2 for completions and chat.
func endpointsParams() []schema.Field {
	atLeastOne := schema.Nullable(schema.Int(1, math.MaxInt64))
	penalty := schema.Nullable(schema.Float(-2, 2))
	return []schema.Field{
		{Name: "n", Rule: schema.Int(1, math.MaxInt64), Default: "1"},
		{Name: "stop", Rule: schema.Nullable(schema.List(schema.String, 1))},
		{Name: "max_tokens", Rule: atLeastOne},
		{Name: "max_completion_tokens", Rule: atLeastOne},
		{Name: "stream", Rule: schema.Nullable(schema.Bool)},
		{Name: "stream_options", Rule: schema.Nullable(schema.Dict)},
		{Name: "model", Rule: schema.Nullable(schema.String)},
		{Name: "response_format", Rule: schema.Nullable(responseFormat())},
		{Name: "temperature", Rule: schema.Nullable(schema.Float(0, 2))},
		{Name: "top_p", Rule: schema.Nullable(schema.Float(0, 1))},
		{Name: "presence_penalty", Rule: penalty},
		{Name: "frequency_penalty", Rule: penalty},
		{Name: "top_k", Rule: atLeastOne},
	}
}

func responseFormat() schema.Rule {
	envelope := &schema.Object{Open: true, Fields: []schema.Field{
		{Name: "name", Rule: schema.String, Required: true},
		{Name: "schema", Rule: schema.Dict, Required: true},
		{Name: "strict", Rule: schema.Bool, Default: "true"},
	}}
	format := &schema.Object{Fields: []schema.Field{
		{Name: "type", Rule: schema.OneOf("text", "json_object", "json_schema"), Required: true},
		{Name: "json_schema", Rule: schema.Nullable(envelope.Rule())},
	}}
	return format.Rule()
}

// optional is a field that may be absent or null.
func optional(name string, rule schema.Rule) schema.Field {
	return schema.Field{Name: name, Rule: schema.Nullable(rule)}
}

func required(name string, rule schema.Rule) schema.Field {
	return schema.Field{Name: name, Rule: rule, Required: true}
}

func object(fields ...schema.Field) schema.Rule {
	return (&schema.Object{Fields: fields}).Rule()
}

// tools are function definitions, as 3.17.2 knows them.
func tools() schema.Rule {
	kind := schema.OneOf("string", "number", "integer", "object", "array", "boolean", "null")
	property := &schema.Object{}
	property.Fields = []schema.Field{
		optional("type", schema.Union(
			schema.Branch{Name: "literal['string','number','integer','object','array','boolean','null']", Rule: kind},
			schema.Branch{Name: "list[literal['string','number','integer','object','array','boolean','null']]", Rule: schema.List(kind, 0)},
		)),
		optional("description", schema.String),
		optional("enum", schema.List(scalar(), 0)),
		optional("items", property.Rule()),
	}
	parameters := object(
		required("properties", schema.DictOf(property.Rule())),
		schema.Field{Name: "type", Rule: schema.OneOf("object"), Default: `"object"`},
		optional("required", schema.List(schema.String, 0)),
		optional("additionalProperties", schema.Bool),
	)
	function := object(
		required("name", schema.String),
		optional("description", schema.String),
		optional("parameters", parameters),
		optional("strict", schema.Bool),
	)
	return schema.List(object(
		required("type", schema.OneOf("function", "uc_function")),
		optional("function", function),
		optional("uc_function", object(required("name", schema.String))),
	), 0)
}

// scalar accepts a string, a number or a boolean, as it is.
func scalar() schema.Rule {
	kept := func(kind, msg string, kinds ...splice.Kind) schema.Rule {
		return func(c *schema.Check, raw []byte) []byte {
			if slices.Contains(kinds, splice.KindOf(raw)) {
				return schema.Clean(raw)
			}
			c.Fail(raw, kind, msg)
			return nil
		}
	}
	return schema.Union(
		schema.Branch{Name: "str", Rule: kept("string_type", "Input should be a valid string", splice.String)},
		schema.Branch{Name: "int", Rule: kept("int_type", "Input should be a valid integer", splice.Number)},
		schema.Branch{Name: "float", Rule: kept("float_type", "Input should be a valid number", splice.NonFinite)},
		schema.Branch{Name: "bool", Rule: kept("bool_type", "Input should be a valid boolean", splice.Bool)},
	)
}

func toolChoice() schema.Rule {
	return schema.Union(
		schema.Branch{Name: "literal['none','auto','required']", Rule: schema.OneOf("none", "auto", "required")},
		schema.Branch{Name: "ToolChoice", Rule: object(
			required("type", schema.OneOf("function")),
			required("function", object(required("name", schema.String))),
		)},
	)
}

// contentParts is the list form of a message's content.
const contentParts = "list[tagged-union[TextContentPart,ImageContentPart,AudioContentPart,ReasoningContentPart]]"

// content accepts a message's content, a string or a list of parts.
func content() schema.Rule {
	summary := object(required("type", schema.OneOf("summary_text")), required("text", schema.String))
	reasoning := &schema.Object{Open: true, Fields: []schema.Field{
		required("type", schema.OneOf("reasoning")),
		{Name: "summary", Rule: schema.List(summary, 0), Default: "[]"},
	}}
	part := schema.Tagged("type",
		schema.Branch{Name: "text", Rule: object(required("type", schema.String), required("text", schema.String))},
		schema.Branch{Name: "image_url", Rule: object(required("type", schema.String), required("image_url", object(
			required("url", schema.String), optional("detail", schema.OneOf("auto", "low", "high")),
		)))},
		schema.Branch{Name: "input_audio", Rule: object(required("type", schema.String), required("input_audio", object(
			required("data", schema.String), required("format", schema.OneOf("wav", "mp3")),
		)))},
		schema.Branch{Name: "reasoning", Rule: reasoning.Rule()},
	)
	return schema.Union(
		schema.Branch{Name: "str", Rule: schema.String},
		schema.Branch{Name: contentParts, Rule: schema.List(part, 0)},
	)
}

// message is one message of 3.17.2.
func message() *schema.Object {
	call := object(
		required("id", schema.String),
		schema.Field{Name: "type", Rule: schema.String, Default: `"function"`},
		required("function", object(optional("name", schema.String), optional("arguments", schema.String))),
		optional("thought_signature", schema.String),
	)
	return &schema.Object{Fields: []schema.Field{
		required("role", schema.String),
		optional("content", content()),
		optional("tool_calls", schema.List(call, 0)),
		optional("refusal", schema.String),
		optional("tool_call_id", schema.String),
	}}
}

// messages checks a conversation and keeps its bytes.
func messages(one *schema.Object) schema.Rule {
	return func(c *schema.Check, raw []byte) []byte {
		if splice.KindOf(raw) == splice.Array && emptyList(raw) {
			c.FailBound(raw, "too_short", "List should have at least 1 item after validation, not 0",
				map[string]any{"field_type": "List", "min_length": 1, "actual_length": 0})
			return nil
		}
		schema.Elements(c, raw, func(c *schema.Check, each []byte) []byte {
			one.Check(c, each)
			return each
		})
		return raw
	}
}

func emptyList(raw []byte) bool {
	v, err := splice.Whole(raw)
	return err == nil && v.Len == 0
}
