// Package apptest runs Headrace in a test's process.
package apptest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"headrace/internal/app"
	"headrace/internal/mlflowtest"
)

// patience bounds how long Eventually waits.
const patience = 20 * time.Second

// FreeAddr returns a loopback address that is free at this moment.
func FreeAddr(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// Write writes a file of the test and gives its path.
func Write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Up runs everything in this process until the test ends, in front of a model server whose route is `emb`. It gives the
// gateway's address. more is added to the configuration.
func Up(t *testing.T, more string) (addr string, model *mlflowtest.Server) {
	t.Helper()
	addr = FreeAddr(t)
	path, model := Config(t, addr, more)
	UpFrom(t, addr, path)
	return addr, model
}

// Config writes the configuration that Up uses, for a gateway at addr, and starts its model server.
func Config(t *testing.T, addr, more string) (path string, model *mlflowtest.Server) {
	t.Helper()
	model = mlflowtest.New(t)
	model.Handle(mlflowtest.Embeddings(4))
	text := fmt.Sprintf("[api]\nlisten = %q\n[broker]\ndata_dir = %q\n%s\n[[endpoints]]\nname = \"emb\"\nendpoint_type = \"llm/v1/embeddings\"\n"+
		"[endpoints.model]\nprovider = \"mlflow-model-serving\"\nname = \"m\"\n[endpoints.model.config]\nmodel_server_url = %q\n",
		addr, filepath.ToSlash(t.TempDir()), more, model.URL)
	return Write(t, "gateway.toml", text), model
}

// UpFrom starts a gateway that a file describes and waits until it is ready at addr. It runs until stop is called, which
// waits for its end, or the test ends.
func UpFrom(t *testing.T, addr, path string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- app.Up(ctx, app.Settings{Config: path, LogLevel: "error", Version: "test", Out: io.Discard, Err: t.Output()})
	}()
	stopped := false
	stop = func() {
		cancel()
		if stopped {
			return
		}
		stopped = true
		if err := <-ended; err != nil {
			t.Errorf("up ended with %v", err)
		}
	}
	t.Cleanup(stop)
	Eventually(t, "it is ready", func() bool {
		status, _ := Get(t, "http://"+addr+"/readyz")
		return status == http.StatusOK
	})
	return stop
}

// Get requests a page; the status is 0 when there is no answer.
func Get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, ""
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// Eventually asks until the answer is yes.
func Eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !is(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}
