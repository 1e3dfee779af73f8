package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

const (
	opsPatience = 10 * time.Second // for a request, and for its reply
	opsIdle     = 2 * time.Minute
)

// opsServer answers /livez, /readyz and /metrics for a role that has no HTTP front end.
type opsServer struct {
	key      string // that names the address, for errors
	listener net.Listener
	server   *http.Server
}

// ops opens the listener, so that a port that is taken is an error before anything starts. It returns no stage for "".
func (p *process) ops(ctx context.Context, key, address string, ready func() error) ([]stage, error) {
	if address == "" {
		return nil, nil
	}
	var listener net.Listener
	if err := p.listening(ctx, key, address, func() (err error) {
		listener, err = new(net.ListenConfig).Listen(ctx, "tcp", address)
		return err
	}); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	say := func(w http.ResponseWriter, status int, text string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, "{\"status\":%q}", text) // the asker notices
	}
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "OK") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			say(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		say(w, http.StatusOK, "ready")
	})
	mux.Handle("GET /metrics", p.metrics.Handler())
	o := &opsServer{key: key, listener: listener, server: &http.Server{
		Handler: mux, ReadTimeout: opsPatience, WriteTimeout: opsPatience, IdleTimeout: opsIdle,
	}}
	p.log.Info("metrics and health", "address", shownAddress(listener.Addr()), "key", key)
	return []stage{{key, o.run}}, nil
}

// run serves until ctx ends.
func (o *opsServer) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = o.server.Close() })
	defer stop()
	if err := o.server.Serve(o.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("%s: %w", o.key, err)
	}
	return nil
}
