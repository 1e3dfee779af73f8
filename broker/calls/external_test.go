package calls_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/calls"
	"headrace/broker/keeper"
	"headrace/broker/limit"
	"headrace/broker/link"
	"headrace/broker/natsd"
	"headrace/broker/parcel"
	"headrace/broker/records"
	"headrace/internal/budget"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/natstest"
)

// newExternalRig makes a rig on a server that is not ours.
func newExternalRig(tb testing.TB, dial link.Dial) *rig {
	tb.Helper()
	r := bareRig(tb)
	r.dial = dial
	r.keep()
	r.front = r.newFront()
	tb.Cleanup(r.balanced)
	return r
}

// A NATS server of somebody else, with credentials or with a certificate, serves as well as ours.
func TestExternalServer(t *testing.T) {
	t.Parallel()
	for name, secure := range map[string]bool{"credentials": false, "credentials and tls": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := natstest.Options{User: "headrace", Password: "s3cret"}
			dial := link.Dial{User: o.User, Password: o.Password}
			if secure {
				o.TLS, dial.TLSCA = natstest.Certificate(t)
			}
			dial.URL = natstest.Start(t, o).URL()
			r := newExternalRig(t, dial)
			route := testRoute("external")
			r.serve(2, r.echo, route)
			var callers sync.WaitGroup
			for _, size := range []int{1, 100, 2 * calls.InlineReply, 2 * calls.InlineRequest, 20 * parcel.PieceSize} {
				callers.Go(func() {
					text := `"` + strings.Repeat("x", size) + `"`
					res, err := r.front.Call(t.Context(), route, request(route, text))
					if err != nil {
						t.Errorf("%d bytes: %v", size, err)
						return
					}
					if string(res.Items[0]) != text {
						t.Errorf("%d bytes: the answer is not what was sent", size)
					}
					res.Release()
				})
			}
			callers.Wait()
		})
	}
}

// Every role that is refused ends with an error that says which keys to correct, and never shows the secret.
func TestWrongCredentials(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, natstest.Options{User: "headrace", Password: "s3cret"}).URL()
	for name, dial := range map[string]link.Dial{
		"wrong password": {URL: url, User: "headrace", Password: "wr0ng"},
		"unknown user":   {URL: url, User: "somebody", Password: "wr0ng"},
		"none":           {URL: url},
		"in the url":     {URL: strings.Replace(url, "nats://", "nats://headrace:wr0ng@", 1)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := testLog(t)
			front, err := calls.NewFrontEnd(dial, nil, budget.New(1), log)
			if err != nil {
				t.Fatal(err)
			}
			worker, err := calls.NewWorkerEnd(dial, nil, records.Shared{}, budget.New(1), log)
			if err != nil {
				t.Fatal(err)
			}
			keeper, err := keeper.New(dial, log, limit.Streams{})
			if err != nil {
				t.Fatal(err)
			}
			for role, run := range map[string]func(context.Context) error{"api": front.Run, "worker": worker.Run, "broker": keeper.Run} {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				err := run(ctx)
				cancel()
				switch {
				case !errors.Is(err, nats.ErrAuthorization):
					t.Errorf("%s: got %v, want a refusal", role, err)
				case !strings.Contains(err.Error(), "broker.user and broker.password"):
					t.Errorf("%s: %q does not say what to correct", role, err)
				case strings.Contains(err.Error(), "wr0ng"):
					t.Errorf("%s: %q shows the password", role, err)
				}
			}
		})
	}
}

func TestDialValidates(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing")
	for name, dial := range map[string]link.Dial{
		"nothing":     {},
		"credentials": {URL: "nats://h:4222", Credentials: missing},
		"tls_ca":      {URL: "nats://h:4222", TLSCA: missing},
	} {
		if err := dial.Validate(); err == nil {
			t.Errorf("%s: accepted", name)
		} else if dial.URL != "" && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := (link.Dial{URL: "nats://h:4222"}).Validate(); err != nil {
		t.Errorf("a URL alone: %v", err)
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for urls, want := range map[string]string{
		"nats://h:4222":                           "nats://h:4222",
		"nats://u:p@h:4222,tls://tok@i:4222":      "nats://h:4222,tls://i:4222",
		"nats://u:p@h:4222,nats://[::1]:4222,h:1": "nats://h:4222,nats://[::1]:4222,h:1",
	} {
		if got := link.Redact(urls); got != want {
			t.Errorf("%s is shown as %s, want %s", urls, got, want)
		}
	}
}

// Two brokers on one data directory would lose messages; the second one says what to do instead.
func TestTwoBrokersOneDirectory(t *testing.T) {
	t.Parallel()
	cfg := natsd.Config{DataDir: t.TempDir(), MaxMemory: 1 << 20, MaxStore: 1 << 20}
	newServer := func() *natsd.Server {
		s, err := natsd.New(cfg, testLog(t))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := newServer()
	stop := background(t, first.Run)
	await(t, first.Ready(), "server")
	err := newServer().Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), cfg.DataDir) || !strings.Contains(err.Error(), "broker.data_dir") {
		t.Errorf("the second broker said %v", err)
	}
	stop()
	second := newServer()
	background(t, second.Run)
	await(t, second.Ready(), "server on a directory that is free again")
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

// recovered calls until an answer comes, but not for ever.
func recovered(r *rig, route *inference.Route) bool {
	return eventually(func() bool {
		res, err := r.front.Call(r.tb.Context(), route, request(route, `"again"`))
		res.Release()
		return err == nil
	})
}

// When the broker restarts, calls that ran and calls that waited end at once and say which they were; front
// end, worker and keeper come back by themselves.
func TestBrokerRestarts(t *testing.T) {
	t.Parallel()
	o := natstest.Options{User: "headrace", Password: "s3cret"}
	server := natstest.Start(t, o)
	r := newExternalRig(t, link.Dial{URL: server.URL(), User: o.User, Password: o.Password})
	route := testRoute("restart")
	handle, claimed, proceed := hold(r)
	r.serve(1, handle, route)
	call := func() <-chan error {
		done := make(chan error, 1)
		go func() {
			res, err := r.front.Call(t.Context(), route, request(route, `"x"`))
			res.Release()
			done <- err
		}()
		return done
	}
	running := call()
	await(t, claimed, "claim")
	waiting := call()
	if !eventually(func() bool { return r.front.State(route.Name).Waiting == 1 }) {
		t.Fatal("the second call does not wait")
	}
	server.Stop()
	for _, c := range []struct {
		done <-chan error
		code fault.Code
		text string
	}{{running, fault.UpstreamUnavailable, "may have run"}, {waiting, fault.NoWorkers, "did not run"}} {
		err := await(t, c.done, "end of a call in flight")
		if fault.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.text) {
			t.Errorf("got %v, want %s that says that it %s", err, c.code, c.text)
		}
	}
	if r.front.Ready() == nil {
		t.Error("the front end is ready without a broker")
	}
	if _, err := r.front.Call(t.Context(), route, request(route, `"x"`)); fault.CodeOf(err) != fault.NoWorkers {
		t.Errorf("meanwhile: got %v, want no_workers", err)
	}
	close(proceed) // the model server answers a caller that is not there any more
	server.Restart(nil)
	if !recovered(r, route) {
		t.Error("nothing works after the restart")
	}
	if err := r.front.Ready(); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}

// A broker that refuses known credentials for a while, because somebody changes them, is waited for like one
// that is away.
func TestBrokerRefusesForAWhile(t *testing.T) {
	t.Parallel()
	o := natstest.Options{User: "headrace", Password: "s3cret"}
	server := natstest.Start(t, o)
	r := newExternalRig(t, link.Dial{URL: server.URL(), User: o.User, Password: o.Password})
	route := testRoute("refused")
	r.serve(1, r.echo, route)
	if !recovered(r, route) {
		t.Fatal("nothing works")
	}
	var refused atomic.Int64
	server.Restart(func(o *natstest.Options) { o.Refuse = func() { refused.Add(1) } })
	const often = 5 * 4 // each of five connections several times
	if !eventually(func() bool { return refused.Load() >= often }) {
		t.Errorf("only %d attempts to come back", refused.Load())
	}
	server.Restart(nil)
	if !recovered(r, route) {
		t.Error("nothing works after the password is what it was")
	}
}
