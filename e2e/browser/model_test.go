package browser_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// modelServer answers like `mlflow models serve`: a call takes 20 ms and 1 ms for each row, one call at a time; a part of
// them fails.
func modelServer(t *testing.T, text bool, failing float64) string {
	t.Helper()
	var turn sync.Mutex
	mux := http.NewServeMux()
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "2.9.0") })
	mux.HandleFunc("GET /", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /invocations", func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Inputs []any }
		_ = json.NewDecoder(r.Body).Decode(&body)
		turn.Lock()
		<-time.After(20*time.Millisecond + time.Duration(len(body.Inputs))*time.Millisecond)
		turn.Unlock()
		w.Header().Set("Content-Type", "application/json")
		if rand.Float64() < failing {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, `{"error_code": "INTERNAL_ERROR", "message": "CUDA out of memory <script>document.title = 'broken'</script>"}`)
			return
		}
		predictions := make([]any, max(len(body.Inputs), 1))
		for i := range predictions {
			predictions[i] = []float64{0.25, -0.5, 0.125}
			if text {
				predictions[i] = "a fine answer"
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"predictions": predictions})
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

const configuration = `
[api]
listen = %q
%s
[broker]
data_dir = %q
[[routes]]
name = "embeddings"
route_type = "llm/v1/embeddings"
description = "sentence embeddings"
[routes.model]
provider = "mlflow-model-serving"
name = "minilm"
[routes.model.config]
model_server_url = [%q, %q]
[routes.batch]
mode = "on"
[[routes]]
name = "fillmask"
route_type = "llm/v1/completions"
[routes.model]
provider = "mlflow-model-serving"
name = "fill-mask"
[routes.model.config]
model_server_url = %q
[[endpoints]]
name = "summaries"
endpoint_type = "llm/v1/completions"
[endpoints.model]
provider = "mlflow-model-serving"
name = "summaries"
[endpoints.model.config]
model_server_url = %q
`

// gateway builds and runs the binary in front of model servers, and gives its address. more is added to its table [api].
func gateway(t *testing.T, more ...string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "headrace")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	file := filepath.Join(t.TempDir(), "gateway.toml")
	text := fmt.Sprintf(configuration, addr, strings.Join(more, "\n"), t.TempDir(), modelServer(t, false, 0), modelServer(t, false, 0), modelServer(t, true, 0), modelServer(t, true, 0.4))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), bin, "up", "--config", file, "--log-level", "error")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() })
	base := "http://" + addr
	for end := time.Now().Add(30 * time.Second); ; <-time.After(50 * time.Millisecond) {
		if resp, err := http.Get(base + "/readyz"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return base
			}
		}
		if time.Now().After(end) {
			t.Fatal("the gateway was never ready")
		}
	}
}

// load calls the gateway from several sides until ctx ends.
func load(ctx context.Context, base string, clients int) (wait func()) {
	var running sync.WaitGroup
	words := strings.Fields("harbour lantern orchard thunder pebble meadow copper willow saffron glacier")
	for range clients {
		running.Go(func() {
			for ctx.Err() == nil {
				text := words[rand.IntN(len(words))] + " " + words[rand.IntN(len(words))]
				switch x := rand.Float64(); {
				case x < 0.75:
					post(ctx, base+"/v1/embeddings", map[string]any{"model": "embeddings", "input": text})
				case x < 0.85:
					post(ctx, base+"/gateway/embeddings/invocations", map[string]any{"text": []string{text, text}})
				case x < 0.9:
					post(ctx, base+"/v1/completions", map[string]any{"model": "fillmask", "prompt": text})
				case x < 0.93:
					post(ctx, base+"/v1/completions", map[string]any{"model": "summaries", "prompt": text})
				case x < 0.95:
					post(ctx, base+"/v1/embeddings", map[string]any{"model": "embeddings", "input": 3})
				case x < 0.97:
					post(ctx, base+"/v1/jobs", map[string]any{"route": "summaries", "input": map[string]any{"prompt": text}, "tags": []string{"nightly"}, "priority": "batch"})
				default:
					post(ctx, base+"/v1/jobs", map[string]any{"route": "embeddings", "input": map[string]any{"input": text}, "metadata": map[string]string{"order": "4711"}})
				}
				<-time.After(time.Duration(rand.IntN(100)) * time.Millisecond)
			}
		})
	}
	return running.Wait
}

func post(ctx context.Context, url string, body any) {
	text, _ := json.Marshal(body)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(text))
	if err != nil {
		return
	}
	r.Header.Set("Content-Type", "application/json")
	if resp, err := http.DefaultClient.Do(r); err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
}
