package anthropic_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/provider/anthropic"
)

func TestAStreamIsAskedFor(t *testing.T) {
	t.Parallel()
	r := route(inference.Chat, func(r *inference.Route) { r.MaxEvent = 7 })
	for stream, want := range map[bool]string{true: asTalk + `,"stream":true}`, false: asTalk + `,"stream":false}`} {
		call, err := anthropic.New().Encode(r, &inference.Request{Type: inference.Chat, Stream: stream, Body: []byte(`{` + talk + `,"stream":false,"stream_options":{"include_usage":true}}`)})
		if err != nil || string(call.Body) != want || (call.Stream != nil) != stream || stream && call.Stream.MaxEvent != 7 {
			t.Errorf("stream %t: %s, %+v, %v", stream, call.Body, call.Stream, err)
		}
	}
}

// told is what pieces say, one word for each.
func told(events []inference.Event) (words []string) {
	for _, e := range events {
		switch e.Kind {
		case inference.EventText:
			words = append(words, "text "+string(e.Text))
		case inference.EventCall:
			words = append(words, fmt.Sprintf("call %d %s %s %s", e.Call.Index, e.Call.ID, e.Call.Name, e.Call.Arguments))
		case inference.EventFinish:
			words = append(words, "finish "+string(e.Finish))
		case inference.EventUsage:
			words = append(words, "usage "+string(e.Usage))
		case inference.EventRaw:
			words = append(words, "raw "+string(e.Raw))
		}
	}
	return words
}

func pieces() provider.Pieces {
	return anthropic.New().Pieces(nil, &inference.Request{Type: inference.Chat}, provider.Reply{})
}

func TestPieces(t *testing.T) {
	t.Parallel()
	const start = `{"type":"message_start","message":{"id":"m","usage":{"input_tokens":10,"cache_read_input_tokens":2,"output_tokens":1}}}`
	for name, c := range map[string]struct{ events, want []string }{
		"a text": {
			[]string{
				start, `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`, `{"type":"ping"}`, "",
				`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"h\u00e9"}}`, `{"type":"content_block_stop","index":0}`,
				`{"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"output_tokens":4}}`,
				`{"type":"message_delta","delta":{},"usage":{"output_tokens":5}}`, `{"type":"message_stop"}`,
			},
			[]string{
				`text "h\u00e9"`, `finish "length"`,
				`usage {"prompt_tokens":12,"completion_tokens":5,"total_tokens":17,"prompt_tokens_details":{"cached_tokens":2}}`,
			},
		},
		"calls are counted by themselves, and what is thought is passed over": {
			[]string{
				`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}`,
				`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}`,
				`{"type":"content_block_start","index":1,"content_block":{"type":"server_tool_use","id":"s","name":"w"}}`,
				`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{}"}}`,
				`{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"t1","name":"f","input":{}}}`,
				`{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}`,
				`{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"a\":"}}`,
				`{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"1}"}}`,
				`{"type":"content_block_stop","index":2}`,
				`{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"t2","name":"g","input":{}}}`,
				`{"type":"content_block_stop","index":3}`,
				`{"type":"message_delta","delta":{"stop_reason":"tool_use"}}`, `{"type":"new_event"}`, `{"type":"message_stop"}`,
			},
			[]string{
				`call 0 "t1" "f" ""`, `call 0   "{\"a\":"`, `call 0   "1}"`, `call 1 "t2" "g" ""`, `call 1   "{}"`, `finish "tool_calls"`,
			},
		},
	} {
		p := pieces()
		var got []string
		for i, event := range c.events {
			events, done, err := p.Read("", event)
			if err != nil || done != (i == len(c.events)-1) {
				t.Errorf("%s: event %d: %t, %v", name, i, done, err)
			}
			got = append(got, told(events)...)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

func TestPiecesEndWithAnError(t *testing.T) {
	t.Parallel()
	for event, want := range map[string]fault.Error{
		`{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`: {Code: fault.UpstreamError, Status: 529, Kind: "overloaded_error", Repeat: fault.RepeatHelps},
		`{"type":"error","error":{"type":"api_error","message":"m"}}`:                 {Code: fault.UpstreamError, Status: 500, Kind: "api_error"},
		`{"type":"error","error":{"type":"rate_limit_error"}}`:                        {Code: fault.UpstreamError, Status: 429, Kind: "rate_limit_error", Repeat: fault.RepeatHelps},
		`[1]`: {Code: fault.UpstreamBadResponse},
		`{`:   {Code: fault.UpstreamBadResponse},
	} {
		_, done, err := pieces().Read("error", event)
		if e := fault.From(err); done || e == nil || e.Code != want.Code || e.Status != want.Status || e.Kind != want.Kind || e.Repeat != want.Repeat {
			t.Errorf("%s: %t, %+v", event, done, e)
		}
	}
}

func FuzzPieces(f *testing.F) {
	f.Add(`{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":1}}`, `{"type":"message_delta","usage":{"output_tokens":1e99,"input_tokens":"x"}}`)
	f.Fuzz(func(t *testing.T, one, two string) {
		p := pieces()
		for _, event := range []string{one, two, `{"type":"message_stop"}`} {
			if _, _, err := p.Read("", event); err != nil && fault.CodeOf(err) != fault.UpstreamError && fault.CodeOf(err) != fault.UpstreamBadResponse {
				t.Errorf("%s: %v", event, err)
			}
		}
	})
}
