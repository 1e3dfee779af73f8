package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"headrace/internal/app"
	"headrace/internal/apptest"
)

// canary is a key that must be seen by the vendor alone.
const canary = "sk-canary-0f7d1c93"

// vendor is a fake of both vendors: it answers by path, and with an error that quotes the key where the call says "fail".
func vendor(t *testing.T) (url string, seen func() []http.Header) {
	t.Helper()
	var mu sync.Mutex
	var headers []http.Header
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		headers = append(headers, r.Header)
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		switch text := string(body); {
		case strings.Contains(text, "fail401"):
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"error":{"message":"Incorrect key %s","type":"t","code":"invalid_api_key"}}`, canary)
		case strings.Contains(text, "fail429"):
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
			fmt.Fprintf(w, `{"error":{"message":"%s is slow","type":"requests","code":"rate_limit_exceeded"}}`, canary)
		case strings.Contains(text, "broke429"):
			w.WriteHeader(http.StatusTooManyRequests)
			fmt.Fprint(w, `{"error":{"message":"pay","type":"insufficient_quota","code":"insufficient_quota"}}`)
		case strings.HasSuffix(r.URL.Path, "/messages"):
			fmt.Fprint(w, `{"id":"msg_1","model":"claude-x","content":[{"type":"text","text":"salut"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":2}}`)
		case strings.HasSuffix(r.URL.Path, "/embeddings"):
			fmt.Fprint(w, `{"object":"list","data":[{"object":"embedding","index":1,"embedding":[2.50]},{"object":"embedding","index":0,"embedding":[1.50]}],"model":"e","usage":{"prompt_tokens":2,"total_tokens":2}}`)
		case strings.HasSuffix(r.URL.Path, "/completions") && !strings.Contains(r.URL.Path, "chat"):
			fmt.Fprint(w, `{"id":"cmpl-1","object":"text_completion","created":7,"model":"i","choices":[{"text":"bonjour","index":0,"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`)
		default:
			fmt.Fprint(w, `{"id":"chatcmpl-1","object":"chat.completion","created":7,"model":"gpt-x-1","choices":[{"index":0,"message":{"role":"assistant","content":"hello","audio":1.50},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2},"service_tier":"default"}`)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, func() []http.Header {
		mu.Lock()
		defer mu.Unlock()
		return headers
	}
}

// vendorRoutes are four endpoints in front of a fake vendor, whose key is in a file.
func vendorRoutes(t *testing.T, url string) string {
	t.Helper()
	key := filepath.ToSlash(apptest.Write(t, "key", canary+"\n"))
	var b strings.Builder
	for _, e := range [][3]string{{"gpt", "chat", "openai"}, {"text", "completions", "openai"}, {"vectors", "embeddings", "openai"}, {"claude", "chat", "anthropic"}} {
		fmt.Fprintf(&b, "[[endpoints]]\nname = %q\nendpoint_type = \"llm/v1/%s\"\n[endpoints.model]\nprovider = %q\nname = \"m-1\"\n[endpoints.model.config]\n%s_api_key = \"file:%s\"\n%s_api_base = \"%s/v1\"\n",
			e[0], e[1], e[2], e[2], key, e[2], url)
	}
	return b.String()
}

func TestVendors(t *testing.T) {
	t.Parallel()
	url, seen := vendor(t)
	addr, _ := apptest.Up(t, vendorRoutes(t, url))
	for _, c := range []struct{ path, body, want string }{
		{"/v1/chat/completions", `{"model":"gpt","messages":[{"role":"user","content":"hi"}],"x":null}`, `"audio":1.50},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2},"service_tier":"default"}`},
		{"/gateway/gpt/invocations", `{"messages":[{"role":"user","content":"hi"},{"role":"user","content":"there"}]}`, `"provider":"openai"`},
		{"/v1/routes/gpt/invocations", `{"messages":[{"role":"user","content":"hi"}]}`, `"content":"hello"`},
		{"/v1/completions", `{"model":"text","prompt":["a","b"]}`, `"text":"bonjour"`},
		{"/endpoints/text/invocations", `{"prompt":"a"}`, `"text":"bonjour"`},
		{"/v1/embeddings", `{"model":"vectors","input":["a","b"]}`, `[{"object":"embedding","index":0,"embedding":[1.50]},{"object":"embedding","index":1,"embedding":[2.50]}]`},
		{"/gateway/vectors/invocations", `{"input":["a","b"]}`, `[{"object":"embedding","embedding":[1.50],"index":0},`},
		{"/v1/chat/completions", `{"model":"claude","messages":[{"role":"user","content":"hi"}]}`, `"content":"salut"`},
		{"/gateway/claude/invocations", `{"messages":[{"role":"user","content":"hi"}],"temperature":1.0}`, `"prompt_tokens":3,"completion_tokens":2,"total_tokens":5`},
	} {
		resp, text := ask(t, "http://"+addr+c.path, c.body)
		if resp.StatusCode != http.StatusOK || !strings.Contains(text, c.want) {
			t.Errorf("%s %s: %d %s", c.path, c.body, resp.StatusCode, text)
		}
		jobbed, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		jobbed.Header.Set("Prefer", "wait=20")
		jobbed.Header.Set("Authorization", "Bearer caller-key")
		again, err := http.DefaultClient.Do(jobbed)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(again.Body)
		_ = again.Body.Close()
		if err != nil || again.StatusCode != http.StatusOK || !strings.Contains(string(body), c.want) {
			t.Errorf("%s as a job: %d %s", c.path, again.StatusCode, body)
		}
	}
	for _, h := range seen() {
		if h.Get("Authorization") != "Bearer "+canary && h.Get("X-Api-Key") != canary || strings.Contains(fmt.Sprint(h), "caller-key") {
			t.Errorf("the vendor was sent %v", h)
		}
	}
	resp, text := ask(t, "http://"+addr+"/v1/chat/completions", `{"model":"gpt","messages":[{"role":"user","content":"fail429"}]}`)
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "7" || !strings.Contains(text, `"code":"rate_limit_exceeded"`) {
		t.Errorf("a limit: %d %v %s", resp.StatusCode, resp.Header, text)
	}
	resp, text = ask(t, "http://"+addr+"/v1/chat/completions", `{"model":"gpt","messages":[{"role":"user","content":"broke429"}]}`)
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("X-Should-Retry") != "false" || !strings.Contains(text, `"code":"insufficient_quota"`) {
		t.Errorf("a quota: %d %v %s", resp.StatusCode, resp.Header, text)
	}
}

// A job that fails for money, or for the gateway's key, is not repeated, whatever its status.
func TestJobsOfVendorsAreRepeatedByTheVendorsCode(t *testing.T) {
	t.Parallel()
	url, _ := vendor(t)
	addr, _ := apptest.Up(t, vendorRoutes(t, url))
	for text, attempts := range map[string]float64{"broke429": 1, "fail401": 1} {
		_, reply := ask(t, "http://"+addr+"/v1/jobs?wait=20", `{"route":"gpt","input":{"messages":[{"role":"user","content":"`+text+`"}]}}`)
		var job struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal([]byte(reply), &job); err != nil {
			t.Fatalf("%s: %s", err, reply)
		}
		_, view := apptest.Get(t, "http://"+addr+"/v1/jobs/"+job.ID+"?wait=20")
		var seen map[string]any
		if json.Unmarshal([]byte(view), &seen) != nil || seen["status"] != "failed" || seen["attempt"] != attempts || strings.Contains(view, canary) {
			t.Errorf("%s: %s", text, view)
		}
	}
}

// The key is in no log, no reply and no list, whatever happens.
func TestKeyIsSeenByTheVendorAlone(t *testing.T) {
	t.Parallel()
	url, seen := vendor(t)
	addr := apptest.FreeAddr(t)
	path, _ := apptest.Config(t, addr, vendorRoutes(t, url))
	var log lockedBuffer
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- app.Up(ctx, app.Settings{Config: path, LogLevel: "debug", LogFormat: "json", Version: "test", Out: &log, Err: &log})
	}()
	apptest.Eventually(t, "the gateway is ready", func() bool {
		resp, err := http.Get("http://" + addr + "/readyz")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	var replies []string
	for _, text := range []string{"hi", "fail401", "fail429", "broke429"} {
		for _, route := range []string{"gpt", "claude"} {
			body := `{"messages":[{"role":"user","content":"` + text + `"}]}`
			for _, p := range []string{"/gateway/" + route + "/invocations", "/v1/routes/" + route + "/invocations"} {
				_, reply := ask(t, "http://"+addr+p, body)
				replies = append(replies, reply)
			}
			_, reply := ask(t, "http://"+addr+"/v1/chat/completions", `{"model":"`+route+`",`+body[1:])
			_, job := ask(t, "http://"+addr+"/v1/jobs", `{"route":"`+route+`","input":`+body+`}`)
			replies = append(replies, reply, job)
		}
	}
	for _, p := range []string{"/v1/routes", "/v1/routes/gpt", "/v1/models", "/metrics", "/v1/jobs", "/v1/limits", "/v1/queues", "/api/2.0/endpoints/", "/api/2.0/gateway/routes/", "/openapi.json"} {
		_, body := apptest.Get(t, "http://"+addr+p)
		replies = append(replies, body)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if len(seen()) == 0 {
		t.Fatal("the vendor was not asked")
	}
	for _, r := range append(replies, log.String()) {
		if strings.Contains(r, canary) {
			t.Errorf("the key is in %s", r)
		}
	}
}

// lockedBuffer is a buffer for several writers.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write is io.Writer's.
func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is what was written.
func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestWorkersWithoutAKeyDoNotStart(t *testing.T) {
	t.Parallel()
	path, _ := apptest.Config(t, apptest.FreeAddr(t), "[[endpoints]]\nname = \"v\"\nendpoint_type = \"llm/v1/chat\"\n[endpoints.model]\nprovider = \"openai\"\nname = \"m\"\n"+
		"[endpoints.model.config]\nopenai_api_key = \"file:/no/such/key\"\n")
	set := app.Settings{Config: path, LogLevel: "error", Version: "test", Out: io.Discard, Err: t.Output()}
	for name, run := range map[string]func() error{
		"up":     func() error { return app.Up(t.Context(), set) },
		"worker": func() error { return app.Worker(t.Context(), set, nil, nil) },
	} {
		if err := run(); err == nil || !strings.Contains(err.Error(), "openai_api_key") || !strings.Contains(err.Error(), "no such file") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
