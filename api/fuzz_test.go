package api_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"testing"

	"headrace/api"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/mlflowtest"
	"headrace/internal/splice"
)

// fuzzBodies seeds a fuzzer with every recorded body.
func fuzzBodies(f *testing.F) {
	f.Helper()
	for _, era := range mlflowtest.Eras() {
		for _, e := range mlflowtest.Exchanges(f, era) {
			if body := e.Request.Body(f); len(body) > 0 && len(body) < 4<<10 {
				f.Add(body)
			}
		}
	}
}

// FuzzBodies: in every dialect a body is refused as the caller's fault, or makes a request of legal JSON.
func FuzzBodies(f *testing.F) {
	fuzzBodies(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, dialect := range []string{"routes", "endpoints", "openai"} {
			for _, kind := range []inference.Type{inference.Completions, inference.Chat, inference.Embeddings, inference.Raw} {
				if dialect == "openai" && kind == inference.Raw {
					continue
				}
				req, err := api.ReadBody(dialect, kind, body)
				if err != nil {
					e, ok := errors.AsType[*fault.Error](err)
					if !ok || e.Code != fault.Invalid && e.Code != fault.NotImplemented || e.Message == "" {
						t.Errorf("%s %s: %q is refused with %v", dialect, kind, body, err)
					}
					for _, issue := range e.Issues {
						if issue.In != nil && !json.Valid(issue.In) {
							t.Errorf("%s %s: %q: the echo %q", dialect, kind, body, issue.In)
						}
					}
					continue
				}
				checkRequest(t, req, body)
			}
		}
	})
}

func checkRequest(t *testing.T, req *inference.Request, body []byte) {
	t.Helper()
	for _, item := range req.Items {
		if !json.Valid(item) {
			t.Errorf("%s: %q asks %q", req.Type, body, item)
		}
	}
	if req.Params != nil && (!json.Valid(req.Params) || req.Params[0] != '{') {
		t.Errorf("%s: %q has the params %q", req.Type, body, req.Params)
	}
	if (req.Type == inference.Raw) != (req.Body != nil) || req.Type != inference.Raw && req.Type != inference.Embeddings && len(req.Items) == 0 {
		t.Errorf("%s: %q asks nothing", req.Type, body)
	}
}

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

// FuzzPageToken: a token is refused or names a page; our own tokens always do.
func FuzzPageToken(f *testing.F) {
	f.Add("eyJpbmRleCI6IDE3fQ!*==", 17)
	f.Add("eyJpbmRleCI6ICIxXzcifQ==", 3000)
	f.Fuzz(func(t *testing.T, token string, index int) {
		if n, ok := api.ReadPageToken(token); ok && n < 0 {
			t.Errorf("%q is page %d", token, n)
		}
		if index >= 0 && index < 1<<31-1 {
			if n, ok := api.ReadPageToken(api.PageToken(index)); !ok || n != index {
				t.Errorf("the token of %d reads %d, %v", index, n, ok)
			}
		}
	})
}

// FuzzBase64Floats: a list of numbers becomes a JSON string, anything else an error.
func FuzzBase64Floats(f *testing.F) {
	f.Add([]byte(`[0.5, -1e-7,null,1e39,NaN]`))
	f.Add([]byte(`[[1]]`))
	f.Fuzz(func(t *testing.T, row []byte) {
		packed, err := api.Base64Floats(row)
		var want []*float64
		flat := json.Unmarshal(splice.Nulled(row), &want) == nil && want != nil
		if flat != (err == nil) {
			t.Fatalf("%q: %v", row, err)
		}
		var text string
		if err == nil && (json.Unmarshal(packed, &text) != nil || base64.StdEncoding.DecodedLen(len(text))/4*4 < 4*len(want)) {
			t.Errorf("%q becomes %q", row, packed)
		}
	})
}
