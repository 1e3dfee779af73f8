package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// models are the real model servers, started once for all tests that want them.
type models struct {
	embeddings, fillmask, iris string // base URLs
}

// servers starts the model servers for the tests of one parent test. They end with it.
func servers(t *testing.T) models {
	t.Helper()
	script(t, "../e2e/env.sh", "models")
	python := filepath.Join("..", ".cache", "py", "models", "bin", "python")
	script(t, python, "models/build.py", "../.cache/models")
	at := served(t, "../.cache/models", "embeddings", "fillmask", "iris")
	return models{embeddings: at["embeddings"], fillmask: at["fillmask"], iris: at["iris"]}
}

// served serves models of a folder until the test ends, and gives their base URLs by name.
func served(t *testing.T, folder string, names ...string) map[string]string {
	t.Helper()
	python := filepath.Join("..", ".cache", "py", "models", "bin", "python")
	urls := make(map[string]string)
	args := []string{"models/serve.py", folder, t.TempDir()}
	for _, name := range names {
		_, port, err := net.SplitHostPort(freeAddr(t))
		if err != nil {
			t.Fatal(err)
		}
		urls[name] = "http://127.0.0.1:" + port
		args = append(args, name+"="+port)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), python, args...)
	stdin, err := cmd.StdinPipe() // it serves until this is closed, also when the test dies
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var problems lockedBuffer
	cmd.Stderr = &problems
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_, _ = io.Copy(io.Discard, stdout)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the model servers: %v\n%s", err, problems.String())
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "serving" {
		t.Fatalf("the model servers did not start: %q %v\n%s", line, err, problems.String())
	}
	return urls
}

// script runs a program to its end and gives its output.
func script(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "MLFLOW_DISABLE_TELEMETRY=true", "DO_NOT_TRACK=true")
	out, err := cmd.CombinedOutput()
	if err != nil {
		if missing := (*exec.Error)(nil); errors.As(err, &missing) {
			t.Fatalf("%s cannot be run: %v", name, err)
		}
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (m models) routes() string {
	return route("route", "embeddings", "llm/v1/embeddings", m.embeddings) +
		route("route", "fillmask", "llm/v1/completions", m.fillmask) +
		route("route", "wrong", "llm/v1/embeddings", m.fillmask) +
		route("endpoint", "chat", "llm/v1/chat", m.fillmask) +
		route("route", "chat-before", "llm/v1/chat", m.fillmask) +
		route("endpoint", "down", "llm/v1/embeddings", "http://127.0.0.1:1") +
		route("route", "down-before", "llm/v1/embeddings", "http://127.0.0.1:1") +
		m.limited("endpoint", "limited") + m.limited("endpoint", "limited-langchain") +
		m.limited("route", "limited-before") + m.limited("route", "limited-guide") +
		route("endpoint", "iris", "mlflow/v1/invocations", m.iris)
}

// limited is a route of two calls an hour, for one client that uses them up.
func (m models) limited(list, name string) string {
	model := "[" + list + "s.model]"
	return strings.Replace(route(list, name, "llm/v1/completions", m.fillmask), model, "limit = {calls = 2, renewal_period = \"hour\"}\n"+model, 1)
}

// TestRealMLflow runs everything that needs real model servers, which take half a minute to start.
func TestRealMLflow(t *testing.T) {
	t.Parallel()
	m := servers(t)
	c := newClient(t)
	up := config{api: freeAddr(t), broker: freeAddr(t), routes: m.routes()}
	path := up.write(t)
	start(t, "up", "up", "--config", path)
	ready(t, c, up.api)
	t.Run("company", func(t *testing.T) { company(t, m) }) //nolint:paralleltest // it wants the model servers to itself
	t.Run("probe", func(t *testing.T) { t.Parallel(); probe(t, path) })
	f := newFleet(t, m.routes())
	for _, addr := range f.apis {
		works(t, f.client, addr, "embeddings")
	}
	for name, addr := range map[string]string{"one process": up.api, "separate roles": f.apis[1]} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			t.Run("guide", func(t *testing.T) {
				t.Parallel()
				clients(t, addr, "guide", "embeddings", "fillmask", "wrong", "down-before", "limited-guide")
			})
			t.Run("deployments", func(t *testing.T) {
				t.Parallel()
				clients(t, addr, "deployments", "embeddings", "fillmask", "chat", "wrong", "down", "limited")
			})
			t.Run("openai in Python", func(t *testing.T) {
				t.Parallel()
				clients(t, addr, "openai_sdk", "embeddings", "fillmask", "chat", "wrong", "down")
			})
			t.Run("LangChain", func(t *testing.T) {
				t.Parallel()
				clients(t, addr, "langchain_classes", "embeddings", "fillmask", "chat", "wrong", "down", "limited-langchain")
			})
			t.Run("LangChain over mlflow.gateway", func(t *testing.T) {
				t.Parallel()
				clients(t, addr, "langchain_gateway", "embeddings", "fillmask", "chat-before", "wrong", "down-before", "limited-before")
			})
			t.Run("openai in Node", func(t *testing.T) {
				t.Parallel()
				if name == "one process" { // the packages are installed by one test only
					node(t, addr, "openai_node", "embeddings", "fillmask", "chat", "wrong", "down")
				}
			})
			t.Run("dialects", func(t *testing.T) { t.Parallel(); dialects(t, addr) })
			t.Run("together", func(t *testing.T) { t.Parallel(); together(t, addr) })
		})
	}
}

// clients runs a client library's script against a front end.
func clients(t *testing.T, addr, name string, args ...string) {
	t.Helper()
	script(t, "../e2e/env.sh", name)
	python := filepath.Join("..", ".cache", "py", name, "bin", "python")
	out := script(t, python, append([]string{filepath.Join("clients", name, name+".py"), "http://" + addr}, args...)...)
	if !strings.Contains(out, "\nok: ") {
		t.Errorf("%s: %s", name, out)
	}
}

// probe lets `headrace check --probe` judge real model servers.
func probe(t *testing.T, path string) {
	t.Helper()
	p := start(t, "probe", "check", "--config", path, "--probe")
	if code := p.exited(time.Minute); code != 1 { // two routes do not fit
		t.Errorf("exit status %d", code)
	}
	verdicts := make(map[string]string)
	for line := range strings.Lines(p.out.String()) {
		if words := strings.Fields(line); len(words) > 3 {
			verdicts[words[0]] = line
		}
	}
	for name, want := range map[string][]string{
		"embeddings": {"3.17.2", "good"}, "fillmask": {"3.17.2", "good"}, "chat": {"good"}, "iris": {"3.17.2", "good"},
		"wrong": {"3.17.2", `route_type = "llm/v1/completions"`}, "down": {"refused"},
	} {
		for _, part := range want {
			if !strings.Contains(verdicts[name], part) {
				t.Errorf("%s: %q, want %q", name, verdicts[name], part)
			}
		}
	}
}

// dialects asks each type of route in each dialect that it has.
func dialects(t *testing.T, addr string) {
	t.Helper()
	c := newClient(t)
	const columns = `["sepal length (cm)","sepal width (cm)","petal length (cm)","petal width (cm)"]`
	for _, q := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"/gateway/fillmask/invocations", `{"prompt":"I like to [MASK] cars!"}`, 200, `{"candidates":[{"text":"`},
		{"/endpoints/fillmask/invocations", `{"prompt":"I like to [MASK] cars!"}`, 200, `"choices":[{"index":0,"text":"`},
		{"/v1/completions", `{"model":"fillmask","prompt":["I like to [MASK] cars!","A cat is an [MASK]."]}`, 200, `"index":1`},
		{"/v1/chat/completions", `{"model":"chat","messages":[{"role":"user","content":"A dog is an [MASK]."}]}`, 200, `"role":"assistant"`},
		{"/gateway/chat/invocations", `{"messages":[{"role":"user","content":"A dog is an [MASK]."}]}`, 200, `"role":"assistant"`},
		{"/gateway/embeddings/invocations", `{"text":"x"}`, 200, `{"embeddings":[[`},
		{"/endpoints/embeddings/invocations", `{"input":"x"}`, 200, `{"object":"list","data":[{"object":"embedding","embedding":[`},
		{"/v1/embeddings", `{"model":"embeddings","input":["x"],"encoding_format":"base64"}`, 200, `"embedding":"`},
		{"/v1/routes/iris/invocations", `{"dataframe_split":{"columns":` + columns + `,"data":[[5.1,3.5,1.4,0.2],[7.2,3.2,6,1.8]]}}`, 200, `{"predictions": [0, 2]}`},
		{"/gateway/iris/invocations", `{"inputs":{"sepal length (cm)":[5.1],"sepal width (cm)":[3.5],"petal length (cm)":[1.4],"petal width (cm)":[0.2]}}`, 200, `{"predictions": [0]}`},
		{"/gateway/wrong/invocations", `{"text":"A [MASK]."}`, 502, "EmbeddingsResponse"},
		{"/gateway/fillmask/invocations", `{"prompt":"no gap"}`, 400, "BAD_REQUEST"},
		{"/v1/embeddings", `{"model":"nope","input":"x"}`, 404, "model_not_found"},
	} {
		a := post(t, c, addr, q.path, q.body)
		if a.status != q.status || !strings.Contains(string(a.body), q.want) {
			t.Errorf("%s %s: want %d and %q, got %s", q.path, q.body, q.status, q.want, a)
		}
	}
}

// together asks from many clients at once and compares each answer with the one got alone.
func together(t *testing.T, addr string) {
	t.Helper()
	c := newClient(t)
	vector := func(text string) []float64 {
		var reply struct {
			Embeddings [][]float64 `json:"embeddings"`
		}
		a := post(t, c, addr, "/gateway/embeddings/invocations", fmt.Sprintf(`{"text":%q}`, text))
		if a.status != http.StatusOK || json.Unmarshal(a.body, &reply) != nil || len(reply.Embeddings) != 1 {
			t.Errorf("%s: %s", text, a)
			return nil
		}
		return reply.Embeddings[0]
	}
	texts := strings.Fields("red green blue house tree river mountain sea sky cloud")
	alone := make(map[string][]float64, len(texts))
	for _, text := range texts {
		alone[text] = vector(text)
	}
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			text := texts[i%len(texts)]
			got := vector(text)
			if len(got) != len(alone[text]) {
				t.Errorf("%s: %d floats, want %d", text, len(got), len(alone[text]))
				return
			}
			for k := range got {
				if diff := got[k] - alone[text][k]; diff > 1e-5 || diff < -1e-5 {
					t.Errorf("%s: float %d is %g, alone it was %g", text, k, got[k], alone[text][k])
					return
				}
			}
		})
	}
	all.Wait()
}
