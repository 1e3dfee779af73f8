package native

import (
	"slices"
	"strconv"

	"headrace/internal/splice"
)

// callOf reads a call of a tool as chat has it.
func callOf(value []byte) toolCall {
	fields := members(value)
	function := members(get(fields, "function"))
	return toolCall{id: get(fields, "id"), name: get(function, "name"), arguments: get(function, "arguments")}
}

// chatCalls are calls of tools as chat has them.
func chatCalls(calls []toolCall) []byte {
	var all [][]byte
	for i, c := range calls {
		var function, o object
		function.add("name", c.name)
		function.add("arguments", orArguments(c.arguments))
		id := c.id
		if id == nil {
			id = quoted("call_" + strconv.Itoa(i+1))
		}
		o.add("id", id)
		o.add("type", []byte(`"function"`))
		o.add("function", function.bytes())
		all = append(all, o.bytes())
	}
	return list(all...)
}

// orArguments are the arguments of a call, which OpenAI's clients want as a text.
func orArguments(arguments []byte) []byte {
	switch splice.KindOf(arguments) {
	case splice.String:
		return arguments
	case splice.Object:
		return quoted(string(arguments))
	case splice.Invalid, splice.Null, splice.Bool, splice.Number, splice.NonFinite, splice.Array:
	}
	return []byte(`"{}"`)
}

// item is the call as responses have it. id is the item's own; nil: none.
func (c *toolCall) item(id []byte) []byte {
	var o object
	o.add("type", []byte(`"function_call"`))
	o.add("id", id)
	o.add("call_id", c.id)
	o.add("name", c.name)
	o.add("arguments", orArguments(c.arguments))
	return o.bytes()
}

// function is the definition of a tool, out of either of OpenAI's forms: chat has it in a member `function`, responses
// have it flat.
type function struct{ name, description, parameters, strict []byte }

func functionOf(tool []byte) function {
	fields := members(tool)
	if inner := get(fields, "function"); inner != nil {
		fields = members(inner)
	}
	return function{get(fields, "name"), get(fields, "description"), get(fields, "parameters"), get(fields, "strict")}
}

// chatTools are the definitions of tools as ChatModel's signature takes them. What it cannot say of their parameters is
// left out: the model is asked with a plainer schema of the same names.
func chatTools(value []byte, from string, lost *dropped) ([]byte, error) {
	var all [][]byte
	for i, tool := range elements(value) {
		if kind := text(get(members(tool), "type")); kind != "function" && kind != "" {
			at := from + "[" + strconv.Itoa(i) + "]"
			return nil, wrong(at, "%s is a tool of the type %q, and this model knows functions only", at, kind)
		}
		f := functionOf(tool)
		var inner, o object
		inner.add("name", f.name)
		inner.add("description", onlyKind(f.description, splice.String))
		inner.add("parameters", plainParameters(f.parameters, lost))
		inner.add("strict", onlyKind(f.strict, splice.Bool))
		o.add("type", []byte(`"function"`))
		o.add("function", inner.bytes())
		all = append(all, o.bytes())
	}
	if len(all) == 0 {
		return nil, nil
	}
	return list(all...), nil
}

// flatTools are the definitions of tools as responses have them, nothing left out.
func flatTools(value []byte) []byte {
	var all [][]byte
	for _, tool := range elements(value) {
		if get(members(tool), "function") == nil {
			all = append(all, tool)
			continue
		}
		f := functionOf(tool)
		var o object
		o.add("type", []byte(`"function"`))
		o.add("name", f.name)
		o.add("description", f.description)
		parameters := f.parameters
		if parameters == nil {
			parameters = []byte(`{"type":"object","properties":{}}`)
		}
		o.add("parameters", parameters)
		strict := f.strict
		if strict == nil {
			strict = []byte("false")
		}
		o.add("strict", strict)
		all = append(all, o.bytes())
	}
	if len(all) == 0 {
		return nil
	}
	return list(all...)
}

// reduced is what Headrace-Dropped calls schemas that were made plainer.
const reduced = "tools.function.parameters (schema reduced)"

// plainParameters reduces the schema of a tool's parameters.
func plainParameters(schema []byte, lost *dropped) []byte {
	fields := members(schema)
	var properties, o object
	for _, p := range members(get(fields, "properties")) {
		properties.add(p.Key, plainProperty(p.Value, lost))
	}
	o.add("type", []byte(`"object"`))
	o.add("properties", properties.bytes())
	o.add("required", textList(get(fields, "required")))
	o.add("additionalProperties", onlyKind(get(fields, "additionalProperties"), splice.Bool))
	for _, m := range fields {
		if !slices.Contains([]string{"type", "properties", "required", "additionalProperties", "title", "$schema"}, m.Key) {
			lost.add(reduced)
		}
	}
	return o.bytes()
}

// plainProperty reduces the schema of one parameter to its type, description, enum of texts, and the type of its items.
// Of several types, or branches, the first that is not null stays.
func plainProperty(schema []byte, lost *dropped) []byte {
	fields := members(schema)
	kind := get(fields, "type")
	description := get(fields, "description")
	for _, choice := range []string{"anyOf", "oneOf", "allOf"} {
		if kind != nil {
			break
		}
		for _, branch := range elements(get(fields, choice)) {
			inner := members(branch)
			if t := get(inner, "type"); t == nil || text(t) == "null" {
				continue
			}
			fields, kind = inner, get(inner, "type")
			break
		}
	}
	if splice.KindOf(kind) == splice.Array {
		kinds := elements(kind)
		kind = nil
		for _, k := range kinds {
			if text(k) != "null" {
				kind = k
				break
			}
		}
	}
	if splice.KindOf(kind) != splice.String {
		kind = guessed(fields)
	}
	var o object
	o.add("type", kind)
	if description == nil {
		description = get(fields, "description")
	}
	o.add("description", onlyKind(description, splice.String))
	o.add("enum", textList(get(fields, "enum")))
	if item := get(members(get(fields, "items")), "type"); splice.KindOf(item) == splice.String {
		var items object
		items.add("type", item)
		o.add("items", items.bytes())
	}
	if !says(members(schema), o.bytes()) {
		lost.add(reduced)
	}
	return o.bytes()
}

// guessed is the type of a schema that says none.
func guessed(fields []splice.Member) []byte {
	switch {
	case get(fields, "properties") != nil, get(fields, "$ref") != nil:
		return []byte(`"object"`)
	case get(fields, "items") != nil:
		return []byte(`"array"`)
	}
	return []byte(`"string"`)
}

// says tells whether a reduced schema says all that matters of the original: titles and defaults do not.
func says(original []splice.Member, plain []byte) bool {
	kept := members(plain)
	for _, m := range original {
		switch m.Key {
		case "title", "default":
		case "items":
			if len(members(m.Value)) > len(members(get(kept, "items"))) {
				return false
			}
		default:
			if get(kept, m.Key) == nil || string(get(kept, m.Key)) != string(m.Value) {
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
	all := elements(value)
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
