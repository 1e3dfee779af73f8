package app_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headrace/internal/app"
	"headrace/internal/apptest"
	"headrace/internal/sse"
	"headrace/internal/telemetry"
)

// agentServer answers as MLflow's AgentServer does. What comes on steps is written as it comes: an event, or "cut", which ends the
// connection. gone gets word when the gateway has closed the connection.
type agentServer struct {
	steps chan string
	gone  chan struct{}
}

// ServeHTTP is part of http.Handler.
func (a *agentServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"name":"a","use_case":"agent","mlflow_version":"3.17.2","agent_api":"responses"}`)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if !strings.Contains(string(body), `"stream":true`) {
		http.Error(w, `{"detail":"not a stream"}`, http.StatusBadRequest)
		return
	}
	if strings.Contains(string(body), "refuse") {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, `{"detail":"slower"}`)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	control := http.NewResponseController(w)
	_ = control.Flush()
	for {
		select {
		case step := <-a.steps:
			if step == "cut" {
				if conn, _, err := control.Hijack(); err == nil {
					_ = conn.Close()
				}
				return
			}
			_, _ = io.WriteString(w, step)
			_ = control.Flush()
			if step == end {
				return
			}
		case <-r.Context().Done():
			select {
			case a.gone <- struct{}{}:
			default:
			}
			return
		}
	}
}

const (
	end  = "data: [DONE]\n\n"
	you  = `data: {"type": "response.output_text.delta", "item_id": "msg_1", "delta": "you "}` + "\n\n"
	said = `data: {"type": "response.output_text.delta", "item_id": "msg_1", "delta": "said"}` + "\n\n"
	item = `data: {"type": "response.output_item.done", "item": {"id": "msg_1", "content": [{"text": "you said", "type": "output_text", "annotations": []}], "role": "assistant", "type": "message"}}` + "\n\n"
	fail = `data: {"error": "broken midway"}` + "\n\n"
)

// gateway runs Headrace in front of an agent: all of it in one process, or its roles apart.
func gateway(t *testing.T, apart bool, more string) (url string, agent *agentServer) {
	t.Helper()
	agent = &agentServer{steps: make(chan string, 16), gone: make(chan struct{}, 1)}
	server := httptest.NewServer(agent)
	t.Cleanup(server.Close)
	addr, broker := apptest.FreeAddr(t), apptest.FreeAddr(t)
	where := fmt.Sprintf("data_dir = %q\n", filepath.ToSlash(t.TempDir()))
	if apart {
		where += fmt.Sprintf("listen = %q\n", broker)
	}
	path := apptest.Write(t, "gateway.toml", fmt.Sprintf("[api]\nlisten = %q\n[broker]\n%s%s\n[[endpoints]]\nname = \"agent\"\nendpoint_type = \"llm/v1/chat\"\n"+
		"format = \"responses\"\nslots = 2\n[endpoints.model]\nprovider = \"mlflow-model-serving\"\nname = \"m\"\n[endpoints.model.config]\nmodel_server_url = %q\n",
		addr, where, more, server.URL))
	if !apart {
		apptest.UpFrom(t, addr, path)
		return "http://" + addr, agent
	}
	set := app.Settings{Config: path, LogLevel: "error", Version: "test", Out: io.Discard, Err: t.Output()}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 3)
	for _, role := range []func() error{
		func() error { return app.Broker(ctx, set) },
		func() error { return app.API(ctx, set) },
		func() error { return app.Worker(ctx, set, nil, nil) },
	} {
		go func() { ended <- role() }()
	}
	t.Cleanup(func() {
		cancel()
		for range 3 {
			if err := <-ended; err != nil {
				t.Errorf("a role ended with %v", err)
			}
		}
	})
	apptest.Eventually(t, "it is ready", func() bool {
		status, _ := apptest.Get(t, "http://"+addr+"/readyz")
		return status == http.StatusOK
	})
	return "http://" + addr, agent
}

// postStream begins a call, whose reply is closed when the test ends.
func postStream(ctx context.Context, t *testing.T, url, body string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

const (
	chatCall      = `{"model":"agent","stream":true,"messages":[{"role":"user","content":"hi"}]}`
	responsesCall = `{"model":"agent","stream":true,"input":"hi"}`
)

// forms runs a test in one process, and with the roles apart.
func forms(t *testing.T, more string, test func(t *testing.T, url string, agent *agentServer)) {
	t.Helper()
	for name, apart := range map[string]bool{"in one process": false, "over NATS": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, agent := gateway(t, apart, more)
			test(t, url, agent)
		})
	}
}

// upTo reads events until one has a text, and gives it.
func upTo(t *testing.T, events *sse.Reader, text string) string {
	t.Helper()
	for {
		e, err := events.Next()
		if err != nil {
			t.Fatalf("%q never came: %v", text, err)
		}
		if strings.Contains(e.Data, text) {
			return e.Data
		}
	}
}

// rest reads what is left of a stream.
func rest(events *sse.Reader) (all string) {
	for {
		e, err := events.Next()
		if err != nil {
			return all
		}
		all += e.Data + "\n"
	}
}

func TestPiecesArriveAsTheyAreSaid(t *testing.T) {
	t.Parallel()
	forms(t, "", func(t *testing.T, url string, agent *agentServer) {
		t.Helper()
		for path, body := range map[string]string{"/v1/chat/completions": chatCall, "/v1/responses": responsesCall} {
			agent.steps <- you
			resp := postStream(t.Context(), t, url+path, body)
			if resp.StatusCode != http.StatusOK || resp.Header.Get("Headrace-Stream") != "pieces" {
				t.Fatalf("%s: %d %v", path, resp.StatusCode, resp.Header)
			}
			events := sse.NewReader(resp.Body, 1<<20)
			upTo(t, events, "you ") // it is here before the model server says more
			agent.steps <- said
			upTo(t, events, "said")
			agent.steps <- item
			agent.steps <- end
			all := rest(events)
			last := `"finish_reason":"stop"`
			if path == "/v1/responses" {
				last = `"type":"response.completed"`
			}
			if !strings.Contains(all, last) || path != "/v1/responses" && !strings.HasSuffix(all, "[DONE]\n") {
				t.Errorf("%s: the stream ends with %s", path, all)
			}
		}
	})
}

func TestAStreamThatBreaksIsNeverComplete(t *testing.T) {
	t.Parallel()
	forms(t, "", func(t *testing.T, url string, agent *agentServer) {
		t.Helper()
		for name, steps := range map[string][]string{
			"the model server is cut":             {"cut"},
			"it is cut in the middle of an event": {`data: {"type": "response.outp`, "cut"},
			"it tells an error":                   {fail},
			"it says what cannot be read":         {"data: nonsense\n\n"},
		} {
			for path, body := range map[string]string{"/v1/chat/completions": chatCall, "/v1/responses": responsesCall} {
				agent.steps <- you
				resp := postStream(t.Context(), t, url+path, body)
				events := sse.NewReader(resp.Body, 1<<20)
				upTo(t, events, "you ")
				for _, step := range steps {
					agent.steps <- step
				}
				all := rest(events)
				if !strings.Contains(all, `"error":{"message":`) || strings.Contains(all, "[DONE]") || strings.Contains(all, "response.completed") {
					t.Errorf("%s, %s: the stream ends with %s", name, path, all)
				}
				if steps[len(steps)-1] != "cut" {
					<-agent.gone // the gateway closes the connection of what it does not read any more
				}
			}
		}
	})
}

func TestARefusalKeepsItsStatus(t *testing.T) {
	t.Parallel()
	forms(t, "", func(t *testing.T, url string, _ *agentServer) {
		t.Helper()
		resp := postStream(t.Context(), t, url+"/v1/chat/completions", strings.ReplaceAll(chatCall, "hi", "refuse"))
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusTooManyRequests || !strings.Contains(string(text), `"error"`) || strings.Contains(string(text), "data:") {
			t.Errorf("%d %s %v", resp.StatusCode, text, err)
		}
	})
}

func TestACallerThatLeavesStopsTheModelServer(t *testing.T) {
	t.Parallel()
	forms(t, "", func(t *testing.T, url string, agent *agentServer) {
		t.Helper()
		ctx, leave := context.WithCancel(t.Context())
		agent.steps <- you
		resp := postStream(ctx, t, url+"/v1/chat/completions", chatCall)
		upTo(t, sse.NewReader(resp.Body, 1<<20), "you ")
		left := time.Now()
		leave()
		select {
		case <-agent.gone:
			if took := time.Since(left); took > 100*time.Millisecond {
				t.Errorf("the model server's connection was closed after %s", took)
			}
		case <-time.After(10 * time.Second):
			t.Error("the model server's connection stays open")
		}
	})
}

func TestASilentModelServerEndsTheStream(t *testing.T) {
	t.Parallel()
	forms(t, "[worker]\nstream_idle = \"300ms\"\n", func(t *testing.T, url string, agent *agentServer) {
		t.Helper()
		agent.steps <- you
		resp := postStream(t.Context(), t, url+"/v1/chat/completions", chatCall)
		if all := rest(sse.NewReader(resp.Body, 1<<20)); !strings.Contains(all, "stream_idle") || strings.Contains(all, "[DONE]") {
			t.Errorf("the stream ends with %s", all)
		}
	})
}

func TestAStreamHasItsTimeInAll(t *testing.T) {
	t.Parallel()
	forms(t, "[worker]\nstream_max = \"500ms\"\n", func(t *testing.T, url string, agent *agentServer) {
		t.Helper()
		agent.steps <- you
		resp := postStream(t.Context(), t, url+"/v1/chat/completions", chatCall)
		events := sse.NewReader(resp.Body, 1<<20)
		all := make(chan string, 1)
		go func() { all <- rest(events) }()
		for {
			select {
			case <-time.After(50 * time.Millisecond):
				agent.steps <- you
			case text := <-all:
				if !strings.Contains(text, "stream_max") || strings.Contains(text, "[DONE]") {
					t.Errorf("the stream ends with %s", text)
				}
				return
			}
		}
	})
}

// TestMetricsTellOfStreams: how many are open, and how long the first piece took.
func TestMetricsTellOfStreams(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics("test")
	ended := m.Streamed("a", time.Second)
	shown := func() string {
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
		return w.Body.String()
	}
	if text := shown(); !strings.Contains(text, `headrace_open_streams{route="a"} 1`) || !strings.Contains(text, `headrace_first_piece_seconds_sum{route="a"} 1`) {
		t.Error(text)
	}
	if ended(); !strings.Contains(shown(), `headrace_open_streams{route="a"} 0`) {
		t.Error(shown())
	}
}
