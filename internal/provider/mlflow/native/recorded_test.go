package native_test

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"headrace/internal/inference"
	"headrace/internal/provider/mlflow/native"
	"headrace/internal/splice"
)

// exchange is what a real model server was asked and answered.
type exchange struct {
	ID     string `json:"id"` // the model and MLflow's version, then what was tried
	Asked  string `json:"asked"`
	Status int    `json:"status"`
	Body   string `json:"body"`
}

func recorded(tb testing.TB) []exchange {
	tb.Helper()
	text, err := os.ReadFile("testdata/recorded.jsonl")
	if err != nil {
		tb.Fatal(err)
	}
	var all []exchange
	for line := range bytes.Lines(text) {
		var e exchange
		if err := json.Unmarshal(line, &e); err != nil {
			tb.Fatal(err)
		}
		all = append(all, e)
	}
	if len(all) < 100 {
		tb.Fatalf("%d exchanges", len(all))
	}
	return all
}

// formOf is how the model of an exchange wants to be asked.
func (e *exchange) form() native.Form {
	for prefix, form := range map[string]native.Form{
		"chat_model": native.Chat, "llm_chat": native.Chat, "chat_agent": native.Agent, "responses_agent": native.Responses,
		"llm_completions": native.Completions, "llm_embeddings": native.Embeddings, "agent_server": native.AgentServer,
	} {
		if strings.HasPrefix(strings.TrimPrefix(e.ID, "probe-"), prefix) {
			return form
		}
	}
	return native.Inputs
}

func TestRefusalsNameTheFormOfTheModel(t *testing.T) {
	t.Parallel()
	named := 0
	for _, e := range recorded(t) {
		form, ok := native.Names(e.Status, []byte(e.Body))
		if ok {
			named++
			want := e.form()
			if strings.HasPrefix(e.ID, "pyfunc_messages") && strings.Contains(e.Body, "Expecting example") {
				want = native.Conversations
			}
			if form != want {
				t.Errorf("%s: %s, want %s", e.ID, form, want)
			}
		}
		tabular := strings.Contains(e.ID, "forest") || strings.Contains(e.ID, "frame")
		shows := e.Status == 400 && !tabular && !strings.Contains(e.Body, "Encountered an unexpected error") && (strings.Contains(e.Body, "with schema '[") || strings.Contains(e.Body, "for ResponsesAgent"))
		if shows && !ok {
			t.Errorf("%s shows a signature, and names nothing", e.ID)
		}
		if ok && (e.Status != 400 || strings.Contains(e.Body, "Encountered an unexpected error")) {
			t.Errorf("%s: the model ran, and %s is named", e.ID, form)
		}
	}
	if named < 20 {
		t.Errorf("only %d refusals name a form", named)
	}
}

// completion is a chat completion as OpenAI's clients read it.
type completion struct {
	Choices []struct {
		Index   int `json:"index"`
		Message struct {
			Role    string  `json:"role"`
			Content *string `json:"content"`
			Calls   []struct {
				ID       string `json:"id"`
				Type     string `json:"type"`
				Function struct{ Name, Arguments string }
			} `json:"tool_calls"`
		} `json:"message"`
		Finish string `json:"finish_reason"`
	} `json:"choices"`
	Usage   map[string]any  `json:"usage"`
	Outputs json.RawMessage `json:"custom_outputs"`
}

func TestRecordedAnswersBecomeChatCompletions(t *testing.T) {
	t.Parallel()
	tried := 0
	for _, e := range recorded(t) {
		form := e.form()
		if e.Status != 200 || !slices.Contains([]native.Form{native.Chat, native.Agent, native.Responses, native.AgentServer}, form) {
			continue
		}
		if form == native.Chat && strings.HasPrefix(strings.TrimSpace(e.Body), `{"predictions": [`) {
			continue // rows, which no conversation asks for
		}
		tried++
		req := &inference.Request{Type: inference.Chat, Body: []byte(`{"messages":[]}`)}
		res, err := native.Decode(form, req, []byte(e.Body))
		if err != nil {
			t.Errorf("%s: %v", e.ID, err)
			continue
		}
		var c completion
		if err := json.Unmarshal(res.Body, &c); err != nil {
			t.Errorf("%s: %v: %s", e.ID, err, res.Body)
			continue
		}
		for i, choice := range c.Choices {
			if choice.Index != i || choice.Message.Role != "assistant" || choice.Finish == "" || choice.Message.Content == nil && len(choice.Message.Calls) == 0 {
				t.Errorf("%s: %s", e.ID, res.Body)
			}
			for _, call := range choice.Message.Calls {
				if call.ID == "" || call.Type != "function" || call.Function.Name == "" || !json.Valid([]byte(call.Function.Arguments)) || choice.Finish != "tool_calls" {
					t.Errorf("%s: %s", e.ID, res.Body)
				}
			}
		}
		if len(c.Choices) == 0 || !bytes.Contains(res.Body, []byte(`"content":`)) {
			t.Errorf("%s: %s", e.ID, res.Body)
		}
		if has := strings.Contains(e.Body, `"total_tokens":`); has != (c.Usage != nil) {
			t.Errorf("%s: the usage is %v, and the model's: %v", e.ID, c.Usage, has)
		}
		if c.Usage != nil && c.Usage["prompt_tokens"] == nil {
			t.Errorf("%s: the usage is %v", e.ID, c.Usage)
		}
		if strings.Contains(e.Body, `"custom_outputs": {`) != (len(c.Outputs) > 0) {
			t.Errorf("%s: custom_outputs %s", e.ID, c.Outputs)
		}
	}
	if tried < 40 {
		t.Errorf("only %d answers", tried)
	}
}

func TestRecordedAnswersBecomeResponses(t *testing.T) {
	t.Parallel()
	for _, e := range recorded(t) {
		form := e.form()
		if e.Status != 200 || !slices.Contains([]native.Form{native.Chat, native.Agent, native.Responses, native.AgentServer}, form) ||
			strings.HasPrefix(strings.TrimSpace(e.Body), `{"predictions": [`) {
			continue
		}
		req := &inference.Request{Type: inference.Chat, Body: []byte(`{"input":"hi"}`)}
		res, err := native.Decode(form, req, []byte(e.Body))
		if err != nil {
			t.Errorf("%s: %v", e.ID, err)
			continue
		}
		var r struct {
			Output []struct {
				Type    string
				Content []struct{ Type, Text string }
				Name    string
				CallID  string `json:"call_id"`
			}
			Usage map[string]any
		}
		if err := json.Unmarshal(res.Body, &r); err != nil || len(r.Output) == 0 {
			t.Errorf("%s: %v: %s", e.ID, err, res.Body)
		}
		for _, item := range r.Output {
			if item.Type == "message" && (len(item.Content) == 0 || item.Content[0].Type != "output_text") ||
				item.Type == "function_call" && (item.Name == "" || item.CallID == "") || item.Type == "" {
				t.Errorf("%s: %s", e.ID, res.Body)
			}
		}
		if r.Usage != nil && r.Usage["input_tokens"] == nil {
			t.Errorf("%s: the usage is %v", e.ID, r.Usage)
		}
	}
}

// What a model server refused of the form of what it was asked, it takes once it is cleaned.
func TestRecordedRequestsAreCleaned(t *testing.T) {
	t.Parallel()
	for _, e := range recorded(t) {
		form := e.form()
		if form != native.Chat && form != native.Agent || !strings.HasPrefix(strings.TrimSpace(e.Asked), `{"messages": [`) || !json.Valid([]byte(e.Asked)) {
			continue
		}
		ask, err := native.Encode(form, &inference.Request{Type: inference.Chat, Body: []byte(e.Asked)})
		if err != nil {
			if !strings.Contains(e.ID, "image") {
				t.Errorf("%s: %v", e.ID, err)
			}
			continue
		}
		if wrong := refuses(form, ask.Body); wrong != "" && !slices.ContainsFunc([]string{"content-number", "no-role", `"7"`, "max-tokens-string"}, func(s string) bool {
			return strings.Contains(e.ID+e.Asked, s)
		}) {
			t.Errorf("%s: %s: %s", e.ID, wrong, ask.Body)
		}
	}
}

// refuses says what the signature of a model refuses of a body; "" for nothing. It is written from the signatures that
// refusals show.
func refuses(form native.Form, body []byte) string {
	type function struct {
		Name      *string `json:"name"`
		Arguments *string `json:"arguments"`
	}
	type call struct {
		ID       *string   `json:"id"`
		Type     *string   `json:"type"`
		Function *function `json:"function"`
	}
	type message struct {
		Role    *string `json:"role"`
		Content *string `json:"content"`
		Name    *string `json:"name"`
		Refusal *string `json:"refusal"`
		CallID  *string `json:"tool_call_id"`
		Calls   []call  `json:"tool_calls"`
	}
	type property struct {
		Type        *string  `json:"type"`
		Description *string  `json:"description"`
		Enum        []string `json:"enum"`
		Items       *struct {
			Type *string `json:"type"`
		} `json:"items"`
	}
	type parameters struct {
		Type       *string             `json:"type"`
		Properties map[string]property `json:"properties"`
		Required   []string            `json:"required"`
		Additional *bool               `json:"additionalProperties"` //nolint:tagliatelle // JSON Schema's name
	}
	type tool struct {
		Type     *string `json:"type"`
		Function *struct {
			Name        *string     `json:"name"`
			Description *string     `json:"description"`
			Strict      *bool       `json:"strict"`
			Parameters  *parameters `json:"parameters"`
		} `json:"function"`
	}
	var sent struct {
		Messages         []message       `json:"messages"`
		Temperature      *float64        `json:"temperature"`
		MaxTokens        *int64          `json:"max_tokens"`
		Stop             []string        `json:"stop"`
		N                *int64          `json:"n"`
		TopP             *float64        `json:"top_p"`
		TopK             *int64          `json:"top_k"`
		FrequencyPenalty *float64        `json:"frequency_penalty"`
		PresencePenalty  *float64        `json:"presence_penalty"`
		Tools            []tool          `json:"tools"`
		CustomInputs     map[string]any  `json:"custom_inputs"`
		Context          json.RawMessage `json:"context"`
	}
	strict := json.NewDecoder(bytes.NewReader(body))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&sent); err != nil {
		return err.Error()
	}
	members, err := splice.Members(body)
	if err != nil {
		return err.Error()
	}
	for _, m := range members {
		if splice.KindOf(m.Value) == splice.Null {
			return m.Key + " is null"
		}
	}
	for _, m := range sent.Messages {
		switch {
		case m.Role == nil:
			return "a message without role"
		case form == native.Agent && m.CallID != nil && m.Name == nil:
			return "a tool's message without name"
		}
	}
	for _, t := range sent.Tools {
		if t.Function == nil || t.Function.Parameters == nil || t.Function.Parameters.Properties == nil {
			return "a tool without parameters.properties"
		}
		for name, p := range t.Function.Parameters.Properties {
			if p.Type == nil {
				return "the parameter " + name + " without type"
			}
		}
	}
	return ""
}

func TestRefusalsTellTheCauseAndNotTheInput(t *testing.T) {
	t.Parallel()
	for _, e := range recorded(t) {
		if e.Status != 400 {
			continue
		}
		r, ok := native.Means([]byte(e.Body))
		if !ok {
			t.Errorf("%s is not read: %.200s", e.ID, e.Body)
			continue
		}
		if r.Raised != strings.Contains(e.Body, "Encountered an unexpected error") {
			t.Errorf("%s: raised %v", e.ID, r.Raised)
		}
		if r.Why == "" || strings.ContainsAny(r.Why, "\n") || strings.Contains(r.Why, "Traceback") || strings.Contains(r.Why, "with schema") ||
			strings.Contains(r.Why, "Failed to predict data") {
			t.Errorf("%s: %q", e.ID, r.Why)
		}
		if strings.Contains(e.ID, "/raise") && !strings.HasPrefix(r.Why, "ValueError: ") {
			t.Errorf("%s: %q", e.ID, r.Why)
		}
	}
}
