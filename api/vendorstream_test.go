package api_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"headrace/api"
	"headrace/internal/inference"
)

// The answer of a vendor's model is a stream in MLflow's dialect, too, and a completion is one in OpenAI's.
func TestVendorsAnswersAreStreams(t *testing.T) {
	t.Parallel()
	const chat = `{"id":"c1","object":"chat.completion","created":7,"model":"m-1","choices":[{"index":0,"message":{"role":"assistant","content":"h\u00e9","tool_calls":[{"id":"t","type":"function",` +
		`"function":{"name":"f","arguments":"{}"}}]},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}`
	const text = `{"id":"c2","created":7,"model":"m-1","choices":[{"index":0,"text":"a","finish_reason":"length"}],"usage":{"prompt_tokens":1}}`
	const ask, prompt = `"messages":[{"role":"user","content":"hi"}]`, `"prompt":"a"`
	const head, texts = `{"id":"c1","object":"chat.completion.chunk","created":7,"model":"m-1","choices":[`, `{"id":"c2","object":"text_completion_chunk","created":7,"model":"m-1","choices":[`
	for name, c := range map[string]struct {
		path, body, answer string
		want               []string
	}{
		"a chat of MLflow's": {"/gateway/chat/invocations", ask, chat, []string{
			head + `{"index":0,"finish_reason":null,"delta":{"role":"assistant","content":"h\u00e9","tool_calls":null}}],"usage":null,"provider":"openai"}`,
			head + `{"index":0,"finish_reason":null,"delta":{"role":null,"content":null,"tool_calls":[{"index":0,"id":"t","type":"function","function":{"name":"f","arguments":"{}"}}]}}],"usage":null,"provider":"openai"}`,
			head + `{"index":0,"finish_reason":"stop","delta":{"role":null,"content":null,"tool_calls":null}}],"usage":null,"provider":"openai"}`,
			head + `],"usage":{"prompt_tokens":1},"provider":"openai"}`, "[DONE]",
		}},
		"a completion of MLflow's, without usage": {"/endpoints/text/invocations", prompt + `,"stream_options":{"include_usage":false}`, text, []string{
			texts + `{"index":0,"finish_reason":null,"text":"a"}],"usage":null,"provider":"openai"}`,
			texts + `{"index":0,"finish_reason":"length","text":""}],"usage":null,"provider":"openai"}`, "[DONE]",
		}},
		"a completion of OpenAI's": {"/v1/completions", `"model":"text",` + prompt, text, []string{
			`{"id":"c2","object":"text_completion","created":7,"model":"m-1","choices":[{"index":0,"text":"a","logprobs":null,"finish_reason":null}]}`,
			`{"id":"c2","object":"text_completion","created":7,"model":"m-1","choices":[{"index":0,"text":"","logprobs":null,"finish_reason":"length"}]}`, "[DONE]",
		}},
	} {
		vendor := &inference.Vendor{API: inference.OpenAIAPI}
		s := newServer(t, native(c.answer), func(_ *api.Config, d *api.Deps) {
			d.Table = inference.NewTable(
				&inference.Route{Name: "chat", Type: inference.Chat, Family: inference.Endpoints, Provider: "openai", Model: "m", Vendor: vendor},
				&inference.Route{Name: "text", Type: inference.Completions, Family: inference.Endpoints, Provider: "openai", Model: "m", Vendor: vendor},
			)
		})
		w := do(t, s, http.MethodPost, c.path, `{"stream":true,`+c.body+`}`)
		got := data(t, w.Body.String())
		if w.Code != http.StatusOK || strings.Join(got, "\n") != strings.Join(c.want, "\n") {
			t.Errorf("%s: %d\n%s\nwant\n%s", name, w.Code, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

// stream gives pieces, and then ends.
type stream struct{ pieces []inference.Event }

// Next is part of inference.Stream.
func (s *stream) Next(context.Context) (*inference.Event, error) {
	if len(s.pieces) == 0 {
		return nil, io.EOF
	}
	e := &s.pieces[0]
	s.pieces = s.pieces[1:]
	return e, nil
}

// Close is part of inference.Stream.
func (*stream) Close() {}

// TestPiecesAreWrittenInMLflowsChunks: a vendor's chunks become those of MLflow 3 on MLflow's path as they come.
func TestPiecesAreWrittenInMLflowsChunks(t *testing.T) {
	t.Parallel()
	broker := &fakeBroker{answer: func(_ context.Context, _ *inference.Route, req *inference.Request) (*inference.Result, error) {
		if !req.Stream {
			t.Error("no stream is asked for")
		}
		raw := func(s string) inference.Event { return inference.Event{Kind: inference.EventRaw, Raw: []byte(s)} }
		return &inference.Result{Stream: &stream{[]inference.Event{
			raw(`{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}`), raw(`{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`),
		}}}, nil
	}}
	s := newServer(t, broker, func(_ *api.Config, d *api.Deps) {
		d.Table = inference.NewTable(&inference.Route{
			Name: "chat", Type: inference.Chat, Family: inference.Endpoints, Provider: "openai", Model: "m", StreamMax: time.Minute, Vendor: &inference.Vendor{API: inference.OpenAIAPI},
		})
	})
	w := do(t, s, http.MethodPost, "/gateway/chat/invocations", `{"stream":true,"messages":[{"role":"user","content":"hi"}]}`)
	got := data(t, w.Body.String())
	if w.Code != http.StatusOK || len(got) != 3 || !strings.Contains(got[0], `"delta":{"role":"assistant","content":"a","tool_calls":null}}],"usage":null,"provider":"openai"}`) || got[2] != "[DONE]" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}
