package api_test

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"headrace/api"
	"headrace/internal/fault"
	"headrace/internal/inference"
)

// itemsAsked joins the items of the only request.
func itemsAsked(t *testing.T, b *fakeBroker) string {
	t.Helper()
	asked := b.asked()
	if len(asked) != 1 {
		t.Fatalf("%d requests", len(asked))
	}
	var items []string
	for _, item := range asked[0].Items {
		items = append(items, string(item))
	}
	return strings.Join(items, " | ")
}

func TestOpenAIRequests(t *testing.T) {
	t.Parallel()
	const (
		chat        = "/v1/chat/completions"
		completions = "/v1/completions"
		embeddings  = "/v1/embeddings"
	)
	for _, c := range []struct {
		name, path, body string
		items, params    string
	}{
		{"text", embeddings, `{"model":"embeddings","input":"a\u00e9"}`, `"a\u00e9"`, ``},
		{"texts", embeddings, `{"model":"embeddings","input":["a","b"],"encoding_format":"base64","user":"u"}`, `"a" | "b"`, ``},
		{"other keys go on", embeddings, `{"model":"embeddings","input":"a","dimensions":3,"x":null,"y":2.50}`, `"a"`, `{"dimensions":3,"y":2.50}`},
		{"token ids are one text", embeddings, `{"model":"numbers","input":[1,2]}`, `[1,2]`, ``},
		{"lists of token ids", embeddings, `{"model":"numbers","input":[[1,2],[3]]}`, `[1,2] | [3]`, ``},
		{"texts for a model that takes token ids", embeddings, `{"model":"numbers","input":["a","b"]}`, `"a" | "b"`, ``},
		{"reached although it is declared under routes", embeddings, `{"model":"old-embeddings","input":"a"}`, `"a"`, ``},
		{"prompt", completions, `{"model":"completions","prompt":"a","max_tokens":null,"logprobs":null,"stream":false}`, `"a"`, `{"n":1,"stream":false}`},
		{"prompts", completions, `{"model":"completions","prompt":["a","b"],"n":null,"seed":null,"temperature":0.70,"top_p":1}`, `"a" | "b"`, `{"n":1,"temperature":0.70,"top_p":1}`},
		{"token ids are one prompt", completions, `{"model":"ids","prompt":[1,2]}`, `[1,2]`, `{"n":1}`},
		{"one stop text", completions, `{"model":"completions","prompt":"a","stop":"END"}`, `"a"`, `{"n":1,"stop":["END"]}`},
		{"one message", chat, `{"model":"chat","messages":[{"role":"system","content":"a\u0021"}],"user":"u"}`, `"a\u0021"`, `{"n":1}`},
		{"a conversation", chat, `{"model":"chat","messages":[{"role":"system","content":"be \"kind\""},{"role":"user","content":"hé"}]}`, `"system: be \"kind\"\nuser: hé"`, `{"n":1}`},
		{"parts are joined", chat, `{"model":"chat","messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]}`, `"ab"`, `{"n":1}`},
		{"a picture alone passes", chat, `{"model":"chat","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]}`, `[{"type":"image_url","image_url":{"url":"x"}}]`, `{"n":1}`},
		{"a call of tools has no content", chat, `{"model":"chat","messages":[{"role":"assistant","content":null},{"role":"user","content":"a"}]}`, `"assistant: \nuser: a"`, `{"n":1}`},
		{"a template", chat, `{"model":"templated","messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}`, `"<user>a<assistant>b<assistant>"`, `{"n":1}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			broker := &fakeBroker{}
			s := newServer(t, broker, func(_ *api.Config, d *api.Deps) {
				var routes []*inference.Route
				for r := range d.Table.All() {
					routes = append(routes, r)
				}
				d.Table = inference.NewTable(append(append(routes, numbers()...), &inference.Route{
					Name: "templated", Type: inference.Chat, Family: inference.Endpoints,
					ChatTemplate: `{{range .Messages}}<{{.Role}}>{{.Content}}{{end}}<assistant>`,
				})...)
			})
			w := do(t, s, http.MethodPost, c.path, c.body)
			if w.Code != http.StatusOK {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			if got := itemsAsked(t, broker); got != c.items {
				t.Errorf("items %s, want %s", got, c.items)
			}
			if got := string(broker.asked()[0].Params); got != c.params {
				t.Errorf("params %s, want %s", got, c.params)
			}
		})
	}
}

func TestOpenAIReplies(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fakeBroker{})
	const id = "X-Request-Id: req-1"
	w := do(t, s, http.MethodPost, "/v1/embeddings", `{"model":"embeddings","input":["a","b"]}`, id)
	const rows = `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.50, -1e-7,null]},{"object":"embedding","index":1,"embedding":[0.50, -1e-7,null]}],` +
		`"model":"m2","usage":{"prompt_tokens":0,"total_tokens":0}}`
	if got := w.Body.String(); got != rows {
		t.Errorf("embeddings: %s", got)
	}
	takes := newServer(t, &fakeBroker{}, func(_ *api.Config, d *api.Deps) { d.Table = inference.NewTable(numbers()...) })
	w = do(t, takes, http.MethodPost, "/v1/embeddings", `{"model":"numbers","input":[[1,2],[3]]}`)
	if !strings.Contains(w.Body.String(), `"usage":{"prompt_tokens":3,"total_tokens":3}`) {
		t.Errorf("token ids are not counted: %s", w.Body)
	}
	w = do(t, s, http.MethodPost, "/v1/completions", `{"model":"completions","prompt":["a","b"]}`, id)
	var reply map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil {
		t.Fatal(err)
	}
	if created, ok := reply["created"].(float64); !ok || created < 1e9 {
		t.Errorf("created %v", reply["created"])
	}
	delete(reply, "created")
	want := map[string]any{
		"id": "cmpl-req-1", "object": "text_completion", "model": "m2",
		"choices": []any{
			map[string]any{"index": 0.0, "text": "a", "logprobs": nil, "finish_reason": "stop"},
			map[string]any{"index": 1.0, "text": "b", "logprobs": nil, "finish_reason": "stop"},
		},
		"usage": map[string]any{"prompt_tokens": 0.0, "completion_tokens": 0.0, "total_tokens": 0.0},
	}
	if !sameValue(reply, want) {
		t.Errorf("completions: %s", w.Body)
	}
	if got := w.Header().Get("Server-Timing"); got != "queue;dur=1.5, gather;dur=0, upstream;dur=2" || w.Header().Get("Headrace-Batch") != "3" {
		t.Errorf("Server-Timing %q", got)
	}
	if got := w.Header().Get("X-Request-Id"); got != "req-1" {
		t.Errorf("X-Request-Id %q", got)
	}
	w = do(t, s, http.MethodPost, "/v1/chat/completions", `{"model":"chat","messages":[{"role":"user","content":"hi"}]}`, id)
	const said = `"choices":[{"index":0,"message":{"role":"assistant","content":"hi","refusal":null},"logprobs":null,"finish_reason":"stop"}],`
	if got := w.Body.String(); !strings.Contains(got, said) || !strings.HasPrefix(got, `{"id":"chatcmpl-req-1"`) {
		t.Errorf("chat: %s", got)
	}
}

func TestBase64Embeddings(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fakeBroker{})
	w := do(t, s, http.MethodPost, "/v1/embeddings", `{"model":"embeddings","input":"a","encoding_format":"base64"}`)
	var reply struct {
		Data []struct{ Embedding string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	packed, err := base64.StdEncoding.DecodeString(reply.Data[0].Embedding)
	if err != nil || len(packed) != 12 {
		t.Fatalf("%d bytes, %v", len(packed), err)
	}
	for i, want := range []float32{0.5, -1e-7, float32(math.NaN())} {
		got := math.Float32frombits(binary.LittleEndian.Uint32(packed[4*i:]))
		if got != want && !(got != got && want != want) {
			t.Errorf("number %d is %v, want %v", i, got, want)
		}
	}
}

func TestOpenAIErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, path, body  string
		status            int
		kind, param, code string
		message           string
	}{
		{"no model", "/v1/embeddings", `{"input":"a"}`, 400, "invalid_request_error", "model", "invalid", "must name a model"},
		{"model is no text", "/v1/embeddings", `{"model":5,"input":"a"}`, 400, "invalid_request_error", "model", "invalid", "valid string"},
		{"unknown model", "/v1/embeddings", `{"model":"nope","input":"a"}`, 404, "invalid_request_error", "model", "model_not_found", `"nope"`},
		{"wrong type", "/v1/embeddings", `{"model":"chat","input":"a"}`, 400, "invalid_request_error", "model", "invalid", "Endpoint 'chat' is not an embeddings endpoint."},
		{"a raw route", "/v1/completions", `{"model":"raw","prompt":"a"}`, 400, "invalid_request_error", "model", "invalid", "not a completions endpoint"},
		{"no input", "/v1/embeddings", `{"model":"embeddings"}`, 400, "invalid_request_error", "input", "invalid", "input: Field required"},
		{"nothing to embed", "/v1/embeddings", `{"model":"embeddings","input":[]}`, 400, "invalid_request_error", "input", "invalid", "nothing to embed"},
		{"no prompt", "/v1/completions", `{"model":"completions","prompt":[]}`, 400, "invalid_request_error", "prompt", "invalid", "no prompt"},
		{"no messages", "/v1/chat/completions", `{"model":"chat","messages":[]}`, 400, "invalid_request_error", "messages", "invalid", "at least 1"},
		{"no content", "/v1/chat/completions", `{"model":"chat","messages":[{"role":"user"}]}`, 400, "invalid_request_error", "messages", "invalid", "messages[0].content"},
		{"a picture among messages", "/v1/chat/completions", `{"model":"chat","messages":[{"role":"user","content":"a"},{"role":"user","content":[{"type":"image_url"}]}]}`, 400, "invalid_request_error", "messages", "invalid", "messages[1].content"},
		{"not JSON", "/v1/completions", `{"model":`, 400, "invalid_request_error", "", "invalid", "not JSON"},
		{"no object", "/v1/completions", `[]`, 400, "invalid_request_error", "", "invalid", "dictionary"},
		{"stream", "/v1/completions", `{"model":"completions","prompt":"a","stream":true}`, 503, "server_error", "", "upstream_unavailable", "refused"},
		{"down", "/v1/completions", `{"model":"completions","prompt":"a"}`, 503, "server_error", "", "upstream_unavailable", "refused"},
		{"unknown path", "/v1/assistants", `{}`, 404, "invalid_request_error", "", "not_found", "/v1/assistants"},
		{"background", "/v1/responses", `{"model":"chat","input":"a","background":true}`, 400, "invalid_request_error", "background", "invalid", "job"},
		{"a stored response", "/v1/responses", `{"model":"chat","input":"a","previous_response_id":"r"}`, 400, "invalid_request_error", "previous_response_id", "invalid", "stores no"},
		{"no items", "/v1/responses", `{"model":"chat","input":[]}`, 400, "invalid_request_error", "input", "invalid", "nothing"},
		{"tools for a model of texts", "/v1/responses", `{"model":"chat","input":"a","tools":[{"type":"function","name":"f"}]}`, 400, "invalid_request_error", "tools", "invalid", "no tools"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, &fakeBroker{answer: unavailable})
			w := do(t, s, http.MethodPost, c.path, c.body)
			var reply struct {
				Error struct{ Message, Type, Param, Code string }
			}
			if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil {
				t.Fatalf("%s: %v", w.Body, err)
			}
			e := reply.Error
			if w.Code != c.status || e.Type != c.kind || e.Param != c.param || e.Code != c.code || !strings.Contains(e.Message, c.message) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			vain := c.status != http.StatusServiceUnavailable
			if got := w.Header().Get("X-Should-Retry"); (got == "false") != vain {
				t.Errorf("x-should-retry %q", got)
			}
			if got := w.Header().Get("Retry-After"); (got == "") != vain {
				t.Errorf("Retry-After %q", got)
			}
		})
	}
}

func TestOpenAICountsEmbeddings(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fakeBroker{answer: func(context.Context, *inference.Route, *inference.Request) (*inference.Result, error) {
		return &inference.Result{Items: [][]byte{[]byte("[1.0]")}}, nil
	}})
	w := do(t, s, http.MethodPost, "/v1/embeddings", `{"model":"embeddings","input":["a","b"]}`)
	if w.Code != http.StatusUnprocessableEntity || w.Header().Get("X-Should-Retry") != "false" || !strings.Contains(w.Body.String(), string(fault.UpstreamBadResponse)) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestModels(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fakeBroker{})
	w := do(t, s, http.MethodGet, "/v1/models", "")
	var list struct {
		Object string
		Data   []struct {
			ID, Object string
			Created    int64
			OwnedBy    string `json:"owned_by"`
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	first := list.Data[0]
	if list.Object != "list" || first.ID != "old-completions" || first.Object != "model" || first.OwnedBy != "mlflow-model-serving" || strings.Contains(w.Body.String(), `"raw"`) {
		t.Errorf("list %s", w.Body)
	}
	if age := time.Since(time.Unix(first.Created, 0)); age < 0 || age > time.Hour {
		t.Errorf("created %d", first.Created)
	}
	if one := do(t, s, http.MethodGet, "/v1/models/chat", ""); one.Code != http.StatusOK || !strings.HasPrefix(one.Body.String(), `{"id":"chat"`) {
		t.Errorf("chat: %d %s", one.Code, one.Body)
	}
	if none := do(t, s, http.MethodGet, "/v1/models/nope", ""); none.Code != http.StatusNotFound || !strings.Contains(none.Body.String(), `"code":"model_not_found"`) {
		t.Errorf("nope: %d %s", none.Code, none.Body)
	}
}
