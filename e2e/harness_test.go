// Package e2e_test runs the built binary as users would: real processes, real signals, real model servers and
// real client libraries.
package e2e_test

import (
	"bytes"
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
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"headrace/e2e/mortal"
)

// binary is the headrace that all tests run.
var binary string //nolint:gochecknoglobals // built once by TestMain

func TestMain(m *testing.M) {
	os.Exit(run(m)) //nolint:forbidigo // a TestMain that cleans up has to
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "headrace-e2e-")
	if err != nil {
		panic(err) //nolint:forbidigo // there is no test to fail yet
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if binary = os.Getenv("BINARY"); binary != "" { // one that is built in another way
		return m.Run()
	}
	binary = filepath.Join(dir, "headrace")
	build := exec.Command("go", "build", "-o", binary, "headrace")
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("building: %v\n%s", err, out)) //nolint:forbidigo // there is no test to fail yet
	}
	return m.Run()
}

// freeAddr returns a loopback address that is free at this moment.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// process is one running headrace.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	out  lockedBuffer
	done chan struct{}
	err  error // of Wait; valid once done is closed
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// start runs headrace with args; it is killed when the test ends, and its output shown when the test failed.
func start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, done: make(chan struct{})}
	p.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), binary, args...)
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.SysProcAttr = &p.out, &p.out, mortal.Attributes()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.signal(syscall.SIGKILL)
		<-p.done
		if t.Failed() {
			t.Logf("output of %s:\n%s", name, p.out.String())
		}
	})
	return p
}

func (p *process) signal(s syscall.Signal) {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("signalling %s: %v", p.name, err)
	}
}

// exited waits for the end and gives the exit status.
func (p *process) exited(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		p.t.Fatalf("%s did not end within %s", p.name, within)
		return -1
	}
}

// config is a gateway.toml for tests.
type config struct {
	api, broker, data string
	extra             string // keys of [broker]
	routes            string
}

func (c config) write(t *testing.T) string {
	t.Helper()
	if c.data == "" {
		c.data = t.TempDir()
	}
	path := filepath.Join(t.TempDir(), "gateway.toml")
	text := fmt.Sprintf("[api]\nlisten = %q\nshutdown_grace = \"20s\"\n[broker]\nlisten = %q\ndata_dir = %q\n%s\n%s",
		c.api, c.broker, filepath.ToSlash(c.data), c.extra, c.routes)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func route(list, name, kind, url string) string {
	return fmt.Sprintf("[[%ss]]\nname = %q\n%s_type = %q\n[%ss.model]\nprovider = \"mlflow-model-serving\"\nname = \"m\"\n[%ss.model.config]\nmodel_server_url = %q\n",
		list, name, list, kind, list, list, url)
}

// eventually asks until ok, at most for the given time.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}

// client has no limit of its own: a hang must show as a hang.
func newClient(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 100 * time.Second}
}

type answer struct {
	status int
	body   []byte
	took   time.Duration
	err    error
}

func (a answer) String() string { return fmt.Sprintf("%d %.200s (%v)", a.status, a.body, a.err) }

func post(t *testing.T, c *http.Client, addr, path, body string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	return do(c, req)
}

// metric reads one value from /metrics; series that are not there count as 0.
func metric(t *testing.T, c *http.Client, addr, name string) float64 {
	t.Helper()
	a := get(t, c, addr, "/metrics")
	match := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindSubmatch(a.body)
	if a.status != http.StatusOK || match == nil {
		return 0
	}
	value, err := strconv.ParseFloat(string(match[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func get(t *testing.T, c *http.Client, addr, path string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	return do(c, req)
}

func do(c *http.Client, req *http.Request) answer {
	began := time.Now()
	resp, err := c.Do(req)
	if err != nil {
		return answer{err: err, took: time.Since(began)}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, body: body, err: err, took: time.Since(began)}
}

// ready waits until a front end answers /readyz.
func ready(t *testing.T, c *http.Client, addr string) {
	t.Helper()
	eventually(t, 20*time.Second, addr+" is ready", func() bool { return get(t, c, addr, "/readyz").status == http.StatusOK })
}

// works waits until a call through addr succeeds.
func works(t *testing.T, c *http.Client, addr, name string) {
	t.Helper()
	eventually(t, 20*time.Second, name+" answers through "+addr, func() bool {
		return post(t, c, addr, "/v1/embeddings", `{"model":"`+name+`","input":"warm"}`).status == http.StatusOK
	})
}

// checkEmbedding fails unless a is an OpenAI embeddings reply of n vectors.
func checkEmbedding(t *testing.T, a answer, n int) {
	t.Helper()
	var reply struct {
		Data []struct {
			Embedding []float64 `json:"embedding"`
		} `json:"data"`
	}
	if a.status != http.StatusOK || json.Unmarshal(a.body, &reply) != nil || len(reply.Data) != n || len(reply.Data[0].Embedding) == 0 {
		t.Errorf("want %d embeddings, got %s", n, a)
	}
}
