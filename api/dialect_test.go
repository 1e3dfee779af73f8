package api_test

import (
	"net/http"
	"testing"
)

// Which Content-Types are JSON, as MLflow's framework sorts them; only a header that says nothing at all counts as JSON here.
func TestContentTypesOfBodies(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fakeBroker{})
	for contentType, status := range map[string]int{
		"application/json": 200, "Application/JSON": 200, "application/json;": 200, "application/json; charset=utf-16": 200, "application/ld+json": 200,
		"application/vnd.api+json; profile=\"a;b\"": 200, "": 200, " ": 200,
		"; application/json": 422, ";": 422, "text/json": 422, "text/plain": 422, "application/jsonl": 422, "application/": 422, "/json": 422, "json": 422,
		"*/*": 422, "application/json, text/plain": 422, "application /json": 422, "multipart/form-data; boundary=x": 422,
	} {
		if w := do(t, s, http.MethodPost, "/gateway/completions/invocations", ask, "Content-Type: "+contentType); w.Code != status {
			t.Errorf("%q: %d %s, want %d", contentType, w.Code, w.Body, status)
		}
	}
}
