package api_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"headrace/api"
	"headrace/internal/budget"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/sse"
)

// native answers with a body in OpenAI's form.
func native(body string) *fakeBroker {
	return &fakeBroker{answer: func(context.Context, *inference.Route, *inference.Request) (*inference.Result, error) {
		return &inference.Result{Body: []byte(body)}, nil
	}}
}

// agents is a table of one route whose model takes conversations.
func agents(_ *api.Config, deps *api.Deps) {
	deps.Table = inference.NewTable(&inference.Route{Name: "agent", Type: inference.Chat, Provider: "mlflow-model-serving", Format: inference.FormatResponses})
}

// data lists the data of a stream.
func data(t *testing.T, body string) []string {
	t.Helper()
	var all []string
	for r := sse.NewReader(strings.NewReader(body), 1<<20); ; {
		e, err := r.Next()
		if err != nil {
			return all
		}
		all = append(all, e.Data)
	}
}

func TestWholeAnswerIsAStream(t *testing.T) {
	t.Parallel()
	const said = `{"choices":[{"index":0,"message":{"role":"assistant","content":"caf\u00e9","refusal":null},"logprobs":null,"finish_reason":"length"}],` +
		`"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3},"custom_outputs":{"n":1.50}}`
	const called = `{"choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},` +
		`"finish_reason":"tool_calls"},{"index":1,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}]}`
	for name, c := range map[string]struct {
		path, body, answer string
		want               []string // what each event has
	}{
		"chat": {"/v1/chat/completions", `"messages":[{"role":"user","content":"hi"}]`, said, []string{
			`"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}`, `"delta":{"content":"caf\u00e9"}`,
			`"delta":{},"logprobs":null,"finish_reason":"length"}],"custom_outputs":{"n":1.50}}`, "[DONE]",
		}},
		"chat with usage": {"/v1/chat/completions", `"messages":[{"role":"user","content":"hi"}],"stream_options":{"include_usage":true}`, said, []string{
			`"usage":null}`, `"usage":null}`, `"usage":null,"custom_outputs"`, `"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`, "[DONE]",
		}},
		"calls of tools": {"/v1/chat/completions", `"n":2,"messages":[{"role":"user","content":"hi"}]`, called, []string{
			`"role":"assistant"`, `"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]`, `"finish_reason":"tool_calls"`,
			`"index":1,"delta":{"role"`, `"index":1,"delta":{"content":"x"}`, `"finish_reason":"stop"`, "[DONE]",
		}},
		"responses": {
			"/v1/responses", `"input":"hi"`,
			`{"output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"hi","annotations":[]}]},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}]}`,
			[]string{
				`"type":"response.created","sequence_number":0`, `response.in_progress`, `response.output_item.added`, `response.content_part.added`,
				`"response.output_text.delta","sequence_number":4,"item_id":"msg_`, `response.output_text.done`, `response.content_part.done`, `response.output_item.done`,
				`response.output_item.added`, `response.function_call_arguments.delta`, `response.function_call_arguments.done`, `response.output_item.done`,
				`"type":"response.completed","sequence_number":12,"response":{"id":"resp_`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := do(t, newServer(t, native(c.answer), agents), http.MethodPost, c.path, `{"model":"agent","stream":true,`+c.body+`}`)
			if w.Code != http.StatusOK || w.Header().Get("Content-Type") != sse.ContentType || w.Header().Get("Headrace-Stream") != "whole" {
				t.Fatalf("%d %v %s", w.Code, w.Header(), w.Body)
			}
			events := data(t, w.Body.String())
			if len(events) != len(c.want) {
				t.Fatalf("%d events: %s", len(events), w.Body)
			}
			for i, want := range c.want {
				if !strings.Contains(events[i], want) {
					t.Errorf("event %d is %s, want %s", i, events[i], want)
				}
			}
		})
	}
}

func TestModelOfTextsStreamsToo(t *testing.T) {
	t.Parallel()
	for path, body := range map[string]string{
		"/v1/completions":      `{"model":"completions","prompt":"a","stream":true}`,
		"/v1/chat/completions": `{"model":"chat","messages":[{"role":"user","content":"a"}],"stream":true}`,
		"/v1/responses":        `{"model":"chat","input":[{"role":"user","content":"a"}],"instructions":"b","stream":true}`,
	} {
		broker := &fakeBroker{}
		w := do(t, newServer(t, broker), http.MethodPost, path, body)
		events := data(t, w.Body.String())
		if w.Code != http.StatusOK || len(events) < 3 || strings.Contains(string(broker.asked()[0].Params), "stream") {
			t.Errorf("%s: %d %s, asked %s", path, w.Code, w.Body, broker.asked()[0].Params)
		}
	}
}

func TestMLflowsPathsHaveNoStreams(t *testing.T) {
	t.Parallel()
	w := do(t, newServer(t, &fakeBroker{}), http.MethodPost, "/gateway/completions/invocations", `{"prompt":"a","stream":true}`)
	if w.Code != http.StatusNotImplemented || strings.Contains(w.Header().Get("Content-Type"), "event-stream") {
		t.Errorf("MLflow's path: %d %s", w.Code, w.Body)
	}
}

// slow answers after a while.
func slow(took time.Duration, failed error) *fakeBroker {
	return &fakeBroker{answer: func(ctx context.Context, route *inference.Route, req *inference.Request) (*inference.Result, error) {
		select {
		case <-time.After(took):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if failed != nil {
			return nil, failed
		}
		res, err := echo(ctx, route, req)
		res.Dropped = []string{"seed"}
		return res, err
	}}
}

func TestStreamIsKeptAliveAndBrokenByAnErrorEvent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		took    time.Duration
		err     error
		status  int
		has     string
		hasNot  string
		waiting int
	}{
		"quick":                     {time.Second, nil, 200, "data: [DONE]", "waiting", 0},
		"slow":                      {35 * time.Second, nil, 200, "data: [DONE]", "error", 2},
		"what was dropped is told":  {20 * time.Second, nil, 200, ": Headrace-Dropped: seed", "error", 1},
		"refused before a byte":     {time.Second, fault.New(fault.QueueFull, "full"), 503, `{"error":`, "data:", 0},
		"broken after a first byte": {20 * time.Second, fault.New(fault.UpstreamUnavailable, "gone"), 200, `data: {"error":{"message":"gone","type":"server_error"`, "[DONE]", 1},
		"out of time":               {90 * time.Second, nil, 200, `"code":"deadline"`, "[DONE]", 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, err := api.New(api.Config{}, api.Deps{
					Broker: slow(c.took, c.err), Budget: budget.New(1 << 20),
					Table: inference.NewTable(&inference.Route{Name: "chat", Type: inference.Chat, Provider: "p", Format: inference.FormatInputs}),
				})
				if err != nil {
					t.Fatal(err)
				}
				w := httptest.NewRecorder()
				r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/chat/completions",
					strings.NewReader(`{"model":"chat","messages":[{"role":"user","content":"a"}],"stream":true}`))
				s.Handler().ServeHTTP(w, r)
				body := w.Body.String()
				if w.Code != c.status || !strings.Contains(body, c.has) || strings.Contains(body, c.hasNot) || strings.Count(body, ": waiting") != c.waiting {
					t.Errorf("%d %s", w.Code, body)
				}
			})
		})
	}
}
