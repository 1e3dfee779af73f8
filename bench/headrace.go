package main

import (
	"context"
	"errors"
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

// buildCommit makes the headrace binary of another commit, from a copy of its files below dir.
func buildCommit(ctx context.Context, dir, commit string) (binary string, err error) {
	source := filepath.Join(dir, "before")
	if out, err := exec.CommandContext(ctx, "git", "worktree", "add", "--quiet", "--detach", source, commit).CombinedOutput(); err != nil { //nolint:gosec // the caller named the commit
		return "", fmt.Errorf("git worktree add %s: %w\n%s", commit, err, out)
	}
	defer func() {
		out, removed := exec.CommandContext(context.WithoutCancel(ctx), "git", "worktree", "remove", "--force", source).CombinedOutput() //nolint:gosec // ours
		if removed != nil {
			err = errors.Join(err, fmt.Errorf("git worktree remove: %w\n%s", removed, out))
		}
	}()
	binary = filepath.Join(dir, "headrace-before")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", binary, ".") //nolint:gosec // a directory of our own
	cmd.Dir = source
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build of %s: %w\n%s", commit, err, out)
	}
	return binary, nil
}

// newGateway writes a gateway.toml to a directory of its own below dir, with one route "embeddings". slots 0 leaves the
// choice to headrace; broker are more lines of [broker].
func newGateway(ctx context.Context, dir, modelURL string, slots int, broker ...string) (*gateway, error) {
	return newGatewayOf(ctx, dir, slots, []served{{"embeddings", "llm/v1/embeddings", modelURL}}, broker...)
}

// served is a route of a gateway.
type served struct{ name, kind, modelURL string }

// newGatewayOf is newGateway with any routes. The broker's own port is a free one, for roles that are processes of
// their own.
func newGatewayOf(ctx context.Context, dir string, slots int, routes []served, broker ...string) (*gateway, error) {
	own, err := os.MkdirTemp(dir, "gateway-")
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr(ctx)
	if err != nil {
		return nil, err
	}
	nats, err := freeAddr(ctx)
	if err != nil {
		return nil, err
	}
	g := &gateway{addr: addr, config: filepath.Join(own, "gateway.toml")}
	var text strings.Builder
	fmt.Fprintf(&text, `[api]
listen = %q
sync_timeout = "300s"
shutdown_grace = "5s"
[broker]
listen = %q
data_dir = %q
%s
[worker]
slots = %d
timeout = "300s"
`, addr, nats, filepath.ToSlash(filepath.Join(own, "data")), strings.Join(broker, "\n"), slots)
	for _, r := range routes {
		fmt.Fprintf(&text, `[[routes]]
name = %q
route_type = %q
[routes.model]
provider = "mlflow-model-serving"
name = "model"
[routes.model.config]
model_server_url = %q
`, r.name, r.kind, r.modelURL)
	}
	return g, os.WriteFile(g.config, []byte(text.String()), 0o600)
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
