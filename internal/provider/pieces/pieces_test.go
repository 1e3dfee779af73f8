package pieces_test

import (
	"fmt"
	"slices"
	"testing"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/provider/pieces"
	"headrace/internal/splice"
)

// shown is a piece as tables have it.
func shown(e inference.Event) string {
	switch e.Kind {
	case inference.EventText:
		return fmt.Sprintf("%d text %s", e.Choice, e.Text)
	case inference.EventCall:
		return fmt.Sprintf("%d call %d %s %s %s", e.Choice, e.Call.Index, e.Call.ID, e.Call.Name, e.Call.Arguments)
	case inference.EventFinish:
		return fmt.Sprintf("%d finish %s", e.Choice, e.Finish)
	case inference.EventUsage:
		return "usage " + string(e.Usage)
	case inference.EventRaw:
	}
	return "raw " + string(e.Raw)
}

// read gives all pieces of a stream, and how it ended.
func read(p provider.Pieces, events []string) (all []string, ended string) {
	for _, data := range events {
		got, done, err := p.Read("", data)
		for _, e := range got {
			all = append(all, shown(e))
		}
		if err != nil {
			return all, err.Error()
		}
		if done {
			return all, "done"
		}
	}
	return all, "cut"
}

func TestAStreamIsRead(t *testing.T) {
	t.Parallel()
	const (
		you  = `{"type": "response.output_text.delta", "item_id": "msg_1", "delta": "you "}`
		hi   = `{"type": "response.output_text.delta", "item_id": "msg_1", "delta": "hi"}`
		item = `{"type": "response.output_item.done", "item": {"id": "msg_1", "content": [{"text": "you hi", "type": "output_text"}], "role": "assistant", "type": "message"}}`
		call = `{"type":"response.output_item.done","item":{"type":"function_call","id":"fc_1","call_id":"c1","name":"f","arguments":"{\"a\":1}"}}`
	)
	chat := func(delta, finish string) string {
		return `{"object":"chat.completion.chunk","choices":[{"index":0,"delta":` + delta + `,"finish_reason":` + finish + `}]}`
	}
	for name, c := range map[string]struct {
		reader provider.Pieces
		events []string
		want   []string
		ended  string
	}{
		"AgentServer for a chat": {
			pieces.NewResponses(false),
			[]string{you, hi, item, "[DONE]"},
			[]string{`0 text "you "`, `0 text "hi"`, `0 finish "stop"`},
			"done",
		},
		"AgentServer for responses": {pieces.NewResponses(true), []string{you, item, `{"trace_id":"tr-1"}`, "[DONE]"}, []string{"raw " + you, "raw " + item}, "done"},
		"a message that did not come in pieces": {
			pieces.NewResponses(false), []string{item, "[DONE]"}, []string{`0 text "you hi"`, `0 finish "stop"`}, "done",
		},
		"a call for the caller": {
			pieces.NewResponses(false), []string{call, "[DONE]"}, []string{`0 call 0 "c1" "f" "{\"a\":1}"`, `0 finish "tool_calls"`}, "done",
		},
		"a call that the agent answers itself": {
			pieces.NewResponses(false),
			[]string{call, `{"type":"response.output_item.done","item":{"type":"function_call_output","call_id":"c1","output":"7"}}`, you, "[DONE]"},
			[]string{`0 text "you "`, `0 finish "stop"`},
			"done",
		},
		"a call without name and arguments": {
			pieces.NewResponses(false),
			[]string{`{"type":"response.output_item.done","item":{"type":"function_call","id":"fc"}}`, "[DONE]"},
			[]string{`0 call 0 "fc" "" "{}"`, `0 finish "tool_calls"`},
			"done",
		},
		"completed with usage": {
			pieces.NewResponses(false),
			[]string{you, `{"type":"response.completed","response":{"usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}}`, "[DONE]"},
			[]string{`0 text "you "`, `0 finish "stop"`, `usage {"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}`},
			"done",
		},
		"incomplete": {pieces.NewResponses(false), []string{you, `{"type":"response.incomplete","response":{}}`}, []string{`0 text "you "`, `0 finish "length"`}, "done"},
		"an error in the middle": {
			pieces.NewResponses(false),
			[]string{you, `{"error": "broken midway"}`, "[DONE]"},
			[]string{`0 text "you "`},
			"upstream_error: the model server ended its stream with an error: broken midway",
		},
		"an error event": {
			pieces.NewResponses(true), []string{`{"type":"error","code":"x","message":"no luck"}`}, nil, "upstream_error: the model server ended its stream with an error: no luck",
		},
		"a response that failed": {
			pieces.NewResponses(true),
			[]string{`{"type":"response.failed","response":{"error":{"message":"no luck"}}}`},
			nil,
			"upstream_error: the model server ended its stream with an error: no luck",
		},
		"a stream that is cut": {pieces.NewResponses(false), []string{you}, []string{`0 text "you "`}, "cut"},
		"not JSON":             {pieces.NewResponses(false), []string{`{"type"`}, nil, "upstream_bad_response: an event of the model server's stream is not JSON: expected : after the key at byte 7"},
		"not an object":        {pieces.NewChat(false), []string{`[1]`}, nil, "upstream_bad_response: an event of the model server's stream is a list instead of an object"},
		"chunks": {
			pieces.NewChat(false),
			[]string{chat(`{"role":"assistant","content":""}`, "null"), chat(`{"content":"a"}`, "null"), chat(`{}`, `"stop"`), `{"choices":[],"usage":{"total_tokens":1}}`, "[DONE]"},
			[]string{`0 text "a"`, `0 finish "stop"`, `usage {"total_tokens":1}`},
			"done",
		},
		"chunks of calls": {
			pieces.NewChat(false),
			[]string{chat(`{"tool_calls":[{"index":1,"id":"c","type":"function","function":{"name":"f","arguments":""}}]}`, "null"), chat(`{"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]}`, `"tool_calls"`)},
			[]string{`0 call 1 "c" "f" ""`, `0 call 1   "{}"`, `0 finish "tool_calls"`},
			"cut",
		},
		"chunks of completions": {pieces.NewChat(false), []string{`{"choices":[{"index":2,"text":"a","finish_reason":null}]}`}, []string{`2 text "a"`}, "cut"},
		"chunks as they came":   {pieces.NewChat(true), []string{chat(`{"content":"a"}`, "null")}, []string{"raw " + chat(`{"content":"a"}`, "null")}, "cut"},
		"an error in chunks": {
			pieces.NewChat(true), []string{`{"error":{"message":"no luck","type":"t"}}`}, nil, "upstream_error: the model server ended its stream with an error: no luck",
		},
		"no chunk": {pieces.NewChat(true), []string{`{}`}, nil, "upstream_bad_response: an event of the model server's stream has no choices: it is not the chunk of a chat"},
	} {
		got, ended := read(c.reader, c.events)
		if !slices.Equal(got, c.want) || ended != c.ended {
			t.Errorf("%s:\n got %q, %s\nwant %q, %s", name, got, ended, c.want, c.ended)
		}
	}
}

func TestAnErrorKeepsTheVendorsWords(t *testing.T) {
	t.Parallel()
	_, _, err := pieces.NewChat(true).Read("", `{"error":{"message":"slow down","type":"rate","code":"tokens"}}`)
	if f := fault.From(err); f.Kind != "rate" || f.Reason != "tokens" || f.Status != 500 {
		t.Errorf("%+v", f)
	}
}

// FuzzPieces: whatever comes, each value that a piece has is JSON, and every error has a code of its own.
func FuzzPieces(f *testing.F) {
	for _, seed := range []string{
		"[DONE]", `{"type":"response.output_text.delta","delta":"a"}`, `{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}`, `{"error":"x"}`,
		`{"type":"response.output_item.done","item":{"type":"function_call","arguments":{"a":NaN}}}`, `{"choices":[{"delta":{"tool_calls":[{"function":{}}]}}]}`,
	} {
		f.Add(seed, "[DONE]")
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		for _, p := range []provider.Pieces{pieces.NewChat(true), pieces.NewChat(false), pieces.NewResponses(true), pieces.NewResponses(false)} {
			for _, data := range []string{first, second, first} {
				got, done, err := p.Read("", data)
				if err != nil {
					if code := fault.CodeOf(err); code != fault.UpstreamError && code != fault.UpstreamBadResponse {
						t.Fatalf("%q: %v", data, err)
					}
					break
				}
				for _, e := range got {
					values := [][]byte{e.Text, e.Finish, e.Usage, e.Raw}
					if e.Call != nil {
						values = append(values, e.Call.ID, e.Call.Name, e.Call.Arguments)
					}
					for _, v := range values {
						if _, err := splice.Whole(v); v != nil && err != nil {
							t.Fatalf("%q: %q is not JSON", data, v)
						}
					}
				}
				if done {
					break
				}
			}
		}
	})
}
