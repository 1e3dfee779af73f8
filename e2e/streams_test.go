package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

// speaker is how one kind of model server writes the pieces of an answer as server-sent events.
type speaker struct {
	begin, end string
	piece      func(text string) string // text is in quotes
}

func speakers() map[string]speaker {
	chunk := func(delta, reason string) string {
		return `data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":` + delta + `,"finish_reason":` + reason + `}]}` + "\n\n"
	}
	event := func(kind, members string) string {
		return fmt.Sprintf("event: %s\ndata: {\"type\":%q%s}\n\n", kind, kind, members)
	}
	return map[string]speaker{
		"gpt": {
			begin: chunk(`{"role":"assistant","content":""}`, "null"),
			end:   chunk(`{}`, `"stop"`) + "data: [DONE]\n\n",
			piece: func(text string) string { return chunk(`{"content":`+text+`}`, "null") },
		},
		"claude": {
			begin: event("message_start", `,"message":{"id":"m1","type":"message","role":"assistant","content":[],"model":"m","stop_reason":null,"usage":{"input_tokens":3,"output_tokens":1}}`) +
				event("content_block_start", `,"index":0,"content_block":{"type":"text","text":""}`),
			end: event("content_block_stop", `,"index":0`) + event("message_delta", `,"delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":4}`) +
				event("message_stop", ""),
			piece: func(text string) string {
				return event("content_block_delta", `,"index":0,"delta":{"type":"text_delta","text":`+text+`}`)
			},
		},
		"agent": {
			end: `data: {"type":"response.output_item.done","item":{"id":"m1","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text",` +
				`"text":"piece 0 piece 1 piece 2 piece 3 ","annotations":[]}]},"output_index":0}` + "\n\n" + "data: [DONE]\n\n",
			piece: func(text string) string {
				return `data: {"type":"response.output_text.delta","item_id":"m1","output_index":0,"content_index":0,"delta":` + text + `}` + "\n\n"
			},
		},
	}
}

// speak serves a model that streams four pieces, each when the one before it has been seen: a GET of /seen says so. It breaks off in
// the third when it is told "cut".
func speak(t *testing.T, s speaker) string {
	t.Helper()
	seen := make(chan struct{}, 8)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if r.URL.Path == "/seen" {
			seen <- struct{}{}
			return
		}
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"name":"a","use_case":"agent","mlflow_version":"3.17.2","agent_api":"responses"}`) // the client notices
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		control := http.NewResponseController(w)
		_, _ = io.WriteString(w, s.begin) // an error means that the gateway has gone
		for i := range 4 {
			text, _ := json.Marshal(fmt.Sprintf("piece %d ", i)) //nolint:errchkjson // a text
			piece := s.piece(string(text))
			if i == 2 && strings.Contains(string(body), `"cut"`) {
				_, _ = io.WriteString(w, piece[:len(piece)/2])
				_ = control.Flush()
				if conn, _, err := control.Hijack(); err == nil {
					_ = conn.Close()
				}
				return
			}
			_, _ = io.WriteString(w, piece)
			_ = control.Flush()
			select {
			case <-seen:
			case <-r.Context().Done():
				return
			}
		}
		_, _ = io.WriteString(w, s.end)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// OpenAI's SDK gets the pieces of an agent's and of both vendors' answers as they come, from one process and over NATS, and raises an
// error when one breaks off.
func TestPiecesReachOpenAIsClient(t *testing.T) {
	t.Parallel()
	script(t, "../e2e/env.sh", "openai_sdk")
	python := filepath.Join("..", ".cache", "py", "openai_sdk", "bin", "python")
	for _, form := range []string{"one process", "roles"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			routes, asked := speakingRoutes(t)
			up := config{api: freeAddr(t), broker: freeAddr(t), routes: routes}
			path := up.write(t)
			if form == "roles" {
				for _, role := range []string{"broker", "worker", "api"} {
					start(t, role, role, "--config", path)
				}
			} else {
				start(t, "streams", "up", "--config", path)
			}
			ready(t, newClient(t), up.api)
			out := script(t, python, append([]string{"clients/openai_sdk/streams.py", "http://" + up.api}, asked...)...)
			if !strings.Contains(out, "ok: ") {
				t.Error(out)
			}
		})
	}
}

// speakingRoutes is the configuration of a route for each kind of model server, and each route's name with the address of its server.
func speakingRoutes(t *testing.T) (routes string, asked []string) {
	t.Helper()
	var text strings.Builder
	for name, s := range speakers() {
		url := speak(t, s)
		settings := map[string]string{
			"gpt":    fmt.Sprintf("provider = \"openai\"\nname = \"m\"\n[endpoints.model.config]\nopenai_api_base = %q", url+"/v1"),
			"claude": fmt.Sprintf("provider = \"anthropic\"\nname = \"m\"\n[endpoints.model.config]\nanthropic_api_key = \"env:PATH\"\nanthropic_api_base = %q", url),
			"agent":  fmt.Sprintf("provider = \"mlflow-model-serving\"\nname = \"m\"\n[endpoints.model.config]\nmodel_server_url = %q", url),
		}[name]
		format := ""
		if name == "agent" {
			format = "format = \"responses\"\n"
		}
		fmt.Fprintf(&text, "[[endpoints]]\nname = %q\nendpoint_type = \"llm/v1/chat\"\n%s[endpoints.model]\n%s\n\n", name, format, settings)
		asked = append(asked, name+"="+url)
	}
	return text.String(), asked
}
