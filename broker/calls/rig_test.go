package calls_test

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"headrace/broker/calls"
	"headrace/broker/keeper"
	"headrace/broker/limit"
	"headrace/broker/link"
	"headrace/broker/natsd"
	"headrace/broker/records"
	"headrace/broker/sweeper"
	"headrace/internal/budget"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/natstest"
)

// TestMain lets more tests run at a time than there are processors, since most of them wait most of the time.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "5"); err != nil { // the command line's word counts more
		panic(err) //nolint:forbidigo // there is no test yet that could fail
	}
	goleak.VerifyTestMain(m, natstest.Leaks()...)
}

// form is a way in which front end, broker and workers are spread over processes, as far as they can tell.
type form string

const (
	inProcess form = "in process" // the server has no port
	overTCP   form = "tcp"
	locally   form = "local" // front ends and workers speak directly
)

// each runs a test once for each form.
func each(t *testing.T, test func(*rig), forms ...form) {
	t.Helper()
	for _, f := range forms {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			test(newRig(t, f))
		})
	}
}

// rig is one broker with a front end and workers, all in the test's process. When the test is over and its
// workers have ended, nothing may be held any more.
type rig struct {
	tb      testing.TB
	dial    link.Dial
	local   *calls.Local
	shared  records.Shared
	flush   func(*os.File) error // syncs files of the server; nil: as usual
	health  func() string        // of the server's streams; nil: as it is
	store   int64                // bytes for jobs; 0: no limit
	lanes   int                  // consumers of one stream; 0: as usual
	server  *natsd.Server
	front   *calls.FrontEnd
	keeper  *keeper.Keeper
	replies *budget.Bytes // what handlers reserve their answers in, if they do
	log     *slog.Logger

	mu       sync.Mutex
	accounts map[string]func() int64
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

// newRig makes the broker and a front end.
func newRig(tb testing.TB, f form) *rig {
	tb.Helper()
	return newSizedRig(tb, f, 256<<20)
}

// newSizedRig makes one whose server keeps no more than maxMemory bytes in memory.
func newSizedRig(tb testing.TB, f form, maxMemory int64) *rig {
	tb.Helper()
	r := bareRig(tb)
	cfg := natsd.Config{MaxMemory: maxMemory}
	if f == overTCP {
		cfg.Listen = "127.0.0.1:0"
	}
	r.serveBroker(cfg)
	if f == locally {
		r.local, r.shared.Recent = calls.NewLocal(), records.NewRecent(1<<20)
	}
	r.keep()
	r.front = r.newFront()
	tb.Cleanup(r.balanced)
	return r
}

func bareRig(tb testing.TB) *rig {
	tb.Helper()
	r := &rig{tb: tb, log: testLog(tb), accounts: make(map[string]func() int64)}
	r.replies = r.budget("replies of handlers")
	return r
}

// serveBroker starts the embedded server and sets how to dial it.
func (r *rig) serveBroker(cfg natsd.Config) {
	r.tb.Helper()
	r.serveBrokerIn(r.tb.TempDir(), cfg)
}

// serveBrokerIn is serveBroker with the files in dir.
func (r *rig) serveBrokerIn(dir string, cfg natsd.Config) {
	r.tb.Helper()
	cfg.DataDir, cfg.MaxStore, cfg.Grace = dir, 1<<30, 5*time.Second
	cfg.Synced, cfg.Flush = records.SyncedStreams(), r.flush
	if r.health != nil {
		cfg.Health = func(*server.Server) string { return r.health() }
	}
	cfg.Durability = cmp.Or(cfg.Durability, natsd.Process)
	var err error
	if r.server, err = natsd.New(cfg, r.log); err != nil {
		r.tb.Fatal(err)
	}
	background(r.tb, r.server.Run)
	<-r.server.Ready()
	r.dial, r.shared = link.Dial{Server: r.server}, records.Shared{Syncs: records.NewSyncs()}
	if cfg.Listen != "" {
		r.dial, r.shared = link.Dial{URL: "nats://" + r.server.Addr(), User: cfg.User, Password: cfg.Password}, records.Shared{}
	}
}

func (r *rig) keep() (stop func()) {
	r.tb.Helper()
	limits := records.Limits{MaxStore: r.store, Lanes: r.lanes}
	if r.server != nil {
		limits.Sync = r.server.Syncs()
	}
	return r.keepWithin(limits)
}

// keepWithin is keep with limits for jobs.
func (r *rig) keepWithin(limits records.Limits) (stop func()) {
	r.tb.Helper()
	return background(r.tb, r.newKeeper(limits).Run)
}

func (r *rig) newKeeper(limits records.Limits) *keeper.Keeper {
	r.tb.Helper()
	made, err := calls.NewStreams(time.Minute)
	if err != nil {
		r.tb.Fatal(err)
	}
	if r.lanes > 0 {
		made.Limit(r.lanes)
	}
	keeper, err := keeper.New(r.dial, r.log, made, limits, limit.Streams{})
	if err != nil {
		r.tb.Fatal(err)
	}
	r.keeper = keeper
	return keeper
}

// disk is that of the embedded server; nil when there is none, or it is dialled as others dial it.
func (r *rig) disk() sweeper.Disk {
	if r.dial.Server == nil {
		return nil
	}
	return r.server
}

// budget makes one that must be empty when the test is over.
func (r *rig) budget(name string) *budget.Bytes {
	b := budget.New(256 << 20)
	r.account(name, b.Held)
	return b
}

// account adds something that must be 0 when the test is over.
func (r *rig) account(name string, held func() int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.accounts[name] = held
}

// balanced waits until nothing is held, but not for ever.
func (r *rig) balanced() {
	r.tb.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, held := range r.accounts {
		if !eventually(func() bool { return held() == 0 }) {
			r.tb.Errorf("%s: %d are still held", name, held())
		}
	}
}

// eventually polls until is holds, and reports whether it did in time.
func eventually(is func() bool) bool {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); !is(); <-tick.C {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

func (r *rig) newFront() *calls.FrontEnd {
	r.tb.Helper()
	return r.newFrontBy(r.dial)
}

// newFrontBy makes a front end that reaches the broker in its own way.
func (r *rig) newFrontBy(dial link.Dial) *calls.FrontEnd {
	r.tb.Helper()
	front, err := calls.NewFrontEnd(dial, r.local, r.budget("replies of a front end"), r.log)
	if err != nil {
		r.tb.Fatal(err)
	}
	background(r.tb, front.Run)
	r.account("calls and parcels of a front end", func() int64 {
		if front.Ready() != nil { // it never was
			return 0
		}
		return int64(front.Left())
	})
	return front
}

// newWorkerEnd makes an end that announces n slots for each route, and waits until the front end knows it. stop
// ends it in good order.
func (r *rig) newWorkerEnd(n int, routes ...*inference.Route) (end *calls.WorkerEnd, stop func()) {
	r.tb.Helper()
	end, err := calls.NewWorkerEnd(r.dial, r.local, r.shared, r.budget("bodies of worker "+time.Now().String()), r.log)
	if err != nil {
		r.tb.Fatal(err)
	}
	announced := make(map[string]int)
	for _, route := range routes {
		announced[route.Name] = n
	}
	end.Serve(announced)
	before := r.front.State(routes[0].Name).Workers
	stop = background(r.tb, end.Run)
	if !eventually(func() bool { return r.front.State(routes[0].Name).Workers > before }) {
		r.tb.Error("the front end does not see the worker")
	}
	return end, stop
}

// serve runs a worker with n slots for routes; handle answers. stop ends it in good order.
func (r *rig) serve(n int, handle func(context.Context, *calls.Claim), routes ...*inference.Route) (stop func()) {
	r.tb.Helper()
	end, stopEnd := r.newWorkerEnd(n, routes...)
	r.account("calls and parcels of worker "+end.ID(), func() int64 { return int64(end.Left()) })
	stopPool := background(r.tb, func(ctx context.Context) error {
		r.lease(ctx, end.Intake(routes), n, handle)
		return nil
	})
	return func() {
		end.Serve(nil)
		end.Settle(r.tb.Context())
		stopPool()
		stopEnd()
	}
}

// lease is the simplest pool there can be.
func (r *rig) lease(ctx context.Context, in *calls.Intake, n int, handle func(context.Context, *calls.Claim)) {
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
				} else if !errors.Is(err, calls.ErrGone) && !errors.Is(err, calls.ErrReturned) && fault.CodeOf(err) != fault.Gone {
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

// result is an answer whose bytes are reserved in the handlers' budget.
func (r *rig) result(items ...[]byte) *inference.Result {
	res := &inference.Result{Items: items, Upstream: time.Millisecond}
	size := res.Size()
	if !r.replies.TryReserve(size) {
		r.tb.Error("no room for an answer")
	}
	res.OnRelease(func() { r.replies.Release(size) })
	return res
}

// echo answers with the request's own items.
func (r *rig) echo(ctx context.Context, c *calls.Claim) {
	items := make([][]byte, len(c.Request.Items))
	for i, item := range c.Request.Items {
		items[i] = append([]byte(nil), item...)
	}
	if err := c.Answer(ctx, r.result(items...)); err != nil {
		r.tb.Errorf("answer: %v", err)
	}
}

// hold makes a handler that reports each claim and answers when it is told to.
func hold(r *rig) (handle func(context.Context, *calls.Claim), claimed chan *calls.Claim, proceed chan struct{}) {
	claimed, proceed = make(chan *calls.Claim, 100), make(chan struct{})
	return func(ctx context.Context, c *calls.Claim) {
		claimed <- c
		select {
		case <-proceed:
			if err := c.Answer(ctx, r.result([]byte(`"done"`))); err != nil {
				r.tb.Logf("answer: %v", err)
			}
		case <-ctx.Done():
			c.Drop()
		}
	}, claimed, proceed
}

func request(route *inference.Route, text string) *inference.Request {
	return &inference.Request{ID: "r1", Route: route.Name, Type: route.Type, Items: [][]byte{[]byte(text)}}
}

// await receives from ch, or ends the test: a test must not hang because what it waits for went wrong.
func await[T any](tb testing.TB, ch <-chan T, what string) T {
	tb.Helper()
	select {
	case got := <-ch:
		return got
	case <-time.After(20 * time.Second):
		tb.Fatalf("no %s came", what)
		return *new(T)
	}
}
