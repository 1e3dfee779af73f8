package api_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"headrace/internal/inference"
)

// discard is a ResponseWriter that keeps nothing.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) WriteHeader(int)             {}
func (d discard) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkHandler is a call through the whole front end, without connection and model.
func BenchmarkHandler(b *testing.B) {
	row := []byte("[" + strings.Repeat("0.012345678901234567,", 383) + "0.5]")
	broker := &fakeBroker{}
	s := newServer(b, broker)
	broker.answer = func(_ context.Context, _ *inference.Route, req *inference.Request) (*inference.Result, error) {
		broker.mu.Lock()
		broker.requests = broker.requests[:0]
		broker.mu.Unlock()
		res := &inference.Result{}
		for range req.Items {
			if req.Type == inference.Embeddings {
				res.Items = append(res.Items, row)
			} else {
				res.Items = append(res.Items, []byte(`"an answer"`))
			}
		}
		return res, nil
	}
	for _, c := range []struct{ name, path, body string }{
		{"gateway embeddings", "/gateway/embeddings/invocations", `{"input":["` + strings.Repeat("word ", 40) + `"]}`},
		{"openai embeddings float", "/v1/embeddings", `{"model":"embeddings","input":"` + strings.Repeat("word ", 40) + `"}`},
		{"openai embeddings base64", "/v1/embeddings", `{"model":"embeddings","input":"` + strings.Repeat("word ", 40) + `","encoding_format":"base64"}`},
		{"gateway completions", "/gateway/old-completions/invocations", `{"prompt":"` + strings.Repeat("word ", 40) + `","temperature":0.5,"max_tokens":100}`},
		{"openai chat", "/v1/chat/completions", `{"model":"chat","messages":[{"role":"user","content":"` + strings.Repeat("word ", 40) + `"}],"temperature":0.5}`},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, c.path, nil)
				r.Body, r.ContentLength = io.NopCloser(bytes.NewReader([]byte(c.body))), int64(len(c.body))
				s.Handler().ServeHTTP(discard{header: make(http.Header)}, r)
			}
		})
	}
}
