package anthropic

import (
	"slices"
	"strconv"

	"headrace/internal/splice"
)

// tools translates the tools that a model may call. Their schemas pass as they are.
func (c *call) tools(value []byte) error {
	var tools [][]byte
	for i, each := range splice.ListOf(value) {
		of := splice.FieldsOf(each)
		kind := of.Text("type")
		function := splice.FieldsOf(of.Get("function"))
		switch {
		case of.Get("input_schema") != nil || kind != "function" && kind != "uc_function" && kind != "custom" && kind != "":
			tools = append(tools, each) // Anthropic's own
			continue
		case kind != "function":
			return wrong("tools["+strconv.Itoa(i)+"].type", "Only function calling tool is supported, but received tool type %s", kind)
		case function.Text("name") == "":
			return wrong("tools["+strconv.Itoa(i)+"].function", "tools[%d].function must be an object with a name", i)
		}
		schema := function.Get("parameters")
		if schema == nil {
			schema = []byte(`{"type":"object","properties":{}}`)
		}
		var o splice.ObjectWriter
		o.Add("name", function.Get("name"))
		o.Add("description", function.Get("description"))
		o.Add("input_schema", schema)
		o.Add("strict", function.Get("strict"))
		o.Add("cache_control", of.Get("cache_control"))
		tools = append(tools, o.Bytes())
	}
	if len(tools) > 0 {
		c.out.Add("tools", splice.ListWith(tools...))
	}
	return nil
}

// toolChoice translates which tool is to be called, and whether several may be at a time.
func (c *call) toolChoice() error {
	choice := c.all.Get("tool_choice")
	var o splice.ObjectWriter
	switch word := splice.TextOf(choice); {
	case choice == nil:
		if string(c.all.Get("parallel_tool_calls")) != "false" || len(splice.ListOf(c.all.Get("tools"))) == 0 {
			return nil
		}
		o.AddText("type", "auto")
	case word == "required":
		o.AddText("type", "any")
	case word == "none" || word == "auto":
		o.AddText("type", word)
	default:
		of := splice.FieldsOf(choice)
		name := splice.FieldsOf(of.Get("function")).Get("name")
		switch {
		case of.Text("type") == "function" && name != nil:
			o.AddText("type", "tool")
			o.Add("name", name)
		case slices.Contains([]string{"auto", "any", "tool", "none"}, of.Text("type")): // Anthropic's own
			c.out.Add("tool_choice", choice)
			return nil
		default:
			return wrong("tool_choice", `tool_choice must be "none", "auto", "required" or {"type": "function", "function": {"name": …}}`)
		}
	}
	if string(c.all.Get("parallel_tool_calls")) == "false" && splice.TextOf(choice) != "none" {
		o.Add("disable_parallel_tool_use", []byte("true"))
	}
	c.out.Add("tool_choice", o.Bytes())
	return nil
}

// format translates the format that the answer is to have.
func (c *call) format(value []byte) error {
	of := splice.FieldsOf(value)
	switch kind := of.Text("type"); kind {
	case "text":
	case "json_object":
		c.system = append(c.system, textBlock(splice.Quote(jsonOnly), nil))
	case "json_schema":
		schema := splice.FieldsOf(of.Get("json_schema")).Get("schema")
		if splice.KindOf(schema) != splice.Object {
			return wrong("response_format", "response_format.json_schema.schema must be an object")
		}
		var o splice.ObjectWriter
		o.AddText("type", "json_schema")
		o.Add("schema", closed(schema))
		c.config.Add("format", o.Bytes())
	default:
		return wrong("response_format", "response_format.type is %q; there are text, json_object and json_schema", kind)
	}
	return nil
}

// closed says of every object in a schema that it has no other properties, as Anthropic wants it said.
func closed(schema []byte) []byte {
	all := splice.FieldsOf(schema)
	if all == nil {
		return schema
	}
	var o splice.ObjectWriter
	for _, m := range all {
		switch m.Key {
		case "properties", "$defs", "definitions":
			var inner splice.ObjectWriter
			for _, p := range splice.FieldsOf(m.Value) {
				inner.Add(p.Key, closed(p.Value))
			}
			o.Add(m.Key, inner.Bytes())
		case "items":
			o.Add(m.Key, closed(m.Value))
		case "anyOf", "allOf", "oneOf", "prefixItems":
			var list [][]byte
			for _, each := range splice.ListOf(m.Value) {
				list = append(list, closed(each))
			}
			o.Add(m.Key, splice.ListWith(list...))
		case "additionalProperties":
			if all.Get("properties") == nil {
				o.Add(m.Key, m.Value)
			}
		default:
			o.Add(m.Key, m.Value)
		}
	}
	if all.Get("properties") != nil {
		o.Add("additionalProperties", []byte("false"))
	}
	return o.Bytes()
}
