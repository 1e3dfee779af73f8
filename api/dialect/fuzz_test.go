package dialect_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"testing"

	"headrace/api/dialect"
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
	all := dialect.New()
	dialects := map[string]dialect.Dialect{"routes": all.Routes, "endpoints": all.Endpoints, "openai": all.OpenAI, "own": all.Own}
	f.Fuzz(func(t *testing.T, body []byte) {
		for name, speaks := range dialects {
			for _, kind := range []inference.Type{inference.Completions, inference.Chat, inference.Embeddings, inference.Raw} {
				if name == "openai" && kind == inference.Raw {
					continue
				}
				req, err := read(speaks, kind, body)
				if err != nil {
					e, ok := errors.AsType[*fault.Error](err)
					if !ok || e.Code != fault.Invalid && e.Code != fault.NotImplemented || e.Message == "" {
						t.Errorf("%s %s: %q is refused with %v", name, kind, body, err)
					}
					for _, issue := range e.Issues {
						if issue.In != nil && !json.Valid(issue.In) {
							t.Errorf("%s %s: %q: the echo %q", name, kind, body, issue.In)
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
	if req.Body != nil && req.Type != inference.Raw && (req.Type != inference.Chat || !json.Valid(req.Body)) {
		t.Errorf("%s: %q has the body %q", req.Type, body, req.Body)
	}
	if req.Type == inference.Raw && req.Body == nil || req.Type != inference.Raw && req.Type != inference.Embeddings && len(req.Items) == 0 {
		t.Errorf("%s: %q asks nothing", req.Type, body)
	}
}

// FuzzPageToken: a token is refused or names a page; our own tokens always do.
func FuzzPageToken(f *testing.F) {
	f.Add("eyJpbmRleCI6IDE3fQ!*==", 17)
	f.Add("eyJpbmRleCI6ICIxXzcifQ==", 3000)
	f.Fuzz(func(t *testing.T, token string, index int) {
		if n, ok := dialect.ReadPageToken(token); ok && n < 0 {
			t.Errorf("%q is page %d", token, n)
		}
		if index >= 0 && index < 1<<31-1 {
			if n, ok := dialect.ReadPageToken(dialect.PageToken(index)); !ok || n != index {
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
		packed, err := dialect.Base64Floats(row)
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

// read reads a body for a route of the type.
func read(speaks dialect.Dialect, kind inference.Type, body []byte) (*inference.Request, error) {
	text, err := dialect.Parse(body, "")
	if err != nil {
		return nil, err
	}
	asked, err := speaks.Read(&inference.Route{Name: "r", Type: kind}, text)
	if err != nil {
		return nil, err
	}
	return asked.Request, asked.Refused
}
