package mlflow_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
)

func TestSeveralPrompts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		predictions string
		items       string
		groups      []int // nil: refused
	}{
		{`["race", "read"]`, `["race","read"]`, []int{1, 1}},
		{`["race", ["love", "to"]]`, `["race","love","to"]`, []int{1, 2}},
		{`{"candidates": [["a"], ["b", "c"]]}`, `["a","b","c"]`, []int{1, 2}},
		{`["only one"]`, "", nil},
		{`["a", "b", "c"]`, "", nil},
		{`["a", []]`, "", nil},
		{`["a", 1]`, "", nil},
		{`["a", ["b", 1]]`, "", nil},
		{`["a", NaN]`, "", nil},
		{`[{"text": "a"}, "b"]`, "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.predictions, func(t *testing.T) {
			t.Parallel()
			req := &inference.Request{Type: inference.Completions, Items: raws(`"x"`, `"y"`)}
			res, err := decode(&inference.Route{}, req, answer(`{"predictions": `+tt.predictions+`}`))
			if tt.groups == nil {
				if fault.CodeOf(err) != fault.UpstreamBadResponse {
					t.Errorf("got %v, %v", res, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if string(joined(res.Items)) != tt.items || !slices.Equal(res.Groups, tt.groups) {
				t.Errorf("got %s %v, want %s %v", joined(res.Items), res.Groups, tt.items, tt.groups)
			}
		})
	}
}

func TestDeclaredField(t *testing.T) {
	t.Parallel()
	tests := []struct {
		typ               inference.Type
		field, body, want string // want "" = refused
	}{
		{inference.Embeddings, "embedding", `[{"embedding": [0.1, 2], "id": 1}, {"embedding": [NaN]}]`, `[[0.1, 2],[null]]`},
		{inference.Embeddings, "embedding", `{"embedding": [[0.1], [0.2]]}`, `[[0.1],[0.2]]`},
		{inference.Embeddings, "embedding", `[[0.1]]`, `[[0.1]]`},
		{inference.Embeddings, "embedding", `[{"embedding": [0.1]}, {"vector": [0.2]}]`, ""},
		{inference.Embeddings, "embedding", `[{"embedding": "no"}]`, ""},
		{inference.Embeddings, "embedding", `{"vector": [0.1]}`, ""},
		{inference.Completions, "generated_text", `[{"generated_text": "a"}]`, `["a"]`},
		{inference.Completions, "generated_text", `[{"generated_text": 1}]`, ""},
		{inference.Completions, "", `[{"generated_text": "a"}]`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.body, func(t *testing.T) {
			t.Parallel()
			route := &inference.Route{Output: &inference.Output{Field: tt.field}}
			res, err := decode(route, &inference.Request{Type: tt.typ, Items: raws(`"x"`)}, answer(`{"predictions": `+tt.body+`}`))
			if tt.want == "" {
				if fault.CodeOf(err) != fault.UpstreamBadResponse {
					t.Errorf("got %v, %v", res, err)
				}
				return
			}
			if err != nil || string(joined(res.Items)) != tt.want {
				t.Errorf("got %v, %v, want %s", res, err, tt.want)
			}
		})
	}
}

func TestRaw(t *testing.T) {
	t.Parallel()
	tests := map[string]string{ // "" = refused
		` {"predictions": [0, 0]} `:               ` {"predictions": [0, 0]} `,
		`{"predictions": [{"a": NaN, "b": 1.0}]}`: `{"predictions": [{"a": null, "b": 1.0}]}`,
		`[1e400]`:                       `[null]`,
		`"bare"`:                        `"bare"`,
		`{"predictions": [0, 0]`:        "",
		``:                              "",
		"{\"predictions\": [\"\xff\"]}": "",
	}
	for body, want := range tests {
		t.Run(body, func(t *testing.T) {
			t.Parallel()
			res, err := decode(&inference.Route{}, &inference.Request{Type: inference.Raw}, answer(body))
			if want == "" {
				if fault.CodeOf(err) != fault.UpstreamBadResponse {
					t.Errorf("got %v, %v", res, err)
				}
				return
			}
			if err != nil || string(res.Body) != want || res.Items != nil {
				t.Errorf("got %v, %v, want %s", res, err, want)
			}
		})
	}
	for _, reply := range []provider.Reply{
		{Status: 302, ContentType: "application/json", Body: []byte(`{}`)},
		{Status: 200, ContentType: "text/plain", Body: []byte(`{}`)},
		{Status: 200, Body: []byte(`{}`)},
	} {
		if res, err := decode(&inference.Route{}, &inference.Request{Type: inference.Raw}, reply); fault.CodeOf(err) != fault.UpstreamBadResponse {
			t.Errorf("%d %s: %v, %v", reply.Status, reply.ContentType, res, err)
		}
	}
}

func TestNaNAsError(t *testing.T) {
	t.Parallel()
	tests := []struct {
		typ  inference.Type
		body string
		says string // "" = accepted
	}{
		{inference.Embeddings, `{"predictions": [[0.1], [0.2, NaN]]}`, "row 1 "},
		{inference.Embeddings, `{"predictions": [[-1e400], [0.2]]}`, "row 0 "},
		{inference.Embeddings, `{"predictions": [0.1, Infinity]}`, "row 0 "},
		{inference.Embeddings, `{"predictions": [[0.1]], "note": NaN}`, ""},
		{inference.Raw, `{"predictions": [{"a": 1}, {"a": 1}, {"a": NaN}]}`, "row 2 "},
		{inference.Raw, `{"predictions": [], "note": NaN}`, "the model server's reply"},
		{inference.Raw, `[NaN]`, "the model server's reply"},
		{inference.Raw, `{"predictions": [1]}`, ""},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.typ, tt.body), func(t *testing.T) {
			t.Parallel()
			_, err := decode(&inference.Route{NaNError: true}, &inference.Request{Type: tt.typ, Items: raws(`"x"`)}, answer(tt.body))
			switch {
			case tt.says == "" && err != nil:
				t.Error(err)
			case tt.says != "" && (fault.CodeOf(err) != fault.UpstreamBadResponse || !strings.Contains(err.Error(), tt.says)):
				t.Errorf("got %v, want %q", err, tt.says)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"predictions": [[0.1, NaN], [1]]}`, `{"predictions": {"candidates": ["a"], "b": 1}}`, `{"predictions": [0.1]}`,
		`{"error": {"message": null}}`, `{"predictions": [["a", "b"], "c"]}`, `[]`, `{"predictions": {"a": ""}}`,
	} {
		f.Add([]byte(seed), 200, true)
		f.Add([]byte(seed), 400, false)
	}
	f.Fuzz(func(t *testing.T, body []byte, status int, nan bool) {
		for _, typ := range inference.Types() {
			for _, items := range [][][]byte{raws(`"x"`), raws(`"x"`, `"y"`)} {
				route := &inference.Route{NaNError: nan, Output: &inference.Output{Field: "a"}}
				res, err := decode(route, &inference.Request{Type: typ, Items: items}, provider.Reply{Status: status, ContentType: "application/json", Body: body})
				if err != nil {
					if fl := fault.From(err); fl.Code == fault.Internal || fl.Message == "" || fl.Detail != nil && !json.Valid(fl.Detail) {
						t.Fatalf("%v, detail %s", err, fl.Detail)
					}
					continue
				}
				if typ == inference.Raw && !json.Valid(res.Body) || !json.Valid(joined(res.Items)) || typ != inference.Raw && len(res.Items) == 0 {
					t.Fatalf("body %s, items %q", res.Body, res.Items)
				}
			}
		}
	})
}

func BenchmarkDecodeEmbedding(b *testing.B) {
	row := strings.TrimSuffix(strings.Repeat("-0.02317023277282715, ", 384), ", ")
	reply := answer(`{"predictions": [[` + row + `]]}`)
	req := &inference.Request{Type: inference.Embeddings, Items: raws(`"x"`)}
	b.SetBytes(int64(len(reply.Body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode(&inference.Route{}, req, reply); err != nil {
			b.Fatal(err)
		}
	}
}
