package natsd_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"headrace/broker/natsd"
	"headrace/internal/brokertest"
	"headrace/internal/natstest"
)

// Two brokers on one data directory would lose messages; the second one says what to do instead.
func TestTwoBrokersOneDirectory(t *testing.T) {
	t.Parallel()
	cfg := natsd.Config{DataDir: t.TempDir(), MaxMemory: 1 << 20, MaxStore: 1 << 20}
	newServer := func() *natsd.Server {
		s, err := natsd.New(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := newServer()
	stop := brokertest.Background(t, first.Run)
	brokertest.Await(t, first.Ready(), "server")
	err := newServer().Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), cfg.DataDir) || !strings.Contains(err.Error(), "broker.data_dir") {
		t.Errorf("the second broker said %v", err)
	}
	stop()
	second := newServer()
	brokertest.Background(t, second.Run)
	brokertest.Await(t, second.Ready(), "server on a directory that is free again")
}

// A server that cannot have its port says so instead of ending the process.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	addr := natstest.Start(t, natstest.Options{}).Addr()
	s, err := natsd.New(natsd.Config{Listen: addr, DataDir: t.TempDir(), MaxMemory: 1, MaxStore: 1}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Run(ctx); err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("got %v, want an error that names %s", err, addr)
	}
}

// A stopping server syncs for clients that are still there, and is not kept by its own syncer.
func TestServerEndsWithoutClients(t *testing.T) {
	t.Parallel()
	cfg := natsd.Config{Listen: "127.0.0.1:0", DataDir: t.TempDir(), MaxMemory: 1 << 20, MaxStore: 1 << 20, Grace: time.Minute}
	server, err := natsd.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	stop := brokertest.Background(t, server.Run)
	brokertest.Await(t, server.Ready(), "server")
	done := make(chan struct{})
	go func() {
		stop()
		close(done)
	}()
	brokertest.Await(t, done, "end of the server")
}
