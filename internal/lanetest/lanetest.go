// Package lanetest has a front end and workers of one broker, all in a test's process, for the tests of the lanes: package
// calls, package runner and package intake, which leases for both. Begin with NewRig and Rig.Serve. What needs no worker is in
// package brokertest.
package lanetest

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"headrace/broker/calls"
	"headrace/broker/intake"
	"headrace/broker/keeper"
	"headrace/broker/limit"
	"headrace/broker/link"
	"headrace/broker/natsd"
	"headrace/broker/records"
	"headrace/broker/runner"
	"headrace/broker/sweeper"
	"headrace/internal/budget"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/lease"
	"headrace/internal/natstest"
)

// NewExternalRig makes a rig on a server that is not ours.
func NewExternalRig(tb testing.TB, dial link.Dial) *Rig {
	tb.Helper()
	r := BareRig(tb)
	r.Dial = dial
	r.Keep()
	r.Front = r.NewFront()
	tb.Cleanup(r.Balanced)
	return r
}

// NewClusterRig makes a rig on servers that are not ours, with copies of each stream. It has no keeper.
func NewClusterRig(tb testing.TB, cluster *natstest.Cluster, copies int) *Rig {
	tb.Helper()
	r := BareRig(tb)
	r.Dial, r.Copies, r.Store = link.Dial{URL: cluster.URLs()}, copies, 512<<20
	r.Front = r.NewFront()
	tb.Cleanup(r.Balanced)
	return r
}

// Recovered calls until an answer comes, but not for ever.
func Recovered(r *Rig, route *inference.Route) bool {
	return Eventually(func() bool {
		res, err := r.Front.Call(r.TB.Context(), route, Request(route, `"again"`))
		res.Release()
		return err == nil
	})
}

// Form is a way in which front end, broker and workers are spread over processes, as far as they can tell.
type Form string

const (
	InProcess Form = "in process" // the server has no port
	OverTCP   Form = "tcp"
	Locally   Form = "local" // front ends and workers speak directly
)

// Each runs a test once for each form.
func Each(t *testing.T, test func(*Rig), forms ...Form) {
	t.Helper()
	for _, f := range forms {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			test(NewRig(t, f))
		})
	}
}

// Rig is one broker with a front end and workers, all in the test's process. When the test is over and its
// workers have ended, nothing may be held any more.
type Rig struct {
	TB      testing.TB
	Dial    link.Dial
	Local   *calls.Local
	Shared  records.Shared
	Flush   func(*os.File) error // syncs files of the server; nil: as usual
	Health  func() string        // of the server's streams; nil: as it is
	Store   int64                // bytes for jobs; 0: no limit
	Lanes   int                  // consumers of one stream; 0: as usual
	Copies  int                  // of each stream, on a cluster; 0: one
	Server  *natsd.Server
	Front   *calls.FrontEnd
	Keeper  *keeper.Keeper
	Replies *budget.Bytes // what handlers reserve their answers in, if they do
	Log     *slog.Logger

	Mu       sync.Mutex
	Accounts map[string]func() int64
}

func TestLog(tb testing.TB) *slog.Logger {
	tb.Helper()
	return slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// Background runs f until the test ends and fails the test on its error.
func Background(tb testing.TB, f func(context.Context) error) (stop func()) {
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

// NewRig makes the broker and a front end.
func NewRig(tb testing.TB, f Form) *Rig {
	tb.Helper()
	return NewSizedRig(tb, f, 256<<20)
}

// NewSizedRig makes one whose server keeps no more than maxMemory bytes in memory.
func NewSizedRig(tb testing.TB, f Form, maxMemory int64) *Rig {
	tb.Helper()
	r := BareRig(tb)
	cfg := natsd.Config{MaxMemory: maxMemory}
	if f == OverTCP {
		cfg.Listen = "127.0.0.1:0"
	}
	r.ServeBroker(cfg)
	if f == Locally {
		r.Local, r.Shared.Recent = calls.NewLocal(), records.NewRecent(1<<20)
	}
	r.Keep()
	r.Front = r.NewFront()
	tb.Cleanup(r.Balanced)
	return r
}

func BareRig(tb testing.TB) *Rig {
	tb.Helper()
	r := &Rig{TB: tb, Log: TestLog(tb), Accounts: make(map[string]func() int64)}
	r.Replies = r.Budget("replies of handlers")
	return r
}

// ServeBroker starts the embedded server and sets how to dial it.
func (r *Rig) ServeBroker(cfg natsd.Config) {
	r.TB.Helper()
	r.ServeBrokerIn(r.TB.TempDir(), cfg)
}

// ServeBrokerIn is serveBroker with the files in dir.
func (r *Rig) ServeBrokerIn(dir string, cfg natsd.Config) {
	r.TB.Helper()
	cfg.DataDir, cfg.MaxStore, cfg.Grace = dir, 1<<30, 5*time.Second
	cfg.Synced, cfg.Flush = records.SyncedStreams(), r.Flush
	if r.Health != nil {
		cfg.Health = func(*server.Server) string { return r.Health() }
	}
	cfg.Durability = cmp.Or(cfg.Durability, natsd.Process)
	var err error
	if r.Server, err = natsd.New(cfg, r.Log); err != nil {
		r.TB.Fatal(err)
	}
	Background(r.TB, r.Server.Run)
	<-r.Server.Ready()
	r.Dial, r.Shared = link.Dial{Server: r.Server}, records.Shared{Syncs: records.NewSyncs()}
	if cfg.Listen != "" {
		r.Dial, r.Shared = link.Dial{URL: "nats://" + r.Server.Addr(), User: cfg.User, Password: cfg.Password}, records.Shared{}
	}
}

func (r *Rig) Keep() (stop func()) {
	r.TB.Helper()
	limits := records.Limits{MaxStore: r.Store, Lanes: r.Lanes, Replicas: r.Copies}
	if r.Server != nil {
		limits.Sync = r.Server.Syncs()
	}
	return r.KeepWithin(limits)
}

// KeepWithin is keep with limits for jobs.
func (r *Rig) KeepWithin(limits records.Limits) (stop func()) {
	r.TB.Helper()
	return Background(r.TB, r.NewKeeper(limits).Run)
}

func (r *Rig) NewKeeper(limits records.Limits) *keeper.Keeper {
	r.TB.Helper()
	made, err := calls.NewStreams(time.Minute, r.Lanes, limits.Replicas)
	if err != nil {
		r.TB.Fatal(err)
	}
	keeper, err := keeper.New(r.Dial, r.Log, made, limits, limit.Streams{Copies: limits.Replicas})
	if err != nil {
		r.TB.Fatal(err)
	}
	r.Keeper = keeper
	return keeper
}

// Disk is that of the embedded server; nil when there is none, or it is dialled as others dial it.
func (r *Rig) Disk() sweeper.Disk {
	if r.Dial.Server == nil {
		return nil
	}
	return r.Server
}

// Budget makes one that must be empty when the test is over.
func (r *Rig) Budget(name string) *budget.Bytes {
	b := budget.New(256 << 20)
	r.Account(name, b.Held)
	return b
}

// Account adds something that must be 0 when the test is over.
func (r *Rig) Account(name string, held func() int64) {
	r.Mu.Lock()
	defer r.Mu.Unlock()
	r.Accounts[name] = held
}

// Balanced waits until nothing is held, but not for ever.
func (r *Rig) Balanced() {
	r.TB.Helper()
	r.Mu.Lock()
	defer r.Mu.Unlock()
	for name, held := range r.Accounts {
		if !Eventually(func() bool { return held() == 0 }) {
			r.TB.Errorf("%s: %d are still held", name, held())
		}
	}
}

// Eventually polls until is holds, and reports whether it did in time.
func Eventually(is func() bool) bool {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); !is(); <-tick.C {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

func (r *Rig) NewFront() *calls.FrontEnd {
	r.TB.Helper()
	return r.NewFrontBy(r.Dial)
}

// NewFrontBy makes a front end that reaches the broker in its own way.
func (r *Rig) NewFrontBy(dial link.Dial) *calls.FrontEnd {
	r.TB.Helper()
	front, err := calls.NewFrontEnd(dial, r.Local, r.Budget("replies of a front end"), r.Log)
	if err != nil {
		r.TB.Fatal(err)
	}
	Background(r.TB, front.Run)
	r.Account("calls and parcels of a front end", func() int64 {
		if front.Ready() != nil { // it never was
			return 0
		}
		return int64(front.Held())
	})
	return front
}

// Worker is the broker's half of a worker process.
type Worker struct {
	*intake.End

	Calls *calls.Answerer
	Jobs  *runner.Runner
}

// NewWorker makes one of whose configuration both lanes take their part.
func NewWorker(dial link.Dial, local *calls.Local, cfg runner.Config) (*Worker, error) {
	w := &Worker{Calls: calls.NewAnswerer(dial, local, cfg.Bodies, cfg.Log), Jobs: runner.New(cfg)}
	var err error
	w.End, err = intake.NewEnd(dial, nil, cfg.Log, w.Calls, w.Jobs)
	return w, err
}

// Held is how many calls and answers it holds.
func (w *Worker) Held() int { return w.Calls.Held() }

// NewWorkerEnd makes an end that announces n slots for each route, and waits until the front end knows it. stop
// ends it in good order.
func (r *Rig) NewWorkerEnd(n int, routes ...*inference.Route) (end *Worker, stop func()) {
	r.TB.Helper()
	end, err := NewWorker(r.Dial, r.Local, runner.Config{Shared: r.Shared, Bodies: r.Budget("bodies of worker " + time.Now().String()), Log: r.Log})
	if err != nil {
		r.TB.Fatal(err)
	}
	announced := make(map[string]int)
	for _, route := range routes {
		announced[route.Name] = n
	}
	end.Serve(announced)
	before := r.Front.State(routes[0].Name).Workers
	stop = Background(r.TB, end.Run)
	if !Eventually(func() bool { return r.Front.State(routes[0].Name).Workers > before }) {
		r.TB.Error("the front end does not see the worker")
	}
	return end, stop
}

// Serve runs a worker with n slots for routes; handle answers. stop ends it in good order.
func (r *Rig) Serve(n int, handle func(context.Context, lease.Claim), routes ...*inference.Route) (stop func()) {
	r.TB.Helper()
	end, stopEnd := r.NewWorkerEnd(n, routes...)
	r.Account("calls and parcels of worker "+end.ID(), func() int64 { return int64(end.Held()) })
	stopPool := Background(r.TB, func(ctx context.Context) error {
		r.Lease(ctx, end.Intake(routes), n, handle)
		return nil
	})
	return func() {
		end.Serve(nil)
		end.Settle(r.TB.Context())
		stopPool()
		stopEnd()
	}
}

// Lease is the simplest pool there can be.
func (r *Rig) Lease(ctx context.Context, in *intake.Intake, n int, handle func(context.Context, lease.Claim)) {
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
				} else if !errors.Is(err, lease.ErrNotClaimed) && fault.CodeOf(err) != fault.Gone {
					r.TB.Errorf("claim: %v", err)
				}
			})
		}
	}
}

func TestRoute(name string) *inference.Route {
	return &inference.Route{
		Name: name, Type: inference.Embeddings, Provider: "mlflow-model-serving",
		SyncTimeout: time.Minute, MaxWaiting: 10_000, MaxWaitingBytes: 256 << 20, Slots: 1,
	}
}

// Result is an answer whose bytes are reserved in the handlers' budget.
func (r *Rig) Result(items ...[]byte) *inference.Result {
	res := &inference.Result{Items: items, Upstream: time.Millisecond}
	size := res.Size()
	if !r.Replies.TryReserve(size) {
		r.TB.Error("no room for an answer")
	}
	res.OnRelease(func() { r.Replies.Release(size) })
	return res
}

// Echo answers with the request's own items.
func (r *Rig) Echo(ctx context.Context, c lease.Claim) {
	items := make([][]byte, len(c.Request().Items))
	for i, item := range c.Request().Items {
		items[i] = append([]byte(nil), item...)
	}
	if err := c.Answer(ctx, r.Result(items...)); err != nil {
		r.TB.Errorf("answer: %v", err)
	}
}

// Hold makes a handler that reports each claim and answers when it is told to.
func Hold(r *Rig) (handle func(context.Context, lease.Claim), claimed chan lease.Claim, proceed chan struct{}) {
	claimed, proceed = make(chan lease.Claim, 100), make(chan struct{})
	return func(ctx context.Context, c lease.Claim) {
		claimed <- c
		select {
		case <-proceed:
			if err := c.Answer(ctx, r.Result([]byte(`"done"`))); err != nil {
				r.TB.Logf("answer: %v", err)
			}
		case <-ctx.Done():
			c.Drop()
		}
	}, claimed, proceed
}

func Request(route *inference.Route, text string) *inference.Request {
	return &inference.Request{ID: "r1", Route: route.Name, Type: route.Type, Items: [][]byte{[]byte(text)}}
}

// Await receives from ch, or ends the test: a test must not hang because what it waits for went wrong.
func Await[T any](tb testing.TB, ch <-chan T, what string) T {
	tb.Helper()
	select {
	case got := <-ch:
		return got
	case <-time.After(20 * time.Second):
		tb.Fatalf("no %s came", what)
		return *new(T)
	}
}

// Full checks that err is a refusal which says what is full and when to come again.
func Full(r *Rig, err error, names string) {
	r.TB.Helper()
	f := fault.From(err)
	if f == nil || f.Code != fault.QueueFull || f.RetryAfter <= 0 || !strings.Contains(f.Message, names) {
		r.TB.Errorf("got %v, want queue_full that names %s and says when to come again", err, names)
	}
}
