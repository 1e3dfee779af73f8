package native

import (
	"slices"
	"strconv"

	"headrace/internal/splice"
)

// callOf reads a call of a tool as chat has it.
func callOf(value []byte) toolCall {
	fields := splice.FieldsOf(value)
	function := splice.FieldsOf(fields.Get("function"))
	return toolCall{id: fields.Get("id"), name: function.Get("name"), arguments: function.Get("arguments")}
}

// chatCalls are calls of tools as chat has them.
func chatCalls(calls []toolCall) []byte {
	var all [][]byte
	for i, c := range calls {
		var function, o splice.ObjectWriter
		function.Add("name", c.name)
		function.Add("arguments", orArguments(c.arguments))
		id := c.id
		if id == nil {
			id = splice.Quote("call_" + strconv.Itoa(i+1))
		}
		o.Add("id", id)
		o.Add("type", []byte(`"function"`))
		o.Add("function", function.Bytes())
		all = append(all, o.Bytes())
	}
	return splice.ListWith(all...)
}

// orArguments are the arguments of a call, which OpenAI's clients want as a text.
func orArguments(arguments []byte) []byte {
	switch splice.KindOf(arguments) {
	case splice.String:
		return arguments
	case splice.Object:
		return splice.Quote(string(arguments))
	case splice.Invalid, splice.Null, splice.Bool, splice.Number, splice.NonFinite, splice.Array:
	}
	return []byte(`"{}"`)
}

// item is the call as responses have it. id is the item's own; nil: none.
func (c *toolCall) item(id []byte) []byte {
	var o splice.ObjectWriter
	o.Add("type", []byte(`"function_call"`))
	o.Add("id", id)
	o.Add("call_id", c.id)
	o.Add("name", c.name)
	o.Add("arguments", orArguments(c.arguments))
	return o.Bytes()
}

// function is the definition of a tool, out of either of OpenAI's forms: chat has it in a member `function`, responses
// have it flat.
type function struct{ name, description, parameters, strict []byte }

func functionOf(tool []byte) function {
	fields := splice.FieldsOf(tool)
	if inner := fields.Get("function"); inner != nil {
		fields = splice.FieldsOf(inner)
	}
	return function{fields.Get("name"), fields.Get("description"), fields.Get("parameters"), fields.Get("strict")}
}

// chatTools are the definitions of tools as ChatModel's signature takes them. What it cannot say of their parameters is
// left out: the model is asked with a plainer schema of the same names.
func chatTools(value []byte, from string, lost *dropped) ([]byte, error) {
	var all [][]byte
	for i, tool := range splice.ListOf(value) {
		if kind := splice.TextOf(splice.FieldsOf(tool).Get("type")); kind != "function" && kind != "" {
			at := from + "[" + strconv.Itoa(i) + "]"
			return nil, wrong(at, "%s is a tool of the type %q, and this model knows functions only", at, kind)
		}
		f := functionOf(tool)
		var inner, o splice.ObjectWriter
		inner.Add("name", f.name)
		inner.Add("description", onlyKind(f.description, splice.String))
		inner.Add("parameters", plainParameters(f.parameters, lost))
		inner.Add("strict", onlyKind(f.strict, splice.Bool))
		o.Add("type", []byte(`"function"`))
		o.Add("function", inner.Bytes())
		all = append(all, o.Bytes())
	}
	if len(all) == 0 {
		return nil, nil
	}
	return splice.ListWith(all...), nil
}

// flatTools are the definitions of tools as responses have them, nothing left out.
func flatTools(value []byte) []byte {
	var all [][]byte
	for _, tool := range splice.ListOf(value) {
		if splice.FieldsOf(tool).Get("function") == nil {
			all = append(all, tool)
			continue
		}
		f := functionOf(tool)
		var o splice.ObjectWriter
		o.Add("type", []byte(`"function"`))
		o.Add("name", f.name)
		o.Add("description", f.description)
		parameters := f.parameters
		if parameters == nil {
			parameters = []byte(`{"type":"object","properties":{}}`)
		}
		o.Add("parameters", parameters)
		strict := f.strict
		if strict == nil {
			strict = []byte("false")
		}
		o.Add("strict", strict)
		all = append(all, o.Bytes())
	}
	if len(all) == 0 {
		return nil
	}
	return splice.ListWith(all...)
}

// reduced is what Headrace-Dropped calls schemas that were made plainer.
const reduced = "tools.function.parameters (schema reduced)"

// plainParameters reduces the schema of a tool's parameters.
func plainParameters(schema []byte, lost *dropped) []byte {
	fields := splice.FieldsOf(schema)
	var properties, o splice.ObjectWriter
	for _, p := range splice.FieldsOf(fields.Get("properties")) {
		properties.Add(p.Key, plainProperty(p.Value, lost))
	}
	o.Add("type", []byte(`"object"`))
	o.Add("properties", properties.Bytes())
	o.Add("required", textList(fields.Get("required")))
	o.Add("additionalProperties", onlyKind(fields.Get("additionalProperties"), splice.Bool))
	for _, m := range fields {
		if !slices.Contains([]string{"type", "properties", "required", "additionalProperties", "title", "$schema"}, m.Key) {
			lost.add(reduced)
		}
	}
	return o.Bytes()
}

// plainProperty reduces the schema of one parameter to its type, description, enum of texts, and the type of its items.
// Of several types, or branches, the first that is not null stays.
func plainProperty(schema []byte, lost *dropped) []byte {
	fields := splice.FieldsOf(schema)
	kind := fields.Get("type")
	description := fields.Get("description")
	for _, choice := range []string{"anyOf", "oneOf", "allOf"} {
		if kind != nil {
			break
		}
		for _, branch := range splice.ListOf(fields.Get(choice)) {
			inner := splice.FieldsOf(branch)
			if t := inner.Get("type"); t == nil || splice.TextOf(t) == "null" {
				continue
			}
			fields, kind = inner, inner.Get("type")
			break
		}
	}
	if splice.KindOf(kind) == splice.Array {
		kinds := splice.ListOf(kind)
		kind = nil
		for _, k := range kinds {
			if splice.TextOf(k) != "null" {
				kind = k
				break
			}
		}
	}
	if splice.KindOf(kind) != splice.String {
		kind = guessed(fields)
	}
	var o splice.ObjectWriter
	o.Add("type", kind)
	if description == nil {
		description = fields.Get("description")
	}
	o.Add("description", onlyKind(description, splice.String))
	o.Add("enum", textList(fields.Get("enum")))
	if item := splice.FieldsOf(fields.Get("items")).Get("type"); splice.KindOf(item) == splice.String {
		var items splice.ObjectWriter
		items.Add("type", item)
		o.Add("items", items.Bytes())
	}
	if !says(splice.FieldsOf(schema), o.Bytes()) {
		lost.add(reduced)
	}
	return o.Bytes()
}

// guessed is the type of a schema that says none.
func guessed(fields splice.Fields) []byte {
	switch {
	case fields.Get("properties") != nil, fields.Get("$ref") != nil:
		return []byte(`"object"`)
	case fields.Get("items") != nil:
		return []byte(`"array"`)
	}
	return []byte(`"string"`)
}

// says tells whether a reduced schema says all that matters of the original: titles and defaults do not.
func says(original splice.Fields, plain []byte) bool {
	kept := splice.FieldsOf(plain)
	for _, m := range original {
		switch m.Key {
		case "title", "default":
		case "items":
			if len(splice.FieldsOf(m.Value)) > len(splice.FieldsOf(kept.Get("items"))) {
				return false
			}
		default:
			if kept.Get(m.Key) == nil || string(kept.Get(m.Key)) != string(m.Value) {
				return false
			}
		}
	}
	return true
}

// onlyKind is value when it is of the kind, else nil.
func onlyKind(value []byte, kind splice.Kind) []byte {
	if value == nil || splice.KindOf(value) != kind {
		return nil
	}
	return value
}

// textList is a list of texts, else nil.
func textList(value []byte) []byte {
	all := splice.ListOf(value)
	for _, e := range all {
		if splice.KindOf(e) != splice.String {
			return nil
		}
	}
	if all == nil {
		return nil
	}
	return value
}
