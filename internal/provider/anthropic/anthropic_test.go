package anthropic_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/provider/anthropic"
)

func route(kind inference.Type, change ...func(*inference.Route)) *inference.Route {
	r := &inference.Route{Name: "r", Type: kind, Provider: "anthropic", Model: "claude-x", Vendor: &inference.Vendor{
		API: inference.AnthropicAPI, Key: "sk-ant", Version: "2023-06-01", MaxTokens: 99, Sampling: inference.SamplingPass,
	}}
	for _, f := range change {
		f(r)
	}
	return r
}

const talk = `"messages":[{"role":"user","content":"hi"}]`

// asTalk is what every call of talk begins with.
const asTalk = `{"model":"claude-x","messages":[{"role":"user","content":"hi"}],"max_tokens":99`

func TestEncodeMembers(t *testing.T) {
	t.Parallel()
	const tool = `{"type":"function","function":{"name":"f","description":"d","parameters":{"$defs":{"a":{"minimum":1.50}}},"strict":true}}`
	const asTool = `{"name":"f","description":"d","input_schema":{"$defs":{"a":{"minimum":1.50}}},"strict":true}`
	for name, c := range map[string]struct {
		more, want string
		dropped    []string
	}{
		"nothing":                 {``, ``, nil},
		"null":                    {`,"temperature":null,"tools":null,"stop":null`, ``, nil},
		"temperature":             {`,"temperature":0.30,"top_p":0.9,"top_k":5`, `,"temperature":0.30,"top_p":0.9,"top_k":5`, nil},
		"too hot":                 {`,"temperature":1.5`, `,"temperature":1.0`, nil},
		"one answer":              {`,"n":1,"candidate_count":1.0`, ``, nil},
		"stop":                    {`,"stop":["a"," ","\n"]`, `,"stop_sequences":["a"]`, []string{"stop (white space)"}},
		"one stop":                {`,"stop":"a"`, `,"stop_sequences":["a"]`, nil},
		"its own stop":            {`,"stop":["a"],"stop_sequences":["b"]`, `,"stop_sequences":["b"]`, nil},
		"user":                    {`,"user":"u"`, `,"metadata":{"user_id":"u"}`, nil},
		"its own metadata":        {`,"metadata":{"user_id":"u"}`, `,"metadata":{"user_id":"u"}`, nil},
		"OpenAI's metadata":       {`,"metadata":{"a":"b"}`, ``, []string{"metadata"}},
		"what OpenAI alone knows": {`,"seed":1,"logprobs":true,"presence_penalty":0,"store":false`, ``, []string{"seed", "logprobs"}},
		"what nobody knows":       {`,"thinking":{"type":"enabled"},"x":1`, `,"thinking":{"type":"enabled"},"x":1`, nil},
		"effort":                  {`,"reasoning_effort":"minimal"`, `,"output_config":{"effort":"low"}`, nil},
		"no effort":               {`,"reasoning_effort":"none"`, `,"thinking":{"type":"disabled"}`, nil},
		"high effort":             {`,"reasoning_effort":"high"`, `,"output_config":{"effort":"high"}`, nil},
		"tier":                    {`,"service_tier":"default"`, `,"service_tier":"standard_only"`, nil},
		"another tier":            {`,"service_tier":"flex"`, `,"service_tier":"auto"`, nil},
		"tools":                   {`,"tools":[` + tool + `]`, `,"tools":[` + asTool + `]`, nil},
		"no tools":                {`,"tools":[]`, ``, nil},
		"a bare tool":             {`,"tools":[{"type":"function","function":{"name":"f"}}]`, `,"tools":[{"name":"f","input_schema":{"type":"object","properties":{}}}]`, nil},
		"its own tool":            {`,"tools":[{"type":"web_search_1","name":"w"}]`, `,"tools":[{"type":"web_search_1","name":"w"}]`, nil},
		"required":                {`,"tool_choice":"required"`, `,"tool_choice":{"type":"any"}`, nil},
		"named":                   {`,"tool_choice":{"type":"function","function":{"name":"f"}}`, `,"tool_choice":{"type":"tool","name":"f"}`, nil},
		"its own choice":          {`,"tool_choice":{"type":"any"}`, `,"tool_choice":{"type":"any"}`, nil},
		"one at a time":           {`,"tools":[` + tool + `],"parallel_tool_calls":false`, `,"tools":[` + asTool + `],"tool_choice":{"type":"auto","disable_parallel_tool_use":true}`, nil},
		"one at a time, named":    {`,"tool_choice":"auto","parallel_tool_calls":false`, `,"tool_choice":{"type":"auto","disable_parallel_tool_use":true}`, nil},
		"text":                    {`,"response_format":{"type":"text"}`, ``, nil},
		"an object": {
			`,"response_format":{"type":"json_object"}`,
			`,"system":"Respond with only a single valid JSON object. Do not include any explanatory text, markdown, or code fences before or after the JSON object."`, nil,
		},
		"a schema": {
			`,"response_format":{"type":"json_schema","json_schema":{"schema":{"properties":{"properties":{"type":"object","properties":{},"additionalProperties":true},"a":{"anyOf":[{"items":{"properties":{}}}]}},"type":"object"}}}`,
			`,"output_config":{"format":{"type":"json_schema","schema":{"properties":{"properties":{"type":"object","properties":{},"additionalProperties":false},"a":{"anyOf":[{"items":{"properties":{},"additionalProperties":false}}]}},"type":"object","additionalProperties":false}}}`, nil,
		},
		"a stream that is not wanted": {`,"stream":false,"stream_options":{}`, `,"stream":false`, nil},
	} {
		call, err := anthropic.New().Encode(route(inference.Chat), &inference.Request{Type: inference.Chat, Body: []byte(`{` + talk + c.more + `}`)})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if string(call.Body) != asTalk+c.want+`}` || !slices.Equal(call.Dropped, c.dropped) {
			t.Errorf("%s: dropped %v, sent\n%s, want\n%s}", name, call.Dropped, call.Body, asTalk+c.want)
		}
		if call.Path != "messages" || call.Header["X-Api-Key"] != "sk-ant" || call.Header["Anthropic-Version"] != "2023-06-01" || len(call.Header) != 2 {
			t.Errorf("%s: %s, %d headers", name, call.Path, len(call.Header))
		}
	}
}

func TestMaxTokens(t *testing.T) {
	t.Parallel()
	for more, want := range map[string]string{
		``: "99", `,"max_tokens":5`: "5", `,"max_tokens":5,"max_completion_tokens":6`: "6", `,"max_tokens":7.0`: "7", `,"max_tokens_to_sample":8`: "8",
	} {
		call, err := anthropic.New().Encode(route(inference.Chat), &inference.Request{Type: inference.Chat, Body: []byte(`{` + talk + more + `}`)})
		if err != nil || !strings.HasSuffix(string(call.Body), `"max_tokens":`+want+`}`) {
			t.Errorf("%s: %s, %v", more, call.Body, err)
		}
	}
}

func TestEncodeConversation(t *testing.T) {
	t.Parallel()
	const call1, call2 = `{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\": 1.50}"}}`, `{"id":"c2","type":"function","function":{"name":"g","arguments":""}}`
	for name, c := range map[string]struct{ messages, want, system string }{
		"system messages are hoisted": {
			`{"role":"system","content":"a"},{"role":"user","content":"b"},{"role":"developer","content":[{"type":"text","text":"c"}]}`,
			`{"role":"user","content":"b"}`, `"a\nc"`,
		},
		"a part for the cache": {
			`{"role":"system","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]},{"role":"user","content":[{"type":"text","text":"b","cache_control":{}}]}`,
			`{"role":"user","content":[{"type":"text","text":"b","cache_control":{}}]}`, `[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]`,
		},
		"text stands before calls, empty arguments are none": {
			`{"role":"assistant","content":"look","tool_calls":[` + call1 + `,` + call2 + `]}`,
			`{"role":"assistant","content":[{"type":"text","text":"look"},{"type":"tool_use","id":"c1","name":"f","input":{"a": 1.50}},{"type":"tool_use","id":"c2","name":"g","input":{}}]}`, ``,
		},
		"results share a message and stand first in it": {
			`{"role":"tool","tool_call_id":"c1","content":"1"},{"role":"tool","tool_call_id":"c2","content":[{"type":"text","text":"2"}]},{"role":"user","content":"go on"}`,
			`{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":"1"},{"type":"tool_result","tool_use_id":"c2","content":[{"type":"text","text":"2"}]},{"type":"text","text":"go on"}]}`, ``,
		},
		"results at the end, and before an assistant": {
			`{"role":"tool","tool_call_id":"c1","content":"1"},{"role":"assistant","content":"x"},{"role":"tool","tool_call_id":"c2"}`,
			`{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":"1"}]},{"role":"assistant","content":"x"},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c2"}]}`, ``,
		},
		"images, files and empty texts": {
			`{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}},{"type":"image_url","image_url":{"url":"https://h/a.png"}},` +
				`{"type":"text","text":""},{"type":"file","file":{"file_data":"data:application/pdf;base64,QQ=="}},{"type":"document","x":1}]}`,
			`{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}},{"type":"image","source":{"type":"url","url":"https://h/a.png"}},` +
				`{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"QQ=="}},{"type":"document","x":1}]}`, ``,
		},
		"a refusal is said": {`{"role":"assistant","content":null,"refusal":"no"}`, `{"role":"assistant","content":"no"}`, ``},
		"no calls":          {`{"role":"assistant","content":"x","tool_calls":[]}`, `{"role":"assistant","content":"x"}`, ``},
	} {
		call, err := anthropic.New().Encode(route(inference.Chat), &inference.Request{Type: inference.Chat, Body: []byte(`{"messages":[` + c.messages + `]}`)})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := `{"model":"claude-x","messages":[` + c.want + `],"max_tokens":99`
		if c.system != "" {
			want += `,"system":` + c.system
		}
		if string(call.Body) != want+`}` {
			t.Errorf("%s: sent\n%s, want\n%s}", name, call.Body, want)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	drop := func(r *inference.Route) { r.RefuseDropped = true }
	refuse := func(r *inference.Route) { r.Vendor.Sampling = inference.SamplingRefuse }
	for name, c := range map[string]struct {
		body, param string
		change      func(*inference.Route)
	}{
		"several answers":        {`{` + talk + `,"n":2}`, "n", nil},
		"a role":                 {`{"messages":[{"role":"function","content":"a"}]}`, "messages[0].role", nil},
		"no content":             {`{"messages":[{"role":"user"}]}`, "messages[0].content", nil},
		"audio":                  {`{"messages":[{"role":"user","content":[{"type":"input_audio"}]}]}`, "messages[0].content[0]", nil},
		"a file by its name":     {`{"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"f"}}]}]}`, "messages[0].content[0]", nil},
		"arguments":              {`{"messages":[{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f","arguments":"{"}}]}]}`, "messages[0].tool_calls[0].function.arguments", nil},
		"a list of arguments":    {`{"messages":[{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f","arguments":"[]"}}]}]}`, "messages[0].tool_calls[0].function.arguments", nil},
		"a result of no call":    {`{"messages":[{"role":"tool","content":"a"}]}`, "messages[0].tool_call_id", nil},
		"a tool":                 {`{` + talk + `,"tools":[{"type":"uc_function"}]}`, "tools[0].type", nil},
		"a tool without a name":  {`{` + talk + `,"tools":[{"type":"function"}]}`, "tools[0].function", nil},
		"a choice":               {`{` + talk + `,"tool_choice":"some"}`, "tool_choice", nil},
		"a format":               {`{` + talk + `,"response_format":{"type":"xml"}}`, "response_format", nil},
		"no schema":              {`{` + talk + `,"response_format":{"type":"json_schema"}}`, "response_format", nil},
		"functions":              {`{` + talk + `,"functions":[]}`, "functions", nil},
		"responses":              {`{"input":"hi"}`, "input", nil},
		"what would be dropped":  {`{` + talk + `,"seed":1}`, "seed", drop},
		"sampling, by the route": {`{` + talk + `,"top_p":0.5}`, "top_p", refuse},
	} {
		change := c.change
		if change == nil {
			change = func(*inference.Route) {}
		}
		_, err := anthropic.New().Encode(route(inference.Chat, change), &inference.Request{Type: inference.Chat, Body: []byte(c.body)})
		if fault.CodeOf(err) != fault.Invalid || fault.From(err).Param != c.param {
			t.Errorf("%s: %v, param %q", name, err, fault.From(err).Param)
		}
	}
	if _, err := anthropic.New().Encode(route(inference.Embeddings), &inference.Request{Type: inference.Embeddings, Body: []byte(`{}`)}); fault.CodeOf(err) != fault.NotImplemented {
		t.Errorf("embeddings: %v", err)
	}
}

func TestSamplingIsDropped(t *testing.T) {
	t.Parallel()
	drop := func(r *inference.Route) { r.Vendor.Sampling = inference.SamplingDrop }
	call, err := anthropic.New().Encode(route(inference.Chat, drop), &inference.Request{Type: inference.Chat, Body: []byte(`{` + talk + `,"temperature":1,"top_p":1}`)})
	if err != nil || string(call.Body) != asTalk+`}` || !slices.Equal(call.Dropped, []string{"temperature", "top_p"}) {
		t.Errorf("%s, %v, %v", call.Body, call.Dropped, err)
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	const usage = `"usage":{"input_tokens":10,"output_tokens":5}`
	const asUsage = `"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}`
	message := func(content, calls, finish, usage string) string {
		return `{"id":"m1","object":"chat.completion","model":"claude","choices":[{"index":0,"message":{"role":"assistant","content":` + content + `,"refusal":null` + calls +
			`},"logprobs":null,"finish_reason":"` + finish + `"}]` + usage + `}`
	}
	for name, c := range map[string]struct{ content, stop, usage, want string }{
		"texts are joined": {`[{"type":"text","text":"a"},{"type":"thinking","thinking":"x"},{"type":"text","text":"é"}]`, "end_turn", usage, message(`"aé"`, ``, "stop", `,`+asUsage)},
		"calls": {
			`[{"type":"tool_use","id":"t1","name":"f","input":{"a": [1.50, "é"]}},{"type":"tool_use","id":"t2","name":"g","input":{}}]`, "tool_use", usage,
			message(`null`, `,"tool_calls":[{"id":"t1","type":"function","function":{"name":"f","arguments":"{\"a\":[1.50,\"é\"]}"}},{"id":"t2","type":"function","function":{"name":"g","arguments":"{}"}}]`, "tool_calls", `,`+asUsage),
		},
		"a limit":        {`[{"type":"text","text":"a"}]`, "max_tokens", usage, message(`"a"`, ``, "length", `,`+asUsage)},
		"the window":     {`"a"`, "model_context_window_exceeded", usage, message(`"a"`, ``, "length", `,`+asUsage)},
		"a refusal":      {`[]`, "refusal", usage, message(`null`, ``, "content_filter", `,`+asUsage)},
		"unknown blocks": {`[{"type":"server_tool_use"},{"type":"redacted_thinking"}]`, "pause_turn", `"usage":null`, message(`null`, ``, "stop", ``)},
		"the cache counts": {
			`[]`, "", `"usage":{"input_tokens":1,"output_tokens":2,"cache_read_input_tokens":3,"cache_creation_input_tokens":4,"service_tier":"s"}`,
			message(`null`, ``, "stop", `,"usage":{"prompt_tokens":8,"completion_tokens":2,"total_tokens":10,"prompt_tokens_details":{"cached_tokens":3,"cache_write_tokens":4},"cache_creation_input_tokens":4,"service_tier":"s"}`),
		},
	} {
		said := `{"id":"m1","type":"message","role":"assistant","model":"claude","content":` + c.content + `,"stop_reason":"` + c.stop + `",` + c.usage + `}`
		res, err := anthropic.New().Decode(route(inference.Chat), &inference.Request{Type: inference.Chat}, provider.Reply{Status: 200, ContentType: "application/json", Body: []byte(said)})
		if err != nil || string(res.Body) != c.want {
			t.Errorf("%s: %v\n%s, want\n%s", name, err, res.Body, c.want)
		}
	}
	res, err := anthropic.New().Decode(route(inference.Completions), &inference.Request{Type: inference.Completions}, provider.Reply{
		Status: 200, ContentType: "application/json", Body: []byte(`{"id":"m1","model":"c","content":[{"type":"text","text":"a"}],"stop_reason":"stop_sequence"}`),
	})
	if err != nil || string(res.Body) != `{"id":"m1","object":"text_completion","model":"c","choices":[{"text":"a","index":0,"logprobs":null,"finish_reason":"stop"}]}` {
		t.Errorf("a completion: %s, %v", res.Body, err)
	}
}

// A model that knows no temperature says so, and the error says what the operator can do.
func TestRefusedSamplingHasAHint(t *testing.T) {
	t.Parallel()
	reply := provider.Reply{
		Status: 400, ContentType: "application/json",
		Body: []byte("{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"`temperature` is deprecated for this model.\"}}"),
	}
	for sampling, hinted := range map[inference.Sampling]bool{inference.SamplingPass: true, inference.SamplingDrop: false} {
		_, err := anthropic.New().Decode(route(inference.Chat, func(r *inference.Route) { r.Vendor.Sampling = sampling }), &inference.Request{Type: inference.Chat}, reply)
		e := fault.From(err)
		if e.Status != 400 || strings.Contains(e.Message, `sampling = "drop"`) != hinted || e.Kind != "invalid_request_error" {
			t.Errorf("%s: %+v", sampling, e)
		}
	}
}

func FuzzAnthropic(f *testing.F) {
	f.Add([]byte(`{"messages":[{"role":"assistant","content":[{"type":"text","text":"a"}],"tool_calls":[{"id":"c","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"1"}],"tools":[{"type":"function","function":{"name":"f"}}]}`),
		[]byte(`{"content":[{"type":"tool_use","input":{"a":1}},{"type":"text","text":"a"}],"usage":{"input_tokens":1e3}}`))
	f.Add([]byte(`{"prompt":["a"],"response_format":{"type":"json_schema","json_schema":{"schema":{"properties":1}}}}`), []byte(`{"content":"a","stop_reason":1}`))
	f.Fuzz(func(t *testing.T, asked, said []byte) {
		for _, kind := range inference.Types() {
			req := &inference.Request{Type: kind, Body: asked}
			if json.Valid(asked) {
				call, err := anthropic.New().Encode(route(kind), req)
				if err == nil && !json.Valid(call.Body) {
					t.Errorf("%s is sent as %s", asked, call.Body)
				}
				if err != nil && fault.CodeOf(err) != fault.Invalid && fault.CodeOf(err) != fault.NotImplemented {
					t.Errorf("%s: %v", asked, err)
				}
			}
			if res, err := anthropic.New().Decode(route(kind), req, provider.Reply{Status: 200, ContentType: "application/json", Body: said}); err == nil && !json.Valid(res.Body) {
				t.Errorf("%s is read as %s", said, res.Body)
			}
		}
	})
}
