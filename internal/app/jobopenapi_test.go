package app_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// schemaOf is a schema of openapi.json.
type schemaOf struct {
	Ref        string              `json:"$ref"`
	Type       any                 `json:"type"`
	Required   []string            `json:"required"`
	Properties map[string]schemaOf `json:"properties"`
	Additional any                 `json:"additionalProperties"` //nolint:tagliatelle // its own name
	Items      *schemaOf           `json:"items"`
	AnyOf      []schemaOf          `json:"anyOf"` //nolint:tagliatelle // its own name
	Enum       []any               `json:"enum"`
}

// described is openapi.json as far as jobs need it.
type described struct {
	Paths map[string]map[string]struct {
		Responses map[string]struct {
			Content map[string]struct{ Schema schemaOf } `json:"content"`
		} `json:"responses"`
		RequestBody *struct {
			Content map[string]struct{ Schema schemaOf } `json:"content"`
		} `json:"requestBody"` //nolint:tagliatelle // its own name
		Parameters []struct{ Name, In string } `json:"parameters"`
	} `json:"paths"`
	Components struct{ Schemas map[string]schemaOf } `json:"components"`
}

// problems tells where a value does not fit a schema; it knows what the schemas of jobs use.
func (d *described) problems(s schemaOf, value any, at string) (found []string) {
	if s.Ref != "" {
		name := s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
		target, known := d.Components.Schemas[name]
		if !known {
			return []string{at + ": there is no schema " + name}
		}
		return d.problems(target, value, at)
	}
	if len(s.AnyOf) > 0 {
		for _, one := range s.AnyOf {
			found = d.problems(one, value, at)
			if len(found) == 0 {
				return nil
			}
		}
		return found
	}
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, value) {
		return []string{fmt.Sprintf("%s: %v is not one of %v", at, value, s.Enum)}
	}
	if s.Type != nil && !slices.Contains(typesOf(value), fmt.Sprint(s.Type)) && !slices.ContainsFunc(typesOf(value), func(kind string) bool {
		list, _ := s.Type.([]any)
		return slices.Contains(list, any(kind))
	}) {
		return []string{fmt.Sprintf("%s: %v is not %v", at, value, s.Type)}
	}
	switch value := value.(type) {
	case map[string]any:
		for _, name := range s.Required {
			if _, there := value[name]; !there {
				found = append(found, at+"."+name+" is missing")
			}
		}
		for name, member := range value {
			schema, known := s.Properties[name]
			if !known && s.Additional == false {
				found = append(found, at+"."+name+" is not described")
			}
			if known {
				found = append(found, d.problems(schema, member, at+"."+name)...)
			}
		}
	case []any:
		for i, item := range value {
			if s.Items != nil {
				found = append(found, d.problems(*s.Items, item, fmt.Sprintf("%s[%d]", at, i))...)
			}
		}
	}
	return found
}

func typesOf(value any) []string {
	switch value := value.(type) {
	case nil:
		return []string{"null"}
	case bool:
		return []string{"boolean"}
	case string:
		return []string{"string"}
	case float64:
		if value == float64(int64(value)) {
			return []string{"integer", "number"}
		}
		return []string{"number"}
	case []any:
		return []string{"array"}
	}
	return []string{"object"}
}

// What the jobs' paths answer is what openapi.json says, for each status; and it describes each of these paths.
func TestJobOpenAPI(t *testing.T) {
	t.Parallel()
	addr, model := upWith(t, "")
	base := "http://" + addr
	var d described
	if err := json.Unmarshal([]byte(call(t, "GET", base+"/openapi.json", "").body), &d); err != nil {
		t.Fatal(err)
	}
	const order = `{"route":"emb","input":{"input":"a"},"tags":["x"],"metadata":{"k":"v"}}`
	const later = `{"route":"emb","input":{"input":"a"},"run_at":"%s"}`
	covered := make(map[string]bool)
	for _, test := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/v1/jobs", order, 202},
		{"POST", "/v1/jobs", "{}", 400},
		{"POST", "/v1/jobs", `{"route":"nope","input":{}}`, 404},
		{"PUT", "/v1/jobs/one", order, 202},
		{"PUT", "/v1/jobs/one", order, 200},
		{"PUT", "/v1/jobs/one", strings.Replace(order, `"a"`, `"b"`, 1), 422},
		{"POST", "/v1/jobs/batch", `{"jobs":[` + order + `,{}]}`, 202},
		{"POST", "/v1/jobs/batch", "{}", 400},
		{"GET", "/v1/jobs/one?wait=20", "", 200},
		{"GET", "/v1/jobs/none", "", 404},
		{"GET", "/v1/jobs/one/result", "", 200},
		{"GET", "/v1/jobs/one/input", "", 200},
		{"GET", "/v1/jobs/one/attempts", "", 200},
		{"GET", "/v1/jobs/one/events", "", 200},
		{"POST", "/v1/jobs/one/retry", "", 409},
		{"POST", "/v1/jobs/one/cancel", "", 200},
		{"PUT", "/v1/jobs/two", fmt.Sprintf(later, time.Now().Add(time.Hour).Format(time.RFC3339)), 202},
		{"GET", "/v1/jobs/two", "", 200},
		{"GET", "/v1/jobs/two/result", "", 202},
		{"POST", "/v1/jobs/two/cancel", "", 200},
		{"GET", "/v1/jobs/two/result", "", 409},
		{"POST", "/v1/jobs/two/retry", "", 202},
		{"GET", "/v1/jobs?limit=2", "", 200},
		{"GET", "/v1/jobs?colour=blue", "", 400},
		{"DELETE", "/v1/jobs/one", "", 204},
		{"GET", "/v1/jobs/one", "", 410},
		{"PUT", "/v1/jobs/one", order, 410},
		{"GET", "/v1/queues", "", 200},
		{"GET", "/v1/queues/emb", "", 200},
		{"GET", "/v1/queues/nope", "", 404},
		{"POST", "/v1/queues/emb/pause", "", 200},
		{"POST", "/v1/queues/emb/resume", "", 200},
		{"GET", "/v1/limits", "", 200},
		{"GET", "/v1/dead", "", 200},
		{"POST", "/v1/dead/redrive", "", 202},
		{"POST", "/v1/dead/two/redrive", "", 409},
	} {
		r := call(t, test.method, base+test.path, test.body)
		path, _, _ := strings.Cut(test.path, "?")
		for _, name := range []string{"/one", "/two", "/none", "/emb", "/nope"} {
			path = strings.Replace(path, name, "/{name}", 1)
		}
		op, known := d.Paths[path][strings.ToLower(test.method)]
		if r.status != test.status || !known {
			t.Errorf("%s %s: %d %s; described: %t", test.method, test.path, r.status, r.body, known)
			continue
		}
		covered[test.method+" "+path] = true
		response, known := op.Responses[strconv.Itoa(r.status)]
		if !known {
			t.Errorf("%s %s answers %d, which is not described", test.method, path, r.status)
		}
		for _, content := range response.Content {
			var value any
			if err := json.Unmarshal([]byte(r.body), &value); err != nil {
				t.Errorf("%s %s: %v", test.method, path, err)
			}
			for _, problem := range d.problems(content.Schema, value, "it") {
				t.Errorf("%s %s, %d: %s", test.method, path, r.status, problem)
			}
		}
		if op.RequestBody != nil && r.status < 300 {
			var value any
			if err := json.Unmarshal([]byte(test.body), &value); err == nil && !strings.Contains(test.body, "{}") {
				for _, problem := range d.problems(op.RequestBody.Content["application/json"].Schema, value, "the body") {
					t.Errorf("%s %s: %s", test.method, path, problem)
				}
			}
		}
	}
	for path, methods := range d.Paths {
		for method := range methods {
			ours := slices.ContainsFunc([]string{"/v1/jobs", "/v1/queues", "/v1/dead", "/v1/limits"}, func(base string) bool { return strings.HasPrefix(path, base) })
			if name := strings.ToUpper(method) + " " + path; ours && !covered[name] {
				t.Errorf("%s is described and was not tried", name)
			}
		}
	}
	for path, methods := range d.Paths {
		for _, op := range methods {
			if op.RequestBody == nil || !strings.Contains(path, "invocations") && !strings.Contains(path, "embeddings") && !strings.Contains(path, "completions") {
				continue
			}
			if !slices.ContainsFunc(op.Parameters, func(p struct{ Name, In string }) bool { return p.Name == "Prefer" && p.In == "header" }) || op.Responses["202"].Content == nil {
				t.Errorf("%s does not say that it makes jobs", path)
			}
		}
	}
	model.WaitIdle()
}
