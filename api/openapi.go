package api

import (
	_ "embed" // for the page and the icon
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// page is the whole of /docs: it shows /openapi.json without foreign assets.
//
//go:embed assets/docs.html
var page []byte

// icon is /favicon.ico.
//
//go:embed assets/favicon.ico
var icon []byte

// bodies are the schemas of request bodies, as JSON.
//
//go:embed assets/bodies.json
var bodies []byte

// jobSchemas are the schemas of durable jobs, as JSON.
//
//go:embed assets/jobs.json
var jobSchemas []byte

func (s *Server) serveOpenAPI(w *replyWriter, _ *http.Request, _ string) error {
	writeBytes(w, http.StatusOK, "application/json", s.openapi)
	return nil
}

func (s *Server) serveDocs(w *replyWriter, _ *http.Request, _ string) error {
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src 'self'")
	writeBytes(w, http.StatusOK, "text/html; charset=utf-8", page)
	return nil
}

func (s *Server) serveIcon(w *replyWriter, _ *http.Request, _ string) error {
	writeBytes(w, http.StatusOK, "image/vnd.microsoft.icon", icon)
	return nil
}

func (s *Server) toDocs(w *replyWriter, _ *http.Request, _ string) error {
	w.Header().Set("Location", "/docs")
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusTemporaryRedirect)
	return nil
}

// describe makes openapi.json out of the operations.
func describe(version string, ops []operation) []byte {
	paths := make(map[string]map[string]any)
	for _, op := range ops {
		if paths[op.path] == nil {
			paths[op.path] = make(map[string]any)
		}
		paths[op.path][strings.ToLower(op.method)] = describeOperation(op)
	}
	schemas := make(map[string]json.RawMessage)
	for _, text := range [][]byte{bodies, jobSchemas} {
		if json.Unmarshal(text, &schemas) != nil { // it adds to what is there
			return []byte(`{}`) // the embedded schemas are JSON; a test serves the result
		}
	}
	description, err := json.Marshal(map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{
			"title": "Headrace", "version": version,
			"description": "A queue-backed inference broker in front of MLflow model servers.",
		},
		"paths":      paths,
		"components": map[string]any{"schemas": schemas},
	})
	if err != nil {
		return []byte(`{}`) // the embedded schemas are JSON; a test serves the result
	}
	return description
}

func describeOperation(op operation) map[string]any {
	described := map[string]any{
		"summary": op.summary,
		"tags":    []string{op.tag},
		"operationId": strings.ToLower(op.method) + strings.NewReplacer("/", "_", "{", "", "}", "", ".", "_", "-", "_").
			Replace(op.path),
		"responses": map[string]any{
			"200":     map[string]any{"description": "Success."},
			"default": map[string]any{"description": "Failure, in the form of the path's dialect."},
		},
	}
	text := map[string]any{"type": "string"}
	var params []any
	if strings.Contains(op.path, "{name}") {
		params = append(params, map[string]any{"name": "name", "in": "path", "required": true, "schema": text})
	}
	for _, name := range op.params {
		params = append(params, map[string]any{"name": name, "in": "query", "schema": text})
	}
	for _, name := range op.headers {
		params = append(params, map[string]any{"name": name, "in": "header", "schema": text})
	}
	if op.answers != nil {
		described["responses"] = describeAnswers(op.answers)
	}
	if params != nil {
		described["parameters"] = params
	}
	if op.body != "" {
		described["requestBody"] = map[string]any{
			"required": true,
			"content": map[string]any{"application/json": map[string]any{
				"schema": map[string]any{"$ref": "#/components/schemas/" + op.body},
			}},
		}
	}
	return described
}

func describeAnswers(answers []answer) map[string]any {
	all := map[string]any{"default": map[string]any{"description": "Failure, in the form of the path's dialect."}}
	for _, a := range answers {
		one := map[string]any{"description": a.what}
		if a.schema != "" {
			kind := "application/json"
			if a.schema == "Problem" {
				kind = "application/problem+json"
			}
			one["content"] = map[string]any{kind: map[string]any{"schema": map[string]any{"$ref": "#/components/schemas/" + a.schema}}}
		}
		all[strconv.Itoa(a.status)] = one
	}
	return all
}
