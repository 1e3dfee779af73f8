package broker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headrace/broker"
	"headrace/internal/budget"
	"headrace/internal/fault"
	"headrace/internal/inference"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is one embedded broker with a front end and workers, all in the test's process.
type rig struct {
	tb     testing.TB
	dial   broker.Dial
	server *broker.Server
	front  *broker.FrontEnd
	log    *slog.Logger
}

func testLog(tb testing.TB) *slog.Logger {
	tb.Helper()
	return slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// background runs f until the test ends and fails the test on its error.
func background(tb testing.TB, f func(context.Context) error) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f(ctx); err != nil {
			tb.Errorf("Run: %v", err)
		}
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	tb.Cleanup(stop)
	return stop
}

func newRig(tb testing.TB, listen string) *rig {
	tb.Helper()
	r := &rig{tb: tb, log: testLog(tb)}
	var err error
	r.server, err = broker.NewServer(broker.ServerConfig{
		Listen: listen, DataDir: tb.TempDir(), Durability: broker.Process,
		MaxMemory: 256 << 20, MaxStore: 1 << 30, Grace: 5 * time.Second,
	}, r.log)
	if err != nil {
		tb.Fatal(err)
	}
	background(tb, r.server.Run)
	<-r.server.Ready()
	r.dial = broker.Dial{Server: r.server}
	if listen != "" {
		r.dial = broker.Dial{URL: "nats://" + r.server.Addr()}
	}
	keeper, err := broker.NewKeeper(r.dial, time.Minute, r.log)
	if err != nil {
		tb.Fatal(err)
	}
	background(tb, keeper.Run)
	r.front = r.newFront()
	return r
}

func (r *rig) newFront() *broker.FrontEnd {
	r.tb.Helper()
	front, err := broker.NewFrontEnd(r.dial, budget.New(256<<20), r.log)
	if err != nil {
		r.tb.Fatal(err)
	}
	background(r.tb, front.Run)
	return front
}

// serve runs a worker with n slots for routes; handle answers. stop ends it in good order.
func (r *rig) serve(n int, handle func(context.Context, *broker.Claim), routes ...*inference.Route) (stop func()) {
	r.tb.Helper()
	end, err := broker.NewWorkerEnd(r.dial, budget.New(256<<20), r.log)
	if err != nil {
		r.tb.Fatal(err)
	}
	announced := make(map[string]int)
	for _, route := range routes {
		announced[route.Name] = n
	}
	end.Serve(announced)
	stopEnd := background(r.tb, end.Run)
	stopPool := background(r.tb, func(ctx context.Context) error {
		r.lease(ctx, end.Intake(routes), n, handle)
		return nil
	})
	return func() {
		stopPool()
		stopEnd()
	}
}

// lease is the simplest pool there can be.
func (r *rig) lease(ctx context.Context, in *broker.Intake, n int, handle func(context.Context, *broker.Claim)) {
	defer in.Close()
	slots := make(chan struct{}, n)
	var running sync.WaitGroup
	defer running.Wait()
	for {
		slots <- struct{}{}
		got, err := in.Lease(ctx, n-len(slots)+1)
		if err != nil {
			return
		}
		<-slots
		for _, d := range got {
			slots <- struct{}{}
			running.Go(func() {
				defer func() { <-slots }()
				callCtx, claim, err := d.Claim(context.WithoutCancel(ctx))
				if err == nil {
					handle(callCtx, claim)
				} else if !errors.Is(err, broker.ErrGone) && !errors.Is(err, broker.ErrReturned) {
					r.tb.Errorf("claim: %v", err)
				}
			})
		}
	}
}

func testRoute(name string) *inference.Route {
	return &inference.Route{
		Name: name, Type: inference.Embeddings, Provider: "mlflow-model-serving",
		SyncTimeout: time.Minute, MaxWaiting: 10_000, MaxWaitingBytes: 256 << 20, Slots: 1,
	}
}

// echo answers with the request's own items.
func echo(tb testing.TB) func(context.Context, *broker.Claim) {
	tb.Helper()
	return func(ctx context.Context, c *broker.Claim) {
		items := make([][]byte, len(c.Request.Items))
		for i, item := range c.Request.Items {
			items[i] = append([]byte(nil), item...)
		}
		if err := c.Answer(ctx, &inference.Result{Items: items, Upstream: time.Millisecond}); err != nil {
			tb.Errorf("answer: %v", err)
		}
	}
}

func request(route *inference.Route, text string) *inference.Request {
	return &inference.Request{ID: "r1", Route: route.Name, Type: route.Type, Items: [][]byte{[]byte(text)}}
}

func TestCall(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{"", "127.0.0.1:0"} {
		t.Run("listen="+listen, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, listen)
			route := testRoute("emb.v1_x")
			r.serve(4, echo(t), route)
			var calls sync.WaitGroup
			for i := range 200 {
				calls.Go(func() {
					text := fmt.Sprintf("%q", fmt.Sprint("text ", i))
					res, err := r.front.Call(t.Context(), route, request(route, text))
					if err != nil {
						t.Errorf("call %d: %v", i, err)
						return
					}
					defer res.Release()
					if len(res.Items) != 1 || string(res.Items[0]) != text || res.Upstream != time.Millisecond {
						t.Errorf("call %d: got %+v", i, res)
					}
				})
			}
			calls.Wait()
		})
	}
}

func TestCallWithoutWorker(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	route := testRoute("lonely")
	began := time.Now()
	_, err := r.front.Call(t.Context(), route, request(route, `"x"`))
	if fault.CodeOf(err) != fault.NoWorkers {
		t.Fatalf("got %v, want no_workers", err)
	}
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("it took %s to say so", d)
	}
	r.serve(1, echo(t), route)
	res, err := r.front.Call(t.Context(), route, request(route, `"x"`))
	if err != nil {
		t.Fatalf("with a worker: %v", err)
	}
	res.Release()
}
