package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// realModels installs MLflow, makes the models and serves them with `mlflow models serve` until ctx ends; it returns
// their addresses by name. It runs in the project's root directory.
func (b *bench) realModels(ctx context.Context) (map[string]string, error) {
	if err := run(ctx, "e2e/env.sh", "models"); err != nil {
		return nil, err
	}
	python := filepath.Join(".cache", "py", "models", "bin", "python")
	addrs := make(map[string]string)
	for _, set := range []struct {
		names       []string
		build, home string
	}{
		{[]string{"embeddings", "fillmask"}, "e2e/models/build.py", ".cache/models"},
		{[]string{"tree", "forest", "waiter"}, "bench/models/build.py", ".cache/benchmodels"},
	} {
		b.progress("making and serving %s", strings.Join(set.names, ", "))
		if err := run(ctx, python, set.build, set.home); err != nil {
			return nil, err
		}
		logs, err := os.MkdirTemp(b.dir, "logs-")
		if err != nil {
			return nil, err
		}
		args := []string{"e2e/models/serve.py", set.home, logs}
		for _, name := range set.names {
			addr, err := freeAddr(ctx)
			if err != nil {
				return nil, err
			}
			_, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			addrs[name] = addr
			args = append(args, name+"="+port)
		}
		if err := serving(ctx, python, args...); err != nil {
			return nil, err
		}
	}
	return addrs, nil
}

// serving starts a program that serves until ctx ends, and waits for its line "serving".
func serving(ctx context.Context, program string, args ...string) error {
	read, write := io.Pipe()
	c, err := spawn(ctx, "model servers", write, program, args...)
	if err != nil {
		return err
	}
	go func() {
		<-c.done
		_ = write.Close()
	}()
	line, err := bufio.NewReader(read).ReadString('\n')
	go func() { _, _ = io.Copy(io.Discard, read) }()
	if err != nil || strings.TrimSpace(line) != "serving" {
		<-c.done
		return fmt.Errorf("the model servers do not start: %q %w\n%s", line, c.err, c.said)
	}
	return nil
}

// run runs a program to its end.
func run(ctx context.Context, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // the project's own scripts
	cmd.Env = append(os.Environ(), "MLFLOW_DISABLE_TELEMETRY=true", "DO_NOT_TRACK=true")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", program, err, out)
	}
	return nil
}
