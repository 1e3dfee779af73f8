package openai_test

import (
	"encoding/json"
	"strings"
	"testing"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/provider/openai"
)

const key = "sk-s3cret-key"

func route(kind inference.Type, v inference.Vendor) *inference.Route {
	v.API, v.Key = inference.OpenAIAPI, key
	return &inference.Route{Name: "r", Type: kind, Provider: "openai", Model: "m-1", Vendor: &v}
}

func TestEncode(t *testing.T) {
	t.Parallel()
	azure := inference.Vendor{Azure: inference.AzureKey, Deployment: "my dep/ö", Version: "2024-06-01&x"}
	for name, c := range map[string]struct {
		kind       inference.Type
		vendor     inference.Vendor
		body       string
		path, sent string
		query      string
		header     string // name: value
	}{
		"chat":                            {inference.Chat, inference.Vendor{}, `{"messages":[1],"x":1.50,"y":null}`, "chat/completions", `{"model":"m-1","messages":[1],"x":1.50,"y":null}`, "", "Authorization: Bearer " + key},
		"the caller's model is not asked": {inference.Chat, inference.Vendor{}, `{"messages":[],"model":"other"}`, "chat/completions", `{"model":"m-1","messages":[]}`, "", "Authorization: Bearer " + key},
		"the last of two members counts":  {inference.Chat, inference.Vendor{}, `{"n":1,"messages":[],"n":2}`, "chat/completions", `{"model":"m-1","n":2,"messages":[]}`, "", ""},
		"responses":                       {inference.Chat, inference.Vendor{}, `{"input":"hi"}`, "responses", `{"model":"m-1","input":"hi"}`, "", ""},
		"completions":                     {inference.Completions, inference.Vendor{}, `{"prompt":["a","b"]}`, "completions", `{"model":"m-1","prompt":["a","b"]}`, "", ""},
		"completions by chat":             {inference.Completions, inference.Vendor{CompletionsByChat: true}, `{"n":2,"prompt":["a"],"messages":[]}`, "chat/completions", `{"model":"m-1","n":2,"messages":[{"role":"user","content":"a"}]}`, "", ""},
		"embeddings":                      {inference.Embeddings, inference.Vendor{Organization: "o-1"}, `{"input":[1,2]}`, "embeddings", `{"model":"m-1","input":[1,2]}`, "", "OpenAI-Organization: o-1"},
		"a version":                       {inference.Chat, inference.Vendor{Version: "v"}, `{"messages":[]}`, "chat/completions", `{"model":"m-1","messages":[]}`, "api-version=v", ""},
		"Azure":                           {inference.Chat, azure, `{"messages":[]}`, "openai/deployments/my dep/ö/chat/completions", `{"messages":[]}`, "api-version=2024-06-01%26x", "Api-Key: " + key},
		"Azure's newer form":              {inference.Chat, inference.Vendor{Azure: inference.AzureToken}, `{"messages":[]}`, "chat/completions", `{"model":"m-1","messages":[]}`, "", "Authorization: Bearer " + key},
	} {
		call, err := openai.New().Encode(route(c.kind, c.vendor), &inference.Request{Type: c.kind, Body: []byte(c.body)})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if call.Path != c.path || string(call.Body) != c.sent || call.Query != c.query || call.ContentType != "application/json" {
			t.Errorf("%s: %s?%s %s", name, call.Path, call.Query, call.Body)
		}
		if field, value, ok := strings.Cut(c.header, ": "); ok && string(call.Header[field]) != value {
			t.Errorf("%s: the header %s is %q", name, field, string(call.Header[field]))
		}
	}
}

// TestAStreamIsAskedFor: with the caller's options, which are left out of a call that is no stream.
func TestAStreamIsAskedFor(t *testing.T) {
	t.Parallel()
	const body = `{"messages":[],"stream_options":{"include_usage":true}}`
	for stream, want := range map[bool]string{
		true: `{"model":"m-1","messages":[],"stream_options":{"include_usage":true},"stream":true}`, false: `{"model":"m-1","messages":[]}`,
	} {
		r := route(inference.Chat, inference.Vendor{})
		r.MaxEvent = 7
		call, err := openai.New().Encode(r, &inference.Request{Type: inference.Chat, Body: []byte(body), Stream: stream})
		if err != nil || string(call.Body) != want || (call.Stream != nil) != stream || stream && call.Stream.MaxEvent != 7 {
			t.Errorf("stream %t: %s, %+v, %v", stream, call.Body, call.Stream, err)
		}
	}
}

// TestPiecesAreOfTheFormThatWasAsked: a text that is asked as a chat is taken apart, everything else passes as it came.
func TestPiecesAreOfTheFormThatWasAsked(t *testing.T) {
	t.Parallel()
	const chunk, event = `{"choices":[{"delta":{"content":"a"}}]}`, `{"type":"response.created"}`
	for name, c := range map[string]struct {
		kind   inference.Type
		vendor inference.Vendor
		body   string
		data   string
		want   inference.EventKind
	}{
		"chat":                {inference.Chat, inference.Vendor{}, `{"messages":[]}`, chunk, inference.EventRaw},
		"completions":         {inference.Completions, inference.Vendor{}, `{"prompt":"a"}`, chunk, inference.EventRaw},
		"completions by chat": {inference.Completions, inference.Vendor{CompletionsByChat: true}, `{"prompt":"a"}`, chunk, inference.EventText},
		"responses":           {inference.Chat, inference.Vendor{}, `{"input":"a"}`, event, inference.EventRaw},
	} {
		p := openai.New().Pieces(route(c.kind, c.vendor), &inference.Request{Type: c.kind, Body: []byte(c.body)}, provider.Reply{})
		if got, _, err := p.Read("", c.data); err != nil || len(got) != 1 || got[0].Kind != c.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind  inference.Type
		body  string
		param string
	}{
		"no body":               {inference.Chat, ``, ""},
		"raw":                   {inference.Raw, `{}`, ""},
		"prompts asked by chat": {inference.Completions, `{"prompt":["a","b"]}`, "prompt"},
		"tokens asked by chat":  {inference.Completions, `{"prompt":[1,2]}`, "prompt"},
	} {
		_, err := openai.New().Encode(route(c.kind, inference.Vendor{CompletionsByChat: true}), &inference.Request{Type: c.kind, Body: []byte(c.body)})
		if fault.CodeOf(err) != fault.Invalid || fault.From(err).Param != c.param {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind       inference.Type
		said, want string // want "": as it came
	}{
		"a chat passes as it is":       {inference.Chat, `{"id":"c", "choices":[{"message":{"content":"é","x":1.50}}],"extra":{"a":null}}`, ""},
		"NaN is null":                  {inference.Chat, `{"choices":[{"p":NaN}]}`, `{"choices":[{"p":null}]}`},
		"no choice is an answer":       {inference.Chat, `{"choices":[]}`, ""},
		"completions pass":             {inference.Completions, `{"choices":[{"text":"a"}]}`, ""},
		"a message becomes a text":     {inference.Completions, `{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}],"usage":null}`, `{"id":"c","object":"text_completion","choices":[{"text":"a","index":0,"finish_reason":"stop"}],"usage":null}`},
		"a message without content":    {inference.Completions, `{"choices":[{"message":{"content":null}}]}`, `{"choices":[{"text":""}]}`},
		"rows in order pass":           {inference.Embeddings, `{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":"AAAA"}]}`, ""},
		"rows are put in order":        {inference.Embeddings, `{"model":"m","data":[{"index":2,"embedding":[2]},{"index":0,"embedding":[0]},{"index":1,"embedding":[1]}]}`, `{"model":"m","data":[{"index":0,"embedding":[0]},{"index":1,"embedding":[1]},{"index":2,"embedding":[2]}]}`},
		"rows without an index are so": {inference.Embeddings, `{"data":[{"embedding":[1]},{"embedding":[0]}]}`, ""},
	} {
		res, err := openai.New().Decode(route(c.kind, inference.Vendor{}), &inference.Request{Type: c.kind, Body: []byte(`{"messages":[]}`)},
			provider.Reply{Status: 200, ContentType: "Application/JSON; charset=utf-8", Body: []byte(c.said)})
		if c.want == "" {
			c.want = c.said
		}
		if err != nil || string(res.Body) != c.want || res.Items != nil {
			t.Errorf("%s: %v, %v", name, res, err)
		}
	}
	for name, reply := range map[string]provider.Reply{
		"no list":       {Status: 200, ContentType: "application/json", Body: []byte(`{"choices":{}}`)},
		"a list":        {Status: 200, ContentType: "application/json", Body: []byte(`[]`)},
		"no JSON":       {Status: 200, ContentType: "application/json", Body: []byte(`{`)},
		"not UTF-8":     {Status: 200, ContentType: "application/json", Body: []byte("{\"choices\":[\"\xff\"]}")},
		"an error":      {Status: 200, ContentType: "application/json", Body: []byte(`{"error":{"message":"m"},"choices":[]}`)},
		"a page":        {Status: 200, ContentType: "text/html", Body: []byte(`{"choices":[]}`)},
		"a redirect":    {Status: 302, ContentType: "application/json", Body: []byte(`{}`)},
		"without blank": {Status: 200, Body: []byte(`{"choices":[]}`)},
	} {
		_, err := openai.New().Decode(route(inference.Chat, inference.Vendor{}), &inference.Request{Type: inference.Chat, Body: []byte(`{"messages":[]}`)}, reply)
		if fault.CodeOf(err) != fault.UpstreamBadResponse {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzOpenAI(f *testing.F) {
	f.Add([]byte(`{"messages":[{"role":"user","content":"a"}],"n":1}`), []byte(`{"choices":[{"message":{"content":"a"}}]}`))
	f.Add([]byte(`{"prompt":["a"],"prompt":"b"}`), []byte(`{"data":[{"index":1e3,"embedding":[NaN]},{"index":-1,"embedding":1}]}`))
	f.Fuzz(func(t *testing.T, asked, said []byte) {
		for _, kind := range inference.Types() {
			r := route(kind, inference.Vendor{CompletionsByChat: true})
			req := &inference.Request{Type: kind, Body: asked}
			if json.Valid(asked) {
				if call, err := openai.New().Encode(r, req); err == nil && !json.Valid(call.Body) || err != nil && fault.CodeOf(err) != fault.Invalid {
					t.Errorf("%s is sent as %s, %v", asked, call.Body, err)
				}
			}
			for _, status := range []int{200, 429} {
				res, err := openai.New().Decode(r, req, provider.Reply{Status: status, ContentType: "application/json", Body: said})
				if err == nil && !json.Valid(res.Body) {
					t.Errorf("%s is read as %s", said, res.Body)
				}
				if f := fault.From(err); f != nil && f.Detail != nil && !json.Valid(f.Detail) {
					t.Errorf("the detail of %s is %s", said, f.Detail)
				}
			}
		}
	})
}
