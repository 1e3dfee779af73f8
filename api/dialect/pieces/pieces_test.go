package pieces_test

import (
	"encoding/json"
	"strings"
	"testing"

	"headrace/api/dialect/pieces"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/sse"
)

// written is what a writer makes of pieces: the data of each event.
func written(t *testing.T, w pieces.Writer, all []inference.Event) ([]string, error) {
	t.Helper()
	var out []byte
	for i := range all {
		out = w.Piece(out, &all[i])
	}
	out, err := w.End(out)
	var data []string
	for r := sse.NewReader(strings.NewReader(string(out)), 1<<20); ; {
		e, err := r.Next()
		if err != nil {
			break
		}
		if e.Data != "[DONE]" && !json.Valid([]byte(e.Data)) {
			t.Errorf("%s is not JSON", e.Data)
		}
		data = append(data, e.Data)
	}
	return data, err
}

func raw(data string) inference.Event {
	return inference.Event{Kind: inference.EventRaw, Raw: []byte(data)}
}

func text(s string) inference.Event { return inference.Event{Text: []byte(s)} }

func TestChunksAreOfOneAnswer(t *testing.T) {
	t.Parallel()
	usage := inference.Event{Kind: inference.EventUsage, Usage: []byte(`{"total_tokens":1}`)}
	for name, c := range map[string]struct {
		usage  bool
		pieces []inference.Event
		want   []string
	}{
		"a text":       {false, []inference.Event{text(`"a"`), usage}, []string{`"delta":{"role":"assistant"`, `{"content":"a"}`, `"finish_reason":"stop"`, "[DONE]"}},
		"with usage":   {true, []inference.Event{text(`"a"`), usage}, []string{`"usage":null`, `{"content":"a"}`, `"choices":[],"usage":{"total_tokens":1}`, `"finish_reason":"stop"`, "[DONE]"}},
		"as they came": {false, []inference.Event{raw(`{"choices":[{"x":1}]}`), raw(`{"choices":[],"usage":{"y":1}}`)}, []string{`{"choices":[{"x":1}]}`, "[DONE]"}},
	} {
		got, err := written(t, pieces.NewChunks([]byte(`{"id":"i"`), true, c.usage, 1), c.pieces)
		if err != nil || len(got) != len(c.want) {
			t.Errorf("%s: %v %q", name, err, got)
			continue
		}
		for i, want := range c.want {
			if !strings.Contains(got[i], want) {
				t.Errorf("%s: event %d is %s, want %s", name, i, got[i], want)
			}
		}
	}
	if _, err := written(t, pieces.NewChunks([]byte(`{"id":"i"`), true, false, 2), []inference.Event{text(`"a"`)}); fault.CodeOf(err) != fault.Invalid {
		t.Errorf("one answer where two were asked for: %v", err)
	}
}

// TestMLflowsChunks: pieces and chunks as they came give the same chunks of MLflow's.
func TestMLflowsChunks(t *testing.T) {
	t.Parallel()
	want := []string{
		`{"id":"i","choices":[{"index":0,"finish_reason":null,"delta":{"role":"assistant","content":"a","tool_calls":null}}],"usage":null,"provider":"p"}`,
		`{"id":"i","choices":[{"index":0,"finish_reason":"stop","delta":{"role":null,"content":null,"tool_calls":null}}],"usage":null,"provider":"p"}`,
		`{"id":"i","choices":[],"usage":{"total_tokens":1},"provider":"p"}`, "[DONE]",
	}
	for name, given := range map[string][]inference.Event{
		"pieces": {text(`"a"`), {Kind: inference.EventFinish, Finish: []byte(`"stop"`)}, {Kind: inference.EventUsage, Usage: []byte(`{"total_tokens":1}`)}},
		"as they came": {
			raw(`{"choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}`), raw(`{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}`),
			raw(`{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}`), raw(`{"choices":[],"usage":{"total_tokens":1}}`),
		},
	} {
		got, err := written(t, pieces.NewMLflow([]byte(`{"id":"i"`), "p", true, true), given)
		if err != nil || strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s: %v\n%s", name, err, strings.Join(got, "\n"))
		}
	}
}
