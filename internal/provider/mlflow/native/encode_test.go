package native_test

import (
	"slices"
	"strings"
	"testing"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider/mlflow/native"
)

func TestCallsAreWrittenInTheFormOfTheModel(t *testing.T) {
	t.Parallel()
	const turn = `"messages":[{"role":"user","content":"hi"}]`
	for name, c := range map[string]struct {
		form    native.Form
		body    string
		want    string
		dropped string
	}{
		"null members go": {native.Chat, `{` + turn + `,"temperature":null,"max_tokens":null,"n":1,"stop":[]}`, `{` + turn + `}`, ""},
		"numbers keep their bytes": {
			native.Chat, `{` + turn + `,"temperature":0.10,"max_tokens":7.0,"top_k":3,"custom_inputs":{"a":9007199254740993,"b":1e400}}`,
			`{` + turn + `,"temperature":0.10,"max_tokens":7,"top_k":3,"custom_inputs":{"a":9007199254740993,"b":1e400}}`, "",
		},
		"stop and max_completion_tokens": {
			native.Chat, `{` + turn + `,"stop":"END","max_tokens":1,"max_completion_tokens":9}`, `{` + turn + `,"stop":["END"],"max_tokens":9}`, "",
		},
		"what does not reach the model is named": {
			native.Chat, `{` + turn + `,"stream":false,"model":"m","seed":1,"response_format":{"type":"json_object"},"tool_choice":"required","logit_bias":{},"user":"u"}`,
			`{` + turn + `}`, "seed, response_format, tool_choice, user",
		},
		"parts of text are joined": {
			native.Chat, `{"messages":[{"role":"developer","content":[{"type":"text","text":"a"},{"type":"text","text":"é"}],"annotations":[],"audio":null}]}`,
			`{"messages":[{"role":"system","content":"aé"}]}`, "",
		},
		"history of tools": {
			native.Chat,
			`{"messages":[{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}],"function_call":null},{"role":"tool","tool_call_id":"c","content":"ok"}]}`,
			`{"messages":[{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","content":"ok","tool_call_id":"c"}]}`, "",
		},
		"ChatAgent wants the tool's name": {
			native.Agent,
			`{"messages":[{"role":"assistant","content":"","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"ok"}],"temperature":1,"context":{"user_id":"u"}}`,
			`{"messages":[{"role":"assistant","content":"","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","content":"ok","name":"f","tool_call_id":"c"}],"context":{"user_id":"u"}}`,
			"temperature",
		},
		"a tool without parameters": {
			native.Chat, `{` + turn + `,"tools":[{"type":"function","function":{"name":"f"}}]}`,
			`{` + turn + `,"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{}}}}]}`, "",
		},
		"schemas are reduced": {
			native.Chat,
			`{` + turn + `,"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","title":"T","properties":{"a":{"anyOf":[{"type":"string"},{"type":"null"}],"default":null,"description":"d"},"b":{"type":["null","integer"]},"c":{"type":"object","properties":{"x":{"type":"string"}}},"d":{"type":"array","items":{"type":"string"}},"e":{"type":"string","enum":["x","y"]}},"required":["b"]}}}]}`,
			`{` + turn + `,"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"a":{"type":"string","description":"d"},"b":{"type":"integer"},"c":{"type":"object"},"d":{"type":"array","items":{"type":"string"}},"e":{"type":"string","enum":["x","y"]}},"required":["b"]}}}]}`,
			"tools.function.parameters (schema reduced)",
		},
		"tools that may not be called are not offered": {
			native.Chat, `{` + turn + `,"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"none"}`, `{` + turn + `}`, "",
		},
		"chat for ResponsesAgent": {
			native.Responses,
			`{"messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"t"},{"type":"image_url","image_url":{"url":"data:x"}}]},{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"ok"}],"max_tokens":5,"tools":[{"type":"function","function":{"name":"f"}}]}`,
			`{"input":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"input_text","text":"t"},{"type":"input_image","image_url":"data:x","detail":"auto"}]},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"ok"}],"max_output_tokens":5}`,
			"tools",
		},
		"AgentServer takes tools": {
			native.AgentServer, `{` + turn + `,"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"function","function":{"name":"f"}}}`,
			`{"input":[{"role":"user","content":"hi"}],"tools":[{"type":"function","name":"f","parameters":{"type":"object","properties":{}},"strict":false}],"tool_choice":{"type":"function","name":"f"}}`, "",
		},
		"a text becomes a list, instructions a message": {
			native.Responses, `{"input":"hi","instructions":"be terse","temperature":1,"metadata":{"a":"b"},"include":["x"]}`,
			`{"input":[{"role":"system","content":"be terse"},{"role":"user","content":"hi"}],"temperature":1,"metadata":{"a":"b"}}`, "include",
		},
		"items stay": {
			native.Responses, `{"input":[{"type":"reasoning","id":"r","summary":[]},{"role":"user","content":[{"type":"input_text","text":"x"}]}]}`,
			`{"input":[{"type":"reasoning","id":"r","summary":[]},{"role":"user","content":[{"type":"input_text","text":"x"}]}]}`, "",
		},
		"responses for a chat model": {
			native.Chat,
			`{"input":[{"role":"user","content":[{"type":"input_text","text":"x"}]},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"ok"}],"instructions":"i","max_output_tokens":3,"tools":[{"type":"function","name":"f","parameters":{"type":"object","properties":{}},"strict":true}],"text":{"format":{"type":"text"}}}`,
			`{"messages":[{"role":"system","content":"i"},{"role":"user","content":"x"},{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","content":"ok","tool_call_id":"c"}],"max_tokens":3,"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{}},"strict":true}}]}`, "",
		},
		"a type hint": {native.Conversations, `{` + turn + `,"temperature":1}`, `{"inputs":[{` + turn + `}]}`, "temperature"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ask, err := native.Encode(c.form, &inference.Request{Type: inference.Chat, Body: []byte(c.body)})
			if err != nil {
				t.Fatal(err)
			}
			if string(ask.Body) != c.want {
				t.Errorf("%s\nwant %s", ask.Body, c.want)
			}
			if got := strings.Join(ask.Dropped, ", "); got != c.dropped {
				t.Errorf("dropped %q, want %q", got, c.dropped)
			}
		})
	}
}

func TestWhatAModelCannotBeToldIsRefusedByName(t *testing.T) {
	t.Parallel()
	for body, param := range map[string]string{
		`{"messages":[{"role":"user","content":[{"type":"text","text":"x"},{"type":"image_url","image_url":{"url":"u"}}]}]}`: "messages[0].content[1]",
		`{"messages":[],"tools":[{"type":"web_search"}]}`:                                                                    "tools[0]",
		`{"input":[{"type":"computer_call","id":"x"}]}`:                                                                      "input[0]",
	} {
		_, err := native.Encode(native.Chat, &inference.Request{Type: inference.Chat, Body: []byte(body)})
		if f := fault.From(err); f == nil || f.Code != fault.Invalid || f.Param != param {
			t.Errorf("%s: %v, want the parameter %s", body, err, param)
		}
	}
}

func TestTextsAreAskedWithoutABody(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]struct {
		form native.Form
		req  inference.Request
	}{
		`{"messages":[{"role":"user","content":"hi"}],"temperature":0.5}`: {
			native.Chat, inference.Request{Type: inference.Chat, Items: [][]byte{[]byte(`"hi"`)}, Params: []byte(`{"n":1,"temperature":0.5}`)},
		},
		`{"prompt":"a","max_tokens":3}`: {
			native.Completions, inference.Request{Type: inference.Completions, Items: [][]byte{[]byte(`"a"`)}, Params: []byte(`{"n":1,"max_tokens":3}`)},
		},
		`{"inputs":[{"prompt":"a","stop":["x"]},{"prompt":"b","stop":["x"]}]}`: {
			native.Completions, inference.Request{
				Type: inference.Completions, Items: [][]byte{[]byte(`"a"`), []byte(`"b"`)}, Params: []byte(`{"stop":"x"}`),
			},
		},
		`{"input":["a","b"]}`: {native.Embeddings, inference.Request{Type: inference.Embeddings, Items: [][]byte{[]byte(`"a"`), []byte(`"b"`)}}},
	} {
		ask, err := native.Encode(c.form, &c.req)
		if err != nil || string(ask.Body) != want {
			t.Errorf("%s %v, want %s", ask.Body, err, want)
		}
	}
}

func TestCompletionsTellTheirEndsAndUsage(t *testing.T) {
	t.Parallel()
	req := &inference.Request{Type: inference.Completions, Items: [][]byte{[]byte(`"a"`), []byte(`"b"`)}}
	res, err := native.Decode(native.Completions, req, []byte(
		`{"predictions":[{"choices":[{"text":"x","finish_reason":"length"}],"usage":{"prompt_tokens":1,"total_tokens":2}},`+
			`{"choices":[{"text":"y"}],"usage":{"prompt_tokens":3,"total_tokens":4}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(slices.Concat(res.Items...)); got != `"x""y"` || !slices.Equal(res.Groups, []int{1, 1}) {
		t.Errorf("%s %v", got, res.Groups)
	}
	if want := `{"finish_reasons":["length","stop"],"usage":{"prompt_tokens":4,"total_tokens":6}}`; string(res.Body) != want {
		t.Errorf("%s, want %s", res.Body, want)
	}
}

// FuzzForms: whatever is asked is written as JSON or refused, and whatever is answered is read as JSON or refused.
func FuzzForms(f *testing.F) {
	for _, e := range recorded(f) {
		f.Add([]byte(e.Asked), []byte(e.Body))
	}
	f.Fuzz(func(t *testing.T, asked, answered []byte) {
		checkForms(t, asked, answered)
	})
}
