package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// startPatience is how long headrace may take to be ready.
const startPatience = 30 * time.Second

// gateway is one headrace over one model server, with one route "embeddings".
type gateway struct {
	addr   string
	config string // path of its gateway.toml
}

// build makes the headrace binary in dir, and tells its version.
func build(ctx context.Context, dir string) (binary, version string, err error) {
	binary = filepath.Join(dir, "headrace")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "headrace") //nolint:gosec // a directory of our own
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	out, err := exec.CommandContext(ctx, binary, "version").Output()
	if err != nil {
		return "", "", fmt.Errorf("headrace version: %w", err)
	}
	return binary, strings.TrimSpace(string(out)), nil
}

// newGateway writes a gateway.toml to a directory of its own below dir. slots 0 leaves the choice to headrace; broker
// are more lines of [broker].
func newGateway(ctx context.Context, dir, modelURL string, slots int, broker ...string) (*gateway, error) {
	own, err := os.MkdirTemp(dir, "gateway-")
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr(ctx)
	if err != nil {
		return nil, err
	}
	g := &gateway{addr: addr, config: filepath.Join(own, "gateway.toml")}
	text := fmt.Sprintf(`[api]
listen = %q
sync_timeout = "300s"
shutdown_grace = "5s"
[broker]
data_dir = %q
%s
[worker]
slots = %d
timeout = "300s"
[[routes]]
name = "embeddings"
route_type = "llm/v1/embeddings"
[routes.model]
provider = "mlflow-model-serving"
name = "model"
[routes.model.config]
model_server_url = %q
`, addr, filepath.ToSlash(filepath.Join(own, "data")), strings.Join(broker, "\n"), slots, modelURL)
	return g, os.WriteFile(g.config, []byte(text), 0o600)
}

// up starts `headrace up` and waits until it is ready. took is the time from the start of the process to the
// first 200 of /readyz.
func (g *gateway) up(ctx context.Context, binary string) (process *child, took time.Duration, err error) {
	process, err = spawn(ctx, "headrace up", nil, binary, "up", "--config", g.config, "--log-level", "warn")
	if err != nil {
		return nil, 0, err
	}
	if err := g.ready(ctx, process); err != nil {
		process.stop()
		return nil, 0, err
	}
	return process, time.Since(process.began), nil
}

// ready waits for the first 200 of /readyz.
func (g *gateway) ready(ctx context.Context, process *child) error {
	request := get(g.addr, "/readyz")
	return process.until(ctx, startPatience, "/readyz", func() error {
		status, _, err := once(ctx, g.addr, request, time.Second)
		if err == nil && status != 200 {
			err = fmt.Errorf("status %d", status)
		}
		return err
	})
}

// freeAddr returns a loopback address that is free at this moment.
func freeAddr(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	addr := listener.Addr().String()
	return addr, listener.Close()
}

// underProfile is up for a process of this program that runs headrace's roles and writes a processor profile
// to path when it ends.
func (g *gateway) underProfile(ctx context.Context, path string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	process, err := spawn(ctx, "headrace under the profiler", nil, self, roleFlag+roleHeadrace, "-config", g.config, "-profile", path)
	if err != nil {
		return nil, err
	}
	if err := g.ready(ctx, process); err != nil {
		process.stop()
		return nil, err
	}
	return process, nil
}
