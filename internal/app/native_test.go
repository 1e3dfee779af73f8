package app_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"headrace/internal/apptest"
	"headrace/internal/mlflowtest"
)

const (
	// How a ChatModel refuses rows of texts, and other bodies without messages, and what it says of an exception.
	chatRefusal = `{"error_code": "BAD_REQUEST", "message": "Invalid input. Failed to enforce schema of 'x' with type ` +
		`'{content: string (optional), name: string (optional), role: string (required)}'. Expected data to be dictionary, got str"}`
	chatSignature = `{"error_code": "INVALID_PARAMETER_VALUE", "message": "Failed to predict data '{'prompt': 0}'. \nError: Failed to enforce schema of data ` +
		`'{'prompt': 0}' with schema '['messages': Array({content: string (optional), role: string (required)}) (required), 'tools': Array({}) (optional)]'. ` +
		`Error: Model is missing inputs ['messages']. Note that there were extra inputs: ['prompt'].", "error_class": "SCHEMA_ENFORCEMENT_FAILED"}`
	chatRaised = `{"error_code": "BAD_REQUEST", "message": "Encountered an unexpected error while evaluating the model. Verify that the serialized input.", ` +
		`"stack_trace": "Traceback (most recent call last):\n  File \"/site-packages/x.py\", line 1, in predict\n    raise ValueError\nValueError: the model says no\n"}`
)

// chatModel answers as a ChatModel does: bodies with messages only.
func chatModel(r mlflowtest.Request) mlflowtest.Reply {
	switch body := string(r.Body); {
	case r.Method == http.MethodGet:
		return mlflowtest.Reply{Status: 404, Body: []byte(`{"detail":"Not Found"}`)}
	case strings.HasPrefix(body, `{"inputs"`):
		return mlflowtest.Reply{Status: 400, Body: []byte(chatRefusal)}
	case !strings.HasPrefix(body, `{"messages"`):
		return mlflowtest.Reply{Status: 400, Body: []byte(chatSignature)}
	case strings.Contains(body, "raise"):
		return mlflowtest.Reply{Status: 400, Body: []byte(chatRaised)}
	case strings.Contains(body, `"tools"`):
		return mlflowtest.JSON(`{"choices": [{"message": {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", ` +
			`"function": {"name": "f", "arguments": "{}"}}]}, "index": 0, "finish_reason": "tool_calls"}], "object": "chat.completion", "created": 7}`)
	}
	return mlflowtest.JSON(`{"choices": [{"message": {"role": "assistant", "content": "caf\u00e9"}, "index": 0}], "custom_outputs": {"n": 1.50}}`)
}

// chatRoute runs Headrace with a chat route before a model server that answers with handle. more is added to the route.
func chatRoute(t *testing.T, handle func(mlflowtest.Request) mlflowtest.Reply, more string) (url string, model *mlflowtest.Server) {
	t.Helper()
	model = mlflowtest.New(t)
	model.Handle(handle)
	addr, _ := apptest.Up(t, fmt.Sprintf("[[endpoints]]\nname = \"c\"\nendpoint_type = \"llm/v1/chat\"\n%s\n[endpoints.model]\n"+
		"provider = \"mlflow-model-serving\"\nname = \"m\"\n[endpoints.model.config]\nmodel_server_url = %q\n", more, model.URL))
	return "http://" + addr, model
}

func ask(t *testing.T, url, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

// sent lists what the model server was asked, in short.
func sent(model *mlflowtest.Server) []string {
	var all []string
	for _, r := range model.Requests() {
		name, _, _ := bytes.Cut(bytes.TrimPrefix(r.Body, []byte(`{"`)), []byte(`"`))
		all = append(all, string(name))
	}
	return all
}

const hello = `{"model":"c","messages":[{"role":"user","content":"hi"}]`

func TestModelIsAskedInTheFormThatItsRefusalNames(t *testing.T) {
	t.Parallel()
	url, model := chatRoute(t, chatModel, "")
	for range 2 {
		resp, body := ask(t, url+"/v1/chat/completions", hello+`,"seed":1}`)
		if resp.StatusCode != http.StatusOK || !strings.Contains(body, `"content":"caf\u00e9"`) || !strings.Contains(body, `"model":"m"`) ||
			!strings.Contains(body, `"finish_reason":"stop"`) || !strings.Contains(body, `"n": 1.50`) || strings.Contains(body, "usage") ||
			resp.Header.Get("Headrace-Dropped") != "seed" {
			t.Errorf("%d %s %v", resp.StatusCode, body, resp.Header)
		}
	}
	if got := strings.Join(sent(model), ", "); got != "inputs, messages, messages" {
		t.Errorf("the model server was asked %s", got)
	}
	apptest.Eventually(t, "the format is shown", func() bool {
		_, body := apptest.Get(t, url+"/v1/routes/c")
		var view struct{ Replicas []struct{ Format string } }
		return json.Unmarshal([]byte(body), &view) == nil && len(view.Replicas) == 1 && view.Replicas[0].Format == "chat"
	})
	// MLflow's own paths have texts only.
	resp, body := ask(t, url+"/endpoints/c/invocations", `{"messages":[{"role":"user","content":"hi"}]}`)
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, `"content":"caf\u00e9","tool_calls":null`) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

func TestToolsReachAModelThatIsNotKnownYet(t *testing.T) {
	t.Parallel()
	url, model := chatRoute(t, chatModel, "")
	resp, body := ask(t, url+"/v1/chat/completions", hello+`,"tools":[{"type":"function","function":{"name":"f"}}]}`)
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, `"tool_calls":[{"id":"c"`) || !strings.Contains(body, `"content":null`) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if got := strings.Join(sent(model), ", "); got != "prompt, messages" {
		t.Errorf("the model server was asked %s", got)
	}
}

func TestModelWithoutSignatureIsProbedOnce(t *testing.T) {
	t.Parallel()
	url, model := chatRoute(t, func(r mlflowtest.Request) mlflowtest.Reply {
		if r.Method == http.MethodGet {
			return mlflowtest.Reply{Status: 404, Body: []byte(`{"detail":"Not Found"}`)}
		}
		return mlflowtest.Predictions(`["ok"]`)
	}, `format = "auto"`)
	for range 3 {
		if resp, body := ask(t, url+"/v1/chat/completions", hello+`,"tools":[{"type":"function","function":{"name":"f"}}]}`); resp.StatusCode != http.StatusBadRequest ||
			!strings.Contains(body, `"param":"tools"`) {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	}
	if resp, body := ask(t, url+"/v1/chat/completions", hello+`}`); resp.StatusCode != http.StatusOK || !strings.Contains(body, `"content":"ok"`) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if got := strings.Join(sent(model), ", "); got != "prompt, inputs" {
		t.Errorf("the model server was asked %s", got)
	}
}

func TestExceptionOfAModelIsNoFaultOfTheCaller(t *testing.T) {
	t.Parallel()
	url, _ := chatRoute(t, chatModel, `format = "chat"`)
	const raise = `{"model":"c","messages":[{"role":"user","content":"raise"}]}`
	resp, body := ask(t, url+"/v1/chat/completions", raise)
	if resp.StatusCode != http.StatusInternalServerError || resp.Header.Get("X-Should-Retry") != "false" || strings.Contains(body, "Traceback") ||
		!strings.Contains(body, `"message":"the model raised an exception: ValueError: the model says no","type":"server_error"`) {
		t.Errorf("%d %s %v", resp.StatusCode, body, resp.Header)
	}
	resp, body = ask(t, url+"/endpoints/c/invocations", `{"messages":[{"role":"user","content":"raise"}]}`)
	if resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, "Traceback") {
		t.Errorf("MLflow's path: %d %s", resp.StatusCode, body)
	}
}

func TestCallsThatWouldLoseMembersCanBeRefused(t *testing.T) {
	t.Parallel()
	url, model := chatRoute(t, chatModel, "format = \"chat\"\ndropped = \"refuse\"")
	resp, body := ask(t, url+"/v1/chat/completions", hello+`,"response_format":{"type":"json_object"}}`)
	if resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, `"param":"response_format"`) || len(model.Requests()) != 0 {
		t.Errorf("%d %s after %v", resp.StatusCode, body, sent(model))
	}
	if resp, body = ask(t, url+"/v1/chat/completions", hello+`,"n":1,"stream":false}`); resp.StatusCode != http.StatusOK {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

func TestRefusalSaysWhichMemberIsWrong(t *testing.T) {
	t.Parallel()
	url, _ := chatRoute(t, func(mlflowtest.Request) mlflowtest.Reply {
		return mlflowtest.Reply{Status: 400, Body: []byte(strings.Replace(chatSignature, "Model is missing inputs ['messages']. Note that there were extra inputs: ['prompt'].",
			"Incompatible input types for column max_tokens. Can not safely convert float64 to int64.", 1))}
	}, `format = "chat"`)
	resp, body := ask(t, url+"/v1/chat/completions", hello+`}`)
	if resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, `"param":"max_tokens"`) || strings.Contains(body, "schema") || !strings.Contains(body, "invalid_request_error") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}
