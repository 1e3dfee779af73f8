package api_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"
)

// FuzzReplies: whatever the path and the body, the reply is JSON where it says so, with a length that is true.
func FuzzReplies(f *testing.F) {
	s := newServer(f, &fakeBroker{})
	f.Add("/gateway/old-chat/invocations", []byte(`{"messages":[{"role":"user","content":"hi"}]}`))
	f.Add("/v1/embeddings", []byte(`{"model":"embeddings","input":["a"],"encoding_format":"base64"}`))
	f.Add("/v1/chat/completions", []byte(`{"model":"chat","messages":[{"role":"a","content":"b"},{"role":"c","content":[{"type":"text","text":"d"}]}]}`))
	f.Add("/v1/routes/raw/invocations", []byte(`{"inputs":[1]}`))
	f.Add("/api/2.0/gateway/limits/", []byte(`{"route":"a","limits":[{}]}`))
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://host"+path, bytes.NewReader(body))
		if err != nil || r.URL.Path != path {
			return
		}
		w := do(t, s, http.MethodPost, r.URL.RequestURI(), string(body))
		if w.Code == http.StatusTemporaryRedirect {
			return
		}
		if w.Code == http.StatusInternalServerError || !json.Valid(w.Body.Bytes()) && path != "/v1/routes/raw/invocations" {
			t.Errorf("%s %q: %d %q", path, body, w.Code, w.Body)
		}
	})
}
