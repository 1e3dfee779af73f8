// Package openapi makes an OpenAPI 3.1 document of a table of operations. What the operations name - schemas, parameters,
// headers - is in components/*.json, one file for each noun. It knows nothing of HTTP handlers.
package openapi

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// components are the schemas, parameters and headers that operations name.
//
//go:embed components/*.json
var components embed.FS

// Operation is one method on one path.
type Operation struct {
	Method, Path string // the path with one {placeholder} at most, which is the name of a parameter
	Tag          string
	Summary      string // one sentence
	Parameters   []string
	Body         string // name of the request body's schema; "" for none
	Optional     bool   // the body may be left out
	Examples     []Example
	Answers      []Answer
}

// Example is a request that works.
type Example struct {
	Name string // what it shows; the path's value and the body go by it
	At   string // what stands for the path's placeholder; "" where it does not matter
	Body string // JSON; "" for none
}

// Answer is one way in which an operation answers.
type Answer struct {
	Status  string // 200, or 4XX for all of a kind that have no answer of their own
	What    string // one sentence
	Media   string // type of the body; "" for no body
	Schema  string // name of the body's schema
	Headers []string
}

// part is a kind of components: what they are called in the document.
type part string

const (
	schemas    part = "schemas"
	parameters part = "parameters"
	headers    part = "headers"
)

// builder makes one document.
type builder struct {
	known   map[part]map[string]json.RawMessage
	used    map[part]map[string]bool
	unknown []error
}

// Make gives the document as JSON. It fails when operations name components that there are none of.
func Make(version string, ops []Operation) ([]byte, error) {
	b := &builder{used: map[part]map[string]bool{schemas: {}, parameters: {}, headers: {}}}
	var err error
	if b.known, err = load(); err != nil {
		return nil, err
	}
	paths := make(map[string]map[string]operation)
	var tags []any
	seen := make(map[string]bool)
	for _, op := range ops {
		if paths[op.Path] == nil {
			paths[op.Path] = make(map[string]operation)
		}
		paths[op.Path][strings.ToLower(op.Method)] = b.operation(op)
		if !seen[op.Tag] {
			seen[op.Tag] = true
			tags = append(tags, map[string]any{"name": op.Tag})
		}
	}
	shared := share(paths)
	used, err := b.components()
	if err != nil {
		return nil, err
	}
	all := map[string]any{"responses": shared}
	for kind, named := range used {
		all[string(kind)] = named
	}
	return json.Marshal(map[string]any{ //nolint:wrapcheck // of what was unmarshalled or is made of texts
		"openapi": "3.1.0",
		"info": map[string]any{
			"title": "Headrace", "version": version,
			"description": "A queue-backed inference broker in front of MLflow model servers.",
		},
		"servers":    []any{map[string]any{"url": "/"}},
		"tags":       tags,
		"paths":      paths,
		"components": all,
	})
}

// load reads every file of components; each name is given once.
func load() (map[part]map[string]json.RawMessage, error) {
	all := map[part]map[string]json.RawMessage{schemas: {}, parameters: {}, headers: {}}
	files, err := components.ReadDir("components")
	if err != nil {
		return nil, fmt.Errorf("openapi: %w", err)
	}
	for _, file := range files {
		text, err := components.ReadFile("components/" + file.Name())
		if err != nil {
			return nil, fmt.Errorf("openapi: %w", err)
		}
		var parts map[part]map[string]json.RawMessage
		if err := json.Unmarshal(text, &parts); err != nil {
			return nil, fmt.Errorf("openapi: %s: %w", file.Name(), err)
		}
		for kind, named := range parts {
			if all[kind] == nil {
				return nil, fmt.Errorf("openapi: %s: there are no %s", file.Name(), kind)
			}
			for name, component := range named {
				if _, twice := all[kind][name]; twice {
					return nil, fmt.Errorf("openapi: %s: the second of %s/%s", file.Name(), kind, name)
				}
				all[kind][name] = component
			}
		}
	}
	return all, nil
}

// ref names a component.
func (b *builder) ref(kind part, name string) map[string]any {
	if _, ok := b.known[kind][name]; !ok {
		b.unknown = append(b.unknown, fmt.Errorf("openapi: there is no %s/%s", kind, name))
	}
	b.used[kind][name] = true
	return map[string]any{"$ref": "#/components/" + string(kind) + "/" + name}
}

var refs = regexp.MustCompile(`"#/components/(\w+)/([^"]+)"`)

// components are those that the operations use, and those that these use.
func (b *builder) components() (map[part]map[string]json.RawMessage, error) {
	used := map[part]map[string]json.RawMessage{schemas: {}, parameters: {}, headers: {}}
	for grown := true; grown; {
		grown = false
		for kind, names := range b.used {
			for _, name := range slices.Collect(maps.Keys(names)) {
				if _, done := used[kind][name]; done || b.known[kind][name] == nil {
					continue
				}
				used[kind][name], grown = b.known[kind][name], true
				for _, match := range refs.FindAllSubmatch(b.known[kind][name], -1) {
					b.ref(part(match[1]), string(match[2]))
				}
			}
		}
	}
	return used, errors.Join(b.unknown...)
}

// Placeholder is the name of the parameter in a path; "" when it has none.
func Placeholder(path string) string {
	_, rest, _ := strings.Cut(path, "{")
	name, _, _ := strings.Cut(rest, "}")
	return name
}

// operation is one as the document has it.
type operation map[string]any

func (b *builder) operation(op Operation) operation {
	answers := make(map[string]response)
	for _, a := range op.Answers {
		answers[a.Status] = b.answer(a)
	}
	described := operation{
		"summary":     op.Summary,
		"tags":        []string{op.Tag},
		"operationId": strings.ToLower(op.Method) + strings.NewReplacer("/", "_", "{", "", "}", "", ".", "_", "-", "_").Replace(op.Path),
		"responses":   answers,
	}
	params := make([]any, 0, len(op.Parameters)+1)
	if at := Placeholder(op.Path); at != "" {
		params = append(params, b.inPath(at, op.Examples))
	}
	for _, name := range op.Parameters {
		params = append(params, b.ref(parameters, name))
	}
	if len(params) > 0 {
		described["parameters"] = params
	}
	if op.Body != "" {
		media := map[string]any{"schema": b.ref(schemas, op.Body)}
		if examples := bodies(op.Examples); len(examples) > 0 {
			media["examples"] = examples
		}
		described["requestBody"] = map[string]any{"required": !op.Optional, "content": map[string]any{"application/json": media}}
	}
	return described
}

// inPath is the parameter of a path, with what stands for it in the examples of the operation.
func (b *builder) inPath(name string, examples []Example) map[string]any {
	at := make(map[string]any)
	for _, e := range examples {
		if e.At != "" {
			at[e.Name] = map[string]any{"value": e.At}
		}
	}
	if len(at) == 0 {
		return b.ref(parameters, name)
	}
	param := make(map[string]any)
	if text, ok := b.known[parameters][name]; !ok || json.Unmarshal(text, &param) != nil {
		return b.ref(parameters, name) // which says that there is none
	}
	for _, match := range refs.FindAllSubmatch(b.known[parameters][name], -1) {
		b.ref(part(match[1]), string(match[2]))
	}
	delete(param, "example")
	param["examples"] = at
	return param
}

func bodies(examples []Example) map[string]any {
	all := make(map[string]any)
	for _, e := range examples {
		if e.Body != "" {
			all[e.Name] = map[string]any{"value": json.RawMessage(e.Body)}
		}
	}
	return all
}

func (b *builder) answer(a Answer) response {
	described := response{"description": a.What}
	if a.Media != "" {
		described["content"] = map[string]any{a.Media: map[string]any{"schema": b.ref(schemas, a.Schema)}}
	}
	if len(a.Headers) > 0 {
		all := make(map[string]any)
		for _, name := range a.Headers {
			all[name] = b.ref(headers, name)
		}
		described["headers"] = all
	}
	return described
}
