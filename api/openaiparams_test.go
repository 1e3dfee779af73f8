package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"headrace/internal/inference"
)

// numbers are routes whose models take token ids.
func numbers() []*inference.Route {
	return []*inference.Route{
		{Name: "numbers", Type: inference.Embeddings, Family: inference.Endpoints, Tokens: true},
		{Name: "ids", Type: inference.Completions, Family: inference.Endpoints, Tokens: true},
	}
}

// A model of texts would embed the first number alone and answer 200.
func TestTokenIDsAreRefusedOnModelsOfTexts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, path, body, param string }{
		{"one text", "/v1/embeddings", `{"model":"embeddings","input":[1,2,3]}`, "input"},
		{"texts", "/v1/embeddings", `{"model":"embeddings","input":[[1,2,3],[4]]}`, "input"},
		{"a route of the older dialect", "/v1/embeddings", `{"model":"old-embeddings","input":[[1]]}`, "input"},
		{"a prompt", "/v1/completions", `{"model":"completions","prompt":[1,2,3]}`, "prompt"},
		{"prompts", "/v1/completions", `{"model":"completions","prompt":[[1],[2]]}`, "prompt"},
		{"our own path", "/v1/routes/embeddings/invocations", `{"input":[[1,2]]}`, "input"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			broker := &fakeBroker{}
			w := do(t, newServer(t, broker), http.MethodPost, c.path, c.body)
			var reply struct {
				Param string
				Error struct{ Param, Type string }
			}
			if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil {
				t.Fatal(err)
			}
			body := w.Body.String()
			if w.Code != http.StatusBadRequest || reply.Error.Param+reply.Param != c.param || !strings.Contains(body, "tokens = true") {
				t.Errorf("%d %s", w.Code, body)
			}
			if c.param == "input" && !strings.Contains(body, "check_embedding_ctx_length=False") {
				t.Errorf("it does not say what to set: %s", body)
			}
			if len(broker.asked()) != 0 {
				t.Error("the model was asked")
			}
		})
	}
	broker := &fakeBroker{}
	w := do(t, newServer(t, broker), http.MethodPost, "/gateway/embeddings/invocations", `{"input":[1,2]}`)
	if got := itemsAsked(t, broker); w.Code != http.StatusOK || got != `1 | 2` {
		t.Errorf("MLflow's own path: %d, items %s", w.Code, got)
	}
}

func TestNothingToEmbedIsRefusedOnOurOwnPath(t *testing.T) {
	t.Parallel()
	w := do(t, newServer(t, &fakeBroker{}), http.MethodPost, "/v1/routes/embeddings/invocations", `{"input":[]}`)
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "nothing to embed") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Parameters that no served model can give effect to: refused where the answer would lack what was asked for, else
// named in the reply. None of them goes to the model.
func TestParametersWithoutEffectAreRefusedOrNamed(t *testing.T) {
	t.Parallel()
	const completions, chat, embeddings = "/v1/completions", "/v1/chat/completions", "/v1/embeddings"
	for _, c := range []struct {
		path, members string
		refused       string // the parameter that a 400 names
		dropped       string // else the header
	}{
		{completions, `"echo":true`, "echo", ""},
		{completions, `"echo":false`, "", ""},
		{completions, `"suffix":"x"`, "suffix", ""},
		{completions, `"suffix":""`, "", ""},
		{completions, `"logprobs":2`, "logprobs", ""},
		{completions, `"logprobs":0`, "logprobs", ""},
		{completions, `"logprobs":null`, "", ""},
		{completions, `"max_tokens":0`, "max_tokens", ""},
		{completions, `"best_of":3`, "", "best_of"},
		{completions, `"best_of":1`, "", ""},
		{completions, `"n":1`, "", ""},
		{completions, `"n":2`, "n", ""},
		{completions, `"user":"u","seed":7`, "", "user"},
		{chat, `"logprobs":true`, "logprobs", ""},
		{chat, `"logprobs":false,"top_logprobs":0`, "", ""},
		{chat, `"top_logprobs":2`, "top_logprobs", ""},
		{chat, `"tools":[{"type":"function","function":{"name":"f"}}]`, "tools", ""},
		{chat, `"tools":[ ],"tool_choice":"auto"`, "", ""},
		{chat, `"tool_choice":"required"`, "tool_choice", ""},
		{chat, `"functions":[{"name":"f"}]`, "functions", ""},
		{chat, `"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{}}}`, "response_format", ""},
		{chat, `"response_format":{"type":"json_object"}`, "response_format", ""},
		{chat, `"response_format":{ "type": "text" }`, "", ""},
		{chat, `"modalities":["text"]`, "", ""},
		{chat, `"modalities":["text","audio"]`, "modalities", ""},
		{chat, `"n":3`, "n", ""},
		{chat, `"store":true,"metadata":{"a":"b"},"service_tier":"auto"`, "", "metadata, store"},
		{embeddings, `"dimensions":64`, "dimensions", ""},
		{embeddings, `"dimensions":3`, "", ""},
		{embeddings, `"dimensions":0`, "dimensions", ""},
		{embeddings, `"user":"u","encoding_format":"float"`, "", "user"},
	} {
		t.Run(c.path+" "+c.members, func(t *testing.T) {
			t.Parallel()
			broker := &fakeBroker{}
			body := map[string]string{
				completions: `{"model":"completions","prompt":"hi",`,
				chat:        `{"model":"chat","messages":[{"role":"user","content":"hi"}],`,
				embeddings:  `{"model":"embeddings","input":"hi",`,
			}[c.path] + c.members + `}`
			w := do(t, newServer(t, broker), http.MethodPost, c.path, body)
			var reply struct {
				Error struct{ Param, Message string }
			}
			if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil {
				t.Fatal(err)
			}
			status := http.StatusOK
			if c.refused != "" {
				status = http.StatusBadRequest
			}
			if w.Code != status || reply.Error.Param != c.refused || !strings.Contains(reply.Error.Message, c.refused) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if got := w.Header().Get("Headrace-Dropped"); got != c.dropped {
				t.Errorf("Headrace-Dropped: %q, want %q", got, c.dropped)
			}
			for _, asked := range broker.asked() {
				for _, name := range []string{"echo", "tools", "best_of", "user", "metadata", "response_format"} {
					if strings.Contains(string(asked.Params), `"`+name+`"`) {
						t.Errorf("the model got %s", asked.Params)
					}
				}
			}
		})
	}
}

// A model that gives as many choices as n asks for is believed.
func TestChoicesAreCounted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, prompt string
		texts        []string
		groups       []int
		status       int
	}{
		{"enough for one prompt", `"a"`, []string{`"1"`, `"2"`}, nil, 200},
		{"one too few", `"a"`, []string{`"1"`}, nil, 400},
		{"enough for each prompt", `["a","b"]`, []string{`"1"`, `"2"`, `"3"`, `"4"`}, []int{2, 2}, 200},
		{"enough for one of them", `["a","b"]`, []string{`"1"`, `"2"`, `"3"`, `"4"`}, []int{3, 1}, 400},
		{"one for each of them", `["a","b"]`, []string{`"1"`, `"2"`}, nil, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			broker := &fakeBroker{answer: func(context.Context, *inference.Route, *inference.Request) (*inference.Result, error) {
				res := &inference.Result{Groups: c.groups}
				for _, text := range c.texts {
					res.Items = append(res.Items, []byte(text))
				}
				return res, nil
			}}
			w := do(t, newServer(t, broker), http.MethodPost, "/v1/completions", `{"model":"completions","prompt":`+c.prompt+`,"n":2}`)
			if w.Code != c.status {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}
