package mlflow_test

import (
	"strings"
	"testing"

	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/provider/mlflow"
	"headrace/internal/provider/mlflow/native"
)

// TestOnlyAnAgentServerIsAskedForAStream: `mlflow models serve` has none, and some of its models refuse the very word.
func TestOnlyAnAgentServerIsAskedForAStream(t *testing.T) {
	t.Parallel()
	route := &inference.Route{Name: "r", Type: inference.Chat, Format: inference.FormatAuto, MaxEvent: 9}
	for _, form := range []native.Form{native.Inputs, native.Chat, native.Agent, native.Responses, native.AgentServer, native.Conversations} {
		for _, stream := range []bool{true, false} {
			req := &inference.Request{
				Type: inference.Chat, Stream: stream, Items: [][]byte{[]byte(`"hi"`)}, Body: []byte(`{"messages":[{"role":"user","content":"hi"}]}`),
			}
			call, err := mlflow.New().EncodeAs(route, req, string(form))
			if err != nil {
				t.Fatal(err)
			}
			want := stream && form == native.AgentServer
			if got := strings.Contains(string(call.Body), `"stream":true`); got != want || (call.Stream != nil) != want {
				t.Errorf("%s, stream %t: %s", form, stream, call.Body)
			}
			if want && call.Stream.MaxEvent != 9 {
				t.Errorf("an event may have %d bytes", call.Stream.MaxEvent)
			}
		}
	}
}

func TestPiecesAreForTheCallersForm(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]inference.EventKind{`{"messages":[]}`: inference.EventText, `{"input":"hi"}`: inference.EventRaw} {
		p := mlflow.New().Pieces(nil, &inference.Request{Type: inference.Chat, Body: []byte(body)}, provider.Reply{})
		got, done, err := p.Read("", `{"type":"response.output_text.delta","item_id":"m","delta":"hi"}`)
		if err != nil || done || len(got) != 1 || got[0].Kind != want {
			t.Errorf("%s: %+v, %t, %v", body, got, done, err)
		}
	}
}
