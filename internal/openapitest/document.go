// Package openapitest holds replies and requests against an OpenAPI 3.1 document.
package openapitest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const home = "openapi.json"

// Document is a document under test.
type Document struct {
	Paths map[string]map[string]Operation // by template and method in lower case

	compiler *jsonschema.Compiler
	compiled map[string]*jsonschema.Schema
}

// Operation is what tests need of one.
type Operation struct {
	OperationID string
	Parameters  []Parameter
	RequestBody *struct {
		Required bool
		Content  map[string]Content
	}
	Responses map[string]struct {
		Headers map[string]struct {
			Ref string `json:"$ref"`
		}
		Content map[string]Content
	}
}

// Parameter is one of an operation, or a reference to one.
type Parameter struct {
	Ref, Name, In string
	Examples      map[string]Example
}

// UnmarshalJSON reads a parameter, or the name of the component that it stands for.
func (p *Parameter) UnmarshalJSON(text []byte) error {
	type plain Parameter
	var ref struct {
		Ref string `json:"$ref"`
	}
	if err := json.Unmarshal(text, (*plain)(p)); err != nil {
		return err
	}
	err := json.Unmarshal(text, &ref)
	p.Ref = ref.Ref[strings.LastIndexByte(ref.Ref, '/')+1:]
	return err
}

// Content is a body of one media type.
type Content struct{ Examples map[string]Example }

// Example is one of a body or a parameter.
type Example struct{ Value json.RawMessage }

// Parse reads a document. The test fails when one of its schemas, parameters or references is wrong.
func Parse(t testing.TB, text []byte) *Document {
	t.Helper()
	d := &Document{compiler: jsonschema.NewCompiler(), compiled: make(map[string]*jsonschema.Schema)}
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	inlineResponses(t, whole, whole)
	if text, err = json.Marshal(whole); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, d); err != nil {
		t.Fatal(err)
	}
	d.compiler.DefaultDraft(jsonschema.Draft2020)
	d.compiler.AssertFormat()
	if err := d.compiler.AddResource(home, whole); err != nil {
		t.Fatal(err)
	}
	d.walk(t, whole, whole, "#")
	return d
}

// walk finds each reference and each schema in the document.
func (d *Document) walk(t testing.TB, root, value any, at string) {
	t.Helper()
	switch value := value.(type) {
	case map[string]any:
		if ref, ok := value["$ref"].(string); ok && !there(root, ref) {
			t.Errorf("%s: nothing is at %s", at, ref)
		}
		for name, member := range value {
			below := at + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
			if _, ok := member.(map[string]any); ok && name == "schema" {
				d.schema(t, below)
			}
			d.walk(t, root, member, below)
		}
	case []any:
		for i, item := range value {
			d.walk(t, root, item, at+"/"+strconv.Itoa(i))
		}
	}
}

// inlineResponses puts the responses that operations share where they are referred to.
func inlineResponses(t testing.TB, root, value any) {
	t.Helper()
	object, _ := value.(map[string]any)
	for name, member := range object {
		inner, _ := member.(map[string]any)
		ref, _ := inner["$ref"].(string)
		if !strings.HasPrefix(ref, "#/components/responses/") {
			inlineResponses(t, root, member)
			continue
		}
		if object[name] = at(root, ref); object[name] == nil {
			t.Errorf("nothing is at %s", ref)
		}
	}
}

func there(root any, ref string) bool { return at(root, ref) != nil }

// at is what a reference within the document refers to; nil when nothing is there.
func at(value any, ref string) any {
	path, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil
	}
	for step := range strings.SplitSeq(path, "/") {
		object, _ := value.(map[string]any)
		value = object[strings.NewReplacer("~1", "/", "~0", "~").Replace(step)]
	}
	return value
}

func (d *Document) schema(t testing.TB, at string) *jsonschema.Schema {
	t.Helper()
	if d.compiled[at] == nil {
		compiled, err := d.compiler.Compile(home + strings.ReplaceAll(strings.ReplaceAll(at, "{", "%7B"), "}", "%7D"))
		if err != nil {
			t.Errorf("%s: %v", at, err)
			return nil
		}
		d.compiled[at] = compiled
	}
	return d.compiled[at]
}

// Request is one that the document shows.
type Request struct{ Method, Path, Body string }

var placeholder = regexp.MustCompile(`\{\w+\}`)

// Requests makes the requests of all examples, in an order that does not change. A path and a body of one name belong
// together; what stands for the placeholder of a path without examples is otherwise.
func (d *Document) Requests(t testing.TB, otherwise string) (all []Request) {
	t.Helper()
	for template, methods := range d.Paths {
		for method, op := range methods {
			method = strings.ToUpper(method)
			at := op.at()
			if op.RequestBody == nil || !op.RequestBody.Required {
				for name := range at {
					all = append(all, Request{method, fill(t, template, at[name], otherwise), ""})
				}
				continue
			}
			bodies := op.RequestBody.Content["application/json"].Examples
			if len(bodies) == 0 {
				t.Errorf("%s %s has no example", method, template)
			}
			for name, body := range bodies {
				all = append(all, Request{method, fill(t, template, at[name], otherwise), string(body.Value)})
			}
		}
	}
	slices.SortFunc(all, func(a, b Request) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Method, b.Method), strings.Compare(a.Body, b.Body))
	})
	return all
}

// at is what stands for the placeholder of the path, by the name of the example.
func (op Operation) at() map[string]Example {
	for _, p := range op.Parameters {
		if p.In == "path" && len(p.Examples) > 0 {
			return p.Examples
		}
	}
	return map[string]Example{"": {}}
}

func fill(t testing.TB, template string, e Example, otherwise string) string {
	t.Helper()
	if e.Value != nil {
		if err := json.Unmarshal(e.Value, &otherwise); err != nil {
			t.Error(err)
		}
	}
	return placeholder.ReplaceAllString(template, otherwise)
}

// Find is the template of a path of a request.
func (d *Document) Find(method, path string) (string, Operation, bool) {
	path, _, _ = strings.Cut(path, "?")
	best := ""
	for template, methods := range d.Paths {
		if _, ok := methods[strings.ToLower(method)]; ok && fits(template, path) && (best == "" || !strings.Contains(template, "{")) {
			best = template
		}
	}
	return best, d.Paths[best][strings.ToLower(method)], best != ""
}

func fits(template, path string) bool {
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	return slices.EqualFunc(want, got, func(want, got string) bool { return want == got || strings.HasPrefix(want, "{") && got != "" })
}

// CheckReply fails the test when a reply is not as the document says, down to its headers.
func (d *Document) CheckReply(t testing.TB, method, path string, status int, header http.Header, body []byte) {
	t.Helper()
	template, op, ok := d.Find(method, path)
	if !ok {
		t.Errorf("%s %s is not described", method, path)
		return
	}
	key := strconv.Itoa(status)
	if _, ok := op.Responses[key]; !ok {
		key = key[:1] + "XX"
	}
	described, ok := op.Responses[key]
	if !ok {
		t.Errorf("%s %s: the status %d is not described: %.300s", method, path, status, body)
		return
	}
	media, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	if _, ok := described.Content[media]; ok == (media == "") && len(described.Content)+len(body) > 0 && method != http.MethodHead {
		t.Errorf("%s %s: %d with the type %q is not described", method, path, status, media)
		return
	}
	for _, name := range []string{"Location", "Content-Location", "Job-Id", "Job-Status", "Preference-Applied", "Idempotency-Replayed", "Retry-After", "ETag", "X-Should-Retry", "Server-Timing", "Headrace-Batch", "Headrace-Route", "Headrace-Dropped", "X-Request-Id"} {
		if _, ok := described.Headers[name]; header.Get(name) != "" && !ok {
			t.Errorf("%s %s: %d has the header %s, which is not described", method, path, status, name)
		}
	}
	if !strings.HasSuffix(media, "json") || method == http.MethodHead {
		return
	}
	d.check(t, fmt.Sprintf("%s %s, %d", method, path, status), pointer("paths", template, strings.ToLower(method), "responses", key, "content", media, "schema"), body)
}

// CheckRequest fails the test when a body is not as the document says.
func (d *Document) CheckRequest(t testing.TB, method, path string, body []byte) {
	t.Helper()
	template, op, ok := d.Find(method, path)
	if !ok || op.RequestBody == nil {
		t.Errorf("%s %s has no body that is described", method, path)
		return
	}
	d.check(t, method+" "+path, pointer("paths", template, strings.ToLower(method), "requestBody", "content", "application/json", "schema"), body)
}

func (d *Document) check(t testing.TB, what, at string, body []byte) {
	t.Helper()
	schema := d.schema(t, at)
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		t.Errorf("%s: %v: %.300s", what, err, body)
		return
	}
	if schema == nil {
		return
	}
	if err := schema.Validate(value); err != nil {
		t.Errorf("%s: %v\n%.1000s", what, err, body)
	}
}

// pointer is a fragment that leads to a member.
func pointer(steps ...string) string {
	var b strings.Builder
	b.WriteByte('#')
	for _, step := range steps {
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(step))
	}
	return b.String()
}
