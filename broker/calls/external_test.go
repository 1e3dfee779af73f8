package calls_test

import (
	"context"
	"errors"
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
	"headrace/broker/parcel"
	"headrace/broker/runner"
	"headrace/internal/budget"
	"headrace/internal/fault"
	"headrace/internal/lanetest"
	"headrace/internal/natstest"
)

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
			r := lanetest.NewExternalRig(t, dial)
			route := lanetest.TestRoute("external")
			r.Serve(2, r.Echo, route)
			var callers sync.WaitGroup
			for _, size := range []int{1, 100, 2 * calls.InlineReply, 2 * calls.InlineRequest, 20 * parcel.PieceSize} {
				callers.Go(func() {
					text := `"` + strings.Repeat("x", size) + `"`
					res, err := r.Front.Call(t.Context(), route, lanetest.Request(route, text))
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
			log := lanetest.TestLog(t)
			front, err := calls.NewFrontEnd(dial, nil, budget.New(1), log)
			if err != nil {
				t.Fatal(err)
			}
			worker, err := lanetest.NewWorker(dial, nil, runner.Config{Bodies: budget.New(1), Log: log})
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

// When the broker restarts, calls that ran and calls that waited end at once and say which they were; front
// end, worker and keeper come back by themselves.
func TestBrokerRestarts(t *testing.T) {
	t.Parallel()
	o := natstest.Options{User: "headrace", Password: "s3cret"}
	server := natstest.Start(t, o)
	r := lanetest.NewExternalRig(t, link.Dial{URL: server.URL(), User: o.User, Password: o.Password})
	route := lanetest.TestRoute("restart")
	handle, claimed, proceed := lanetest.Hold(r)
	r.Serve(1, handle, route)
	call := func() <-chan error {
		done := make(chan error, 1)
		go func() {
			res, err := r.Front.Call(t.Context(), route, lanetest.Request(route, `"x"`))
			res.Release()
			done <- err
		}()
		return done
	}
	running := call()
	lanetest.Await(t, claimed, "claim")
	waiting := call()
	if !lanetest.Eventually(func() bool { return r.Front.State(route.Name).Waiting == 1 }) {
		t.Fatal("the second call does not wait")
	}
	server.Stop()
	for _, c := range []struct {
		done <-chan error
		code fault.Code
		text string
	}{{running, fault.UpstreamUnavailable, "may have run"}, {waiting, fault.NoWorkers, "did not run"}} {
		err := lanetest.Await(t, c.done, "end of a call in flight")
		if fault.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.text) {
			t.Errorf("got %v, want %s that says that it %s", err, c.code, c.text)
		}
	}
	if r.Front.Ready() == nil {
		t.Error("the front end is ready without a broker")
	}
	if _, err := r.Front.Call(t.Context(), route, lanetest.Request(route, `"x"`)); fault.CodeOf(err) != fault.NoWorkers {
		t.Errorf("without a broker: got %v, want no_workers", err)
	}
	close(proceed) // the model server answers a caller that is not there any more
	server.Restart(nil)
	if !lanetest.Recovered(r, route) {
		t.Error("nothing works after the restart")
	}
	if err := r.Front.Ready(); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}

// A broker that refuses known credentials for a while, because somebody changes them, is waited for like one
// that is away.
func TestBrokerRefusesForAWhile(t *testing.T) {
	t.Parallel()
	o := natstest.Options{User: "headrace", Password: "s3cret"}
	server := natstest.Start(t, o)
	r := lanetest.NewExternalRig(t, link.Dial{URL: server.URL(), User: o.User, Password: o.Password})
	route := lanetest.TestRoute("refused")
	r.Serve(1, r.Echo, route)
	if !lanetest.Recovered(r, route) {
		t.Fatal("nothing works")
	}
	var refused atomic.Int64
	server.Restart(func(o *natstest.Options) { o.Refuse = func() { refused.Add(1) } })
	const often = 5 * 4 // each of five connections several times
	if !lanetest.Eventually(func() bool { return refused.Load() >= often }) {
		t.Errorf("only %d attempts to come back", refused.Load())
	}
	server.Restart(nil)
	if !lanetest.Recovered(r, route) {
		t.Error("nothing works after the password is what it was")
	}
}
