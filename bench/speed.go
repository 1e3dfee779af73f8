package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

const (
	speedSlots   = 64
	warmWindow   = 500 * time.Millisecond
	sentence     = "I like to drive cars!"
	maxP50       = 1.3 // times the proxy's, at one client
	minRate32    = 0.85
	minRate128   = 0.9
	invocations  = "/invocations"
	viaGateway   = "/gateway/embeddings/invocations"
	checkTimeout = 30 * time.Second
)

// The targets of the speed scenario, in the order of their tables.
const (
	direct = iota
	tuned
	untuned
	headrace // and, where it is asked for, headrace of another commit after it
)

// series is what the rounds gave for one target and one number of clients.
type series struct {
	rate, p50, p99, cpu []float64 // calls/s; seconds
	failed              int
	why                 error
}

func (s *series) add(w window) {
	s.rate = append(s.rate, w.rate())
	s.p50 = append(s.p50, w.p50.Seconds())
	s.p99 = append(s.p99, w.p99.Seconds())
	s.cpu = append(s.cpu, w.cpu.Seconds())
	s.failed += w.failed
	if s.why == nil {
		s.why = w.why
	}
}

// speed compares headrace with a bare reverse proxy, both over one instant model server.
func (b *bench) speed(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	targets, err := b.speedTargets(ctx)
	if err != nil {
		return err
	}
	clients := []int{1, 32, 128}
	results := make(map[int][]series, len(clients))
	for _, n := range clients {
		results[n] = make([]series, len(targets))
	}
	order := make([]int, len(targets))
	for i, t := range targets {
		order[i] = i
		if _, err := drive(ctx, t, 32, warmWindow); err != nil {
			return err
		}
	}
	for round := range b.rounds {
		for _, n := range clients {
			for _, i := range rotated(order, round) {
				w, err := drive(ctx, targets[i], n, b.window)
				if err != nil {
					return err
				}
				results[n][i].add(w)
			}
		}
		b.progress("round %d of %d", round+1, b.rounds)
	}
	b.printSpeed(targets, clients, results)
	return nil
}

// speedTargets starts the servers and checks one whole reply of each.
func (b *bench) speedTargets(ctx context.Context) ([]*target, error) {
	instant, modelAddr, err := role(ctx, roleModel)
	if err != nil {
		return nil, err
	}
	proxy, proxyAddr, err := role(ctx, roleProxy, "-to", modelAddr)
	if err != nil {
		return nil, err
	}
	plain, plainAddr, err := role(ctx, roleProxyDefault, "-to", modelAddr)
	if err != nil {
		return nil, err
	}
	direct := fmt.Sprintf(`{"inputs": [%q]}`, sentence)
	through := fmt.Sprintf(`{"text": [%q]}`, sentence)
	targets := []*target{
		{name: "direct", addr: modelAddr, requests: [][]byte{post(modelAddr, invocations, direct)}, pid: instant.pid()},
		{name: "proxy, tuned", addr: proxyAddr, requests: [][]byte{post(proxyAddr, invocations, direct)}, pid: proxy.pid()},
		{name: "proxy, default", addr: plainAddr, requests: [][]byte{post(plainAddr, invocations, direct)}, pid: plain.pid()},
	}
	binaries, names := b.binaries()
	for i, binary := range binaries {
		gateway, err := newGateway(ctx, b.dir, "http://"+modelAddr, b.slots)
		if err != nil {
			return nil, err
		}
		process, _, err := gateway.up(ctx, binary)
		if err != nil {
			return nil, err
		}
		targets = append(targets, &target{
			name: names[i], addr: gateway.addr, requests: [][]byte{post(gateway.addr, viaGateway, through)}, pid: process.pid(),
		})
	}
	for _, t := range targets {
		if err := t.learn(ctx, 384); err != nil {
			return nil, err
		}
	}
	return targets, nil
}

// binaries are the headrace that is measured and, where it is asked for, that of another commit.
func (b *bench) binaries() (paths, names []string) {
	if b.beside == "" {
		return []string{b.binary}, []string{"headrace"}
	}
	return []string{b.binary, b.beside}, []string{"headrace", "headrace " + b.before}
}

// learn makes one call, checks that the reply holds one row of floats, and takes its length as the length of
// all good ones.
func (t *target) learn(ctx context.Context, floats int) error {
	status, body, err := once(ctx, t.addr, t.requests[0], checkTimeout)
	if err != nil {
		return fmt.Errorf("%s: %w", t.name, err)
	}
	var reply struct {
		Predictions [][]float64 `json:"predictions"`
		Embeddings  [][]float64 `json:"embeddings"`
	}
	if err := json.Unmarshal(body, &reply); status != 200 || err != nil {
		return fmt.Errorf("%s: status %d, %.300s", t.name, status, body)
	}
	rows := slices.Concat(reply.Predictions, reply.Embeddings)
	if len(rows) != 1 || len(rows[0]) != floats {
		return fmt.Errorf("%s: not one row of %d floats: %.300s", t.name, floats, body)
	}
	t.least, t.most = len(body), len(body)
	return nil
}

func (b *bench) printSpeed(targets []*target, clients []int, results map[int][]series) {
	b.out.printf("### Over an instant model server\n\n"+
		"384 floats a reply, %d slots. %d rounds of %s windows; within a round every target runs once for each number of clients, in an order that "+
		"rotates. Figures are medians over the rounds; a ratio is formed in each round, and its median, lowest and highest are shown. "+
		"The proxy is `httputil.ReverseProxy` with %d idle connections and no compression, and beside it the same with `http.DefaultTransport`. "+
		"CPU is what the target's process alone used for a call. (A reverse proxy fails a call when the reply overtakes its last read of the request's body; "+
		"its failed calls are not counted as calls.)\n\n", b.slots, b.rounds, b.window, tunedIdle)
	var rows, compared [][]string
	failed := 0
	for _, n := range clients {
		for i, t := range targets {
			s := results[n][i]
			if i == headrace {
				failed += s.failed
			}
			if s.why != nil {
				b.progress("%s, %d clients: %d calls failed: %v", t.name, n, s.failed, s.why)
			}
			rate := spreadOf(s.rate)
			rows = append(rows, []string{
				strconv.Itoa(n), t.name, number(rate.median), number(rate.min) + " - " + number(rate.max),
				ms(seconds(spreadOf(s.p50).median)), ms(seconds(spreadOf(s.p99).median)),
				fmt.Sprintf("%.0f", spreadOf(s.cpu).median*1e6), strconv.Itoa(s.failed),
			})
		}
		h := results[n][headrace]
		for other := range targets {
			if other == headrace {
				continue
			}
			o := results[n][other]
			compared = append(compared, []string{
				strconv.Itoa(n), "headrace / " + targets[other].name, showRatio(h.rate, o.rate), showRatio(h.p50, o.p50),
				showRatio(h.p99, o.p99), showRatio(h.cpu, o.cpu),
			})
		}
	}
	b.out.table([]string{"clients", "target", "req/s", "lowest - highest", "p50 ms", "p99 ms", "CPU us", "failed"}, rows)
	b.out.table([]string{"clients", "ratio", "req/s", "p50", "p99", "CPU"}, compared)
	against := func(n int, pick func(series) []float64) float64 {
		return spreadOf(ratios(pick(results[n][headrace]), pick(results[n][tuned]))).median
	}
	rate := func(s series) []float64 { return s.rate }
	b.out.gates(
		atMost("p50, 1 client, headrace / proxy", against(1, func(s series) []float64 { return s.p50 }), maxP50, "%.2f"),
		atLeast("req/s, 32 clients, headrace / proxy", against(32, rate), minRate32, "%.2f"),
		atLeast("req/s, 128 clients, headrace / proxy", against(128, rate), minRate128, "%.2f"),
		atMost("failed calls, headrace", float64(failed), 0, "%.0f"),
	)
}

// showRatio writes the ratio of two series as median (lowest - highest).
func showRatio(a, b []float64) string {
	s := spreadOf(ratios(a, b))
	return fmt.Sprintf("%.2f (%.2f - %.2f)", s.median, s.min, s.max)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// profiles runs headrace's roles inside a process of this program, and writes a processor profile for each
// number of clients to dir.
func (b *bench) profiles(ctx context.Context, dir, only string) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	_, modelAddr, err := role(ctx, roleModel)
	if err != nil {
		return err
	}
	if only == onlyJobs {
		return b.profileJobs(ctx, modelAddr, filepath.Join(dir, "headrace-jobs.pprof"))
	}
	for _, n := range []int{1, 32, 128} {
		path := filepath.Join(dir, fmt.Sprintf("headrace-%d.pprof", n))
		if err := b.profileOne(ctx, modelAddr, path, n); err != nil {
			return err
		}
	}
	return nil
}

// profileJobs is profileOne for clients that place jobs and wait for them.
func (b *bench) profileJobs(ctx context.Context, modelAddr, path string) error {
	gateway, err := newGateway(ctx, b.dir, "http://"+modelAddr, jobSlots, `durability = "process"`)
	if err != nil {
		return err
	}
	process, err := gateway.underProfile(ctx, path)
	if err != nil {
		return err
	}
	defer process.stop()
	for range b.rounds {
		busy := cpuTime(process.pid())
		w, err := b.jobWindow(ctx, gateway.addr, jobClients, cycleJob)
		if err != nil {
			return err
		}
		busy = cpuTime(process.pid()) - busy
		b.progress("%.0f jobs/s under the profiler, %.0f us CPU a job", w.rate(), busy.Seconds()/max(w.jobs, 1)*1e6)
	}
	return nil
}

func (b *bench) profileOne(ctx context.Context, modelAddr, path string, clients int) error {
	gateway, err := newGateway(ctx, b.dir, "http://"+modelAddr, b.slots)
	if err != nil {
		return err
	}
	process, err := gateway.underProfile(ctx, path)
	if err != nil {
		return err
	}
	defer process.stop()
	t := &target{
		name: "headrace", addr: gateway.addr, pid: process.pid(),
		requests: [][]byte{post(gateway.addr, viaGateway, fmt.Sprintf(`{"text": [%q]}`, sentence))},
	}
	if err := t.learn(ctx, 384); err != nil {
		return err
	}
	w, err := drive(ctx, t, clients, 5*b.window)
	if err != nil {
		return err
	}
	b.out.printf("* %d clients: %s req/s, %s us CPU a call: `go tool pprof -top %s`\n", clients, number(w.rate()),
		number(w.cpu.Seconds()*1e6), path)
	return nil
}
