package api_test

import (
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/mlflowtest"
	"headrace/internal/provider"
	"headrace/internal/provider/anthropic"
	"headrace/internal/provider/openai"
	"headrace/internal/sse"
)

// expanded is a recorded text in which <x*70000> stands for so many letters.
func expanded(text string) string {
	return regexp.MustCompile(`<(.)\*(\d+)>`).ReplaceAllStringFunc(text, func(short string) string {
		n, _ := strconv.Atoi(short[3 : len(short)-1])
		return strings.Repeat(short[1:2], n)
	})
}

// wireOf is what a vendor sent in a recorded stream.
func wireOf(t *testing.T, u *mlflowtest.RecordedUpstream) string {
	t.Helper()
	var whole strings.Builder
	for _, chunk := range u.Chunks {
		whole.WriteString(expanded(chunk))
	}
	for _, chunk := range u.ChunksAs64 {
		text, err := base64.StdEncoding.DecodeString(chunk)
		if err != nil {
			t.Fatal(err)
		}
		whole.Write(text)
	}
	return whole.String()
}

// chunkTexts joins the texts, and the calls, of chunks in OpenAI's form.
func chunkTexts(chunks []string) string {
	var all strings.Builder
	for _, chunk := range chunks {
		var c struct {
			Choices []struct {
				Text  string
				Delta struct {
					Content any
					Calls   []struct {
						Function struct{ Name, Arguments string }
					} `json:"tool_calls"`
				}
			}
		}
		if json.Unmarshal([]byte(chunk), &c) != nil {
			continue
		}
		for _, choice := range c.Choices {
			text, _ := choice.Delta.Content.(string)
			all.WriteString(choice.Text + text)
			for _, call := range choice.Delta.Calls {
				all.WriteString(call.Function.Name + call.Function.Arguments)
			}
		}
	}
	return all.String()
}

// readPieces reads a recorded stream as a worker does: its text, and how it ended.
func readPieces(wire string, p provider.Pieces) (text string, done bool, err error) {
	var chunks []string
	r := sse.NewReader(strings.NewReader(wire), 4<<20)
	for e, end := r.Next(); end == nil; e, end = r.Next() {
		events, complete, bad := p.Read(e.Name, e.Data)
		for i := range events {
			switch e := &events[i]; e.Kind {
			case inference.EventRaw:
				chunks = append(chunks, string(e.Raw))
			case inference.EventText:
				chunks = append(chunks, `{"choices":[{"text":`+string(e.Text)+`}]}`)
			case inference.EventCall:
				name := e.Call.Name
				if name == nil {
					name = []byte(`""`)
				}
				chunks = append(chunks, `{"choices":[{"delta":{"tool_calls":[{"function":{"name":`+string(name)+`,"arguments":`+string(e.Call.Arguments)+`}}]}}]}`)
			case inference.EventFinish, inference.EventUsage:
			}
		}
		if complete || bad != nil {
			return chunkTexts(chunks), complete, bad
		}
	}
	return chunkTexts(chunks), false, nil
}

// lessByRule says why ours may have less of a stream than MLflow passed; "" when it may not.
func lessByRule(wire, text, want string, done bool, err error) string {
	switch {
	case err != nil && fault.CodeOf(err) == fault.UpstreamError && strings.HasPrefix(want, text):
		return "an error that the vendor tells ends the stream"
	case done && strings.HasPrefix(want, text):
		return "nothing belongs to an answer after its end"
	case strings.Contains(wire, "server_tool_use"):
		return "calls that the vendor makes itself are not the caller's"
	case !strings.Contains(strings.ReplaceAll(wire, "\r", ""), "\n\n"):
		return "a blank line ends an event"
	}
	return ""
}

// What MLflow 3.17.2 passes of a vendor's stream, ours read as well; where it passed nothing or broke off, ours may have more.
func TestRecordedStreamsAreReadInPieces(t *testing.T) {
	t.Parallel()
	table := vendorTable(t, mlflowtest.EraC)
	same, more, less, failed := 0, 0, 0, 0
	all := mlflowtest.VendorExchanges(t, mlflowtest.EraC)
	for i := range all {
		e := &all[i]
		if e.Upstream == nil || e.Upstream.Chunks == nil && e.Upstream.ChunksAs64 == nil || e.Upstream.Status != 200 {
			continue
		}
		route := table.Route(e.Endpoint)
		if route == nil {
			continue
		}
		var p provider.Streamer = openai.New()
		if route.Provider == "anthropic" {
			p = anthropic.New()
		}
		text, done, err := readPieces(wireOf(t, e.Upstream), p.Pieces(route, &inference.Request{Type: route.Type, Body: []byte(`{"messages":[]}`)}, provider.Reply{}))
		var recorded []string
		for _, chunk := range e.Reply.Chunks {
			recorded = append(recorded, strings.TrimSpace(strings.TrimPrefix(expanded(chunk), "data: ")))
		}
		want := chunkTexts(recorded)
		switch {
		case text == want:
			same++
		case strings.HasPrefix(text, want) || want == "":
			more++
		case lessByRule(wireOf(t, e.Upstream), text, want, done, err) != "":
			less++
		default:
			t.Errorf("%s (%s): %.200q, done %t, %v; MLflow passed %.200q", e.ID, e.Why, text, done, err, want)
		}
		if err != nil {
			failed++
		}
	}
	t.Logf("%d streams are read as MLflow read them, %d further, %d less by rule; %d end with an error that MLflow did not tell", same, more, less, failed)
	if same < 50 {
		t.Error("too few")
	}
}
