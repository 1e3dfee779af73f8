package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"headrace/e2e/history"
	"headrace/e2e/mortal"
)

// role is one of the processes, which dies and comes back all the time.
type role struct {
	t    *testing.T
	name string
	args []string
	env  []string
	log  string // path of its output, of all its lives
	ops  string // where it answers /metrics
	busy sync.Mutex

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
}

// start begins another life.
func (r *role) start() {
	out, err := os.OpenFile(r.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		r.t.Errorf("%s: %v", r.name, err)
		return
	}
	defer func() { _ = out.Close() }()
	r.mu.Lock()
	defer r.mu.Unlock()
	cmd, done := exec.CommandContext(context.WithoutCancel(r.t.Context()), binary, r.args...), make(chan struct{})
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env, cmd.SysProcAttr = append(os.Environ(), r.env...), mortal.Attributes()
	if err := cmd.Start(); err != nil {
		r.t.Errorf("%s: %v", r.name, err)
		return
	}
	r.cmd, r.done = cmd, done
	go func() {
		_ = cmd.Wait() // how it ended is known by who ended it
		close(done)
	}()
}

// signal fails the test when the process has ended by itself.
func (r *role) signal(s syscall.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.done:
		r.t.Errorf("%s has ended by itself: %s", r.name, r.cmd.ProcessState)
		return
	default:
	}
	if err := r.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		r.t.Errorf("signalling %s: %v", r.name, err)
	}
}

func (r *role) pid() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cmd.Process.Pid
}

// gone waits for the end of a life.
func (r *role) gone(within time.Duration) {
	r.mu.Lock()
	done := r.done
	r.mu.Unlock()
	select {
	case <-done:
	case <-time.After(within):
		r.t.Errorf("%s did not end within %s", r.name, within)
		r.signal(syscall.SIGKILL)
		<-done
	}
}

// end is for the end of the test.
func (r *role) end() {
	r.mu.Lock()
	cmd, done := r.cmd, r.done
	r.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Kill() // it may have ended
	<-done
	if r.t.Failed() {
		text, err := os.ReadFile(r.log)
		r.t.Logf("the end of what %s wrote (%v):\n%s", r.name, err, text[max(len(text)-8000, 0):])
	}
}

// chaosFleet is a broker, two front ends and three workers; between each of these and the broker is a proxy.
type chaosFleet struct {
	t       *testing.T
	broker  *role
	fronts  []*role
	workers []*role
	proxies []*proxy // of fronts, then of workers
	apis    []string
	disk    disk
	synced  string // a copy of what the broker has synced; "" = there is none
	client  *http.Client
}

func newChaosFleet(t *testing.T, s chaosSettings, model string) *chaosFleet {
	t.Helper()
	f := &chaosFleet{t: t, disk: newDisk(t, s.dir, s.diskSize), client: newClient(t)}
	t.Logf("the disk is filled by %s", f.disk.how)
	logs := s.logs
	if logs == "" {
		logs = t.TempDir()
	}
	at := lastingAddr(t)
	launch := func(name, kind, broker, api, ops string) *role {
		text := fmt.Sprintf("[api]\nlisten = %q\nshutdown_grace = \"5s\"\n[broker]\nlisten = %q\ndata_dir = %q\ndurability = %q\nmax_store = \"40GiB\"\nops_listen = %q\n"+
			"[jobs]\nlist_file = %q\n[worker]\nslots = 16\nops_listen = %q\n%s",
			api, broker, f.disk.dir, s.durability, ops, filepath.Join(t.TempDir(), "jobs.db"), ops, route("endpoint", "emb", "llm/v1/embeddings", model)+route("endpoint", "side", "llm/v1/embeddings", model))
		path := filepath.Join(t.TempDir(), "gateway.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r := &role{t: t, name: name, args: []string{kind, "--config", path}, log: filepath.Join(logs, name+".log"), ops: ops}
		if kind == "api" {
			r.ops = api
		}
		if kind == "broker" && s.power > 0 {
			f.synced = t.TempDir()
			r.env = []string{"HEADRACE_SYNCED=" + f.synced}
		}
		t.Cleanup(r.end)
		r.start()
		return r
	}
	f.broker = launch("broker", "broker", at, lastingAddr(t), lastingAddr(t))
	for i := range 2 {
		p := newProxy(t, at)
		f.proxies = append(f.proxies, p)
		f.apis = append(f.apis, lastingAddr(t))
		f.fronts = append(f.fronts, launch(fmt.Sprint("api", i), "api", p.addr, f.apis[i], ""))
	}
	for i := range 3 {
		p := newProxy(t, at)
		f.proxies = append(f.proxies, p)
		f.workers = append(f.workers, launch(fmt.Sprint("worker", i), "worker", p.addr, lastingAddr(t), lastingAddr(t)))
	}
	for _, addr := range f.apis {
		ready(t, f.client, addr)
	}
	return f
}

// lastingAddr returns a free loopback address that no other process gets by chance while its owner is dead:
// its port is below those that the kernel chooses for connections.
func lastingAddr(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprint("127.0.0.1:", 10_000+rand.IntN(20_000))
		if l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}

func (f *chaosFleet) all() []*role {
	return append(append([]*role{f.broker}, f.fronts...), f.workers...)
}

// killAll takes everything away at once, and brings it back.
func (f *chaosFleet) killAll() { f.strike(func() {}, func() {}) }

// losePower takes everything away at once, and what the broker has not synced with it, and brings it back. The broker keeps a copy of
// what it syncs; it was built to do that. first is what happens just before.
func (f *chaosFleet) losePower(h *history.History, first func()) {
	f.strike(first, func() {
		if err := restore(f.synced, f.disk.dir); err != nil {
			f.t.Errorf("the disk after a loss of power: %v", err)
		}
		h.PowerLost()
	})
}

// strike waits until no other fault has a process, kills all of them and starts them again. first happens just before, down
// happens while nothing runs.
func (f *chaosFleet) strike(first, down func()) {
	all := f.all()
	for _, r := range all {
		r.busy.Lock()
		defer r.busy.Unlock()
	}
	first()
	for _, r := range all {
		r.signal(syscall.SIGKILL)
	}
	for _, r := range all {
		r.gone(10 * time.Second)
	}
	down()
	for _, r := range all {
		r.start()
	}
}

// restore puts a copy of what was synced in the place of everything.
func restore(synced, dir string) error {
	left, err := os.ReadDir(dir)
	for _, entry := range left {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, entry.Name())))
	}
	return errors.Join(err, os.CopyFS(dir, os.DirFS(synced)))
}

// heal ends what faults are still there.
func (f *chaosFleet) heal() {
	for _, p := range f.proxies {
		p.slow(0)
		p.darken(false)
	}
	if err := f.disk.free(f.broker.pid()); err != nil {
		f.t.Errorf("giving the disk back: %v", err)
	}
}

// restGauges are what is held only while something is done.
var restGauges = regexp.MustCompile(`(?m)^((?:headrace_slots_busy|headrace_jobs_waiting|headrace_jobs_oldest_seconds|headrace_body_bytes|` +
	`headrace_reply_bytes|headrace_worker_body_bytes|headrace_worker_reply_bytes|headrace_waiting_calls|` +
	`headrace_stream_messages\{stream="(?:JOBS|CALLS)_[0-9]+"\})(?:\{[^}]*\})?) (\S+)$`)

var waitingGauge = regexp.MustCompile(`(?m)^headrace_jobs_waiting\{[^}]*\} (\S+)$`)

// gauges reads what all processes hold.
func (f *chaosFleet) gauges() map[string]float64 {
	values := make(map[string]float64)
	for _, r := range f.all() {
		a := get(f.t, f.client, r.ops, "/metrics")
		if a.status != http.StatusOK {
			values[r.name+" /metrics: "+a.String()] = -1
			continue
		}
		found := restGauges.FindAllStringSubmatch(string(a.body), -1)
		if len(found) == 0 {
			f.t.Errorf("%s has no gauge that should be at zero at rest; are they called otherwise now?", r.name)
		}
		for _, m := range found {
			v, err := strconv.ParseFloat(m[2], 64)
			if err != nil {
				v = -1
			}
			values[r.name+" "+m[1]] = v
		}
	}
	return values
}

// waiting is how many jobs wait by the broker's account.
func (f *chaosFleet) waiting() (n int) {
	a := get(f.t, f.client, f.broker.ops, "/metrics")
	for _, m := range waitingGauge.FindAllStringSubmatch(string(a.body), -1) {
		v, err := strconv.Atoi(m[1])
		if err != nil {
			f.t.Errorf("%s: %v", m[0], err)
		}
		n += v
	}
	return n
}

// held are the gauges that are not at zero.
func held(values map[string]float64) string {
	var all []string
	for name, v := range values {
		if v != 0 {
			all = append(all, fmt.Sprintf("%s %g", name, v))
		}
	}
	return strings.Join(all, ", ")
}
