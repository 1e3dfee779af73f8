package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	manyClients = 32
	listItems   = 64
	listClients = 4
	// bestItems is what MiniLM's calls grow to with short texts; twice such a call is what a single caller may wait beside lists.
	bestItems     = 32
	singleMargin  = 20 * time.Millisecond
	fewestSingles = 20
	// simFixed and simItem are what a call and each input cost at the simulated model server.
	simFixed = "5ms"
	simItem  = "200us"
	// maxJobsMB bounds headrace's memory while clients wait for jobs.
	maxJobsMB = 150
)

// twoWorkers compares one worker process with two, both at one model server.
func (b *bench) twoWorkers(ctx context.Context) error {
	const name = "two worker processes"
	if !b.wants(name) {
		return nil
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	addrs, err := b.realModels(ctx)
	if err != nil {
		return err
	}
	var targets []*target
	for workers := 1; workers <= 2; workers++ {
		gateway, err := newGatewayOf(ctx, b.dir, 0, []served{{"embeddings", "llm/v1/embeddings", "http://" + addrs["embeddings"]}})
		if err != nil {
			return err
		}
		var front *child
		for _, role := range append([]string{"broker", "api"}, strings.Fields(strings.Repeat("worker ", workers))...) {
			process, err := spawn(ctx, "headrace "+role, nil, b.binary, role, "--config", gateway.config, "--log-level", "warn")
			if err != nil {
				return err
			}
			if role == "api" {
				front = process
			}
		}
		if err := gateway.ready(ctx, front); err != nil {
			return err
		}
		_, through := asked(addrs["embeddings"], gateway.addr, "embeddings", 0, embeds(texts()))
		targets = append(targets, through)
	}
	one, two, err := b.compare(ctx, comparison{name: name, clients: manyClients, direct: targets[0], through: targets[1]})
	if err != nil {
		return err
	}
	b.out.printf("Two worker processes at one MiniLM, %d clients: %.1f req/s, one process %.1f; p99 %s and %s ms; failed %d.\n\n", manyClients,
		spreadOf(two.rate).median, spreadOf(one.rate).median, ms(seconds(spreadOf(two.p99).median)), ms(seconds(spreadOf(one.p99).median)), two.failed)
	ratio := spreadOf(ratios(two.rate, one.rate)).median
	b.out.gates(atLeast(name+" / one, req/s", ratio, 0.9, "%.2f"))
	return nil
}

// besideLists lets one caller ask for single texts beside callers of long lists.
func (b *bench) besideLists(ctx context.Context) error {
	const name = "a single caller beside lists"
	if !b.wants(name) {
		return nil
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	addrs, err := b.realModels(ctx)
	if err != nil {
		return err
	}
	gateway, process, err := b.realGateway(ctx, addrs)
	if err != nil {
		return err
	}
	best, _ := asked(addrs["embeddings"], gateway.addr, "embeddings", 0, []question{list(bestItems)})
	_, lists := asked(addrs["embeddings"], gateway.addr, "embeddings", 0, []question{list(listItems)})
	_, single := asked(addrs["embeddings"], gateway.addr, "embeddings", process.pid(), embeds(texts()))
	if _, err := drive(ctx, single, manyClients, warmBatching); err != nil { // it learns what a call costs
		return err
	}
	call, err := drive(ctx, best, 1, b.window)
	if err != nil {
		return err
	}
	length := time.Duration(b.rounds) * b.window
	others := make(chan error, 1)
	var load window
	go func() {
		var err error
		load, err = drive(ctx, lists, listClients, length)
		others <- err
	}()
	w, err := drive(ctx, single, 1, length)
	if err := errors.Join(err, <-others); err != nil {
		return err
	}
	if w.calls < fewestSingles {
		return fmt.Errorf("the single caller had %d answers in %s: %w", w.calls, length, w.why)
	}
	b.out.printf("One caller of single texts beside %d callers of %d texts each, MiniLM: %d answers, p50 %s, p99 %s ms; the others' lists %d, p50 %s ms; failed %d and %d. "+
		"A call of %d texts takes %s ms alone.\n\n", listClients, listItems, w.calls, ms(w.p50), ms(w.p99), load.calls, ms(load.p50), w.failed, load.failed, bestItems, ms(call.p50))
	b.out.gates(atMost(name+", p99 ms", w.p99.Seconds()*1e3, (2*call.p50+singleMargin).Seconds()*1e3, "%.0f"))
	return nil
}

// list is one request with n texts.
func list(n int) question {
	all := texts()
	var quoted []string
	for i := range n {
		quoted = append(quoted, fmt.Sprintf("%q", all[i%len(all)]))
	}
	inputs := strings.Join(quoted, ", ")
	return question{direct: `{"inputs": [` + inputs + `]}`, through: `{"text": [` + inputs + `]}`}
}

// batchedJobs compares jobs that share calls to a slow model server, one slot, with those of another commit over an
// instant one with many slots.
func (b *bench) batchedJobs(ctx context.Context) error {
	if !b.wants("jobs") {
		return nil
	}
	if b.beside == "" {
		b.out.printf("Jobs are not compared: -beside names no commit.\n\n")
		return nil
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	_, slow, err := role(ctx, roleModel, "-fixed", simFixed, "-item", simItem)
	if err != nil {
		return err
	}
	_, instant, err := role(ctx, roleModel)
	if err != nil {
		return err
	}
	var gates []gate
	for _, durability := range []string{"process", "power"} {
		all, err := b.batchedJobsOf(ctx, durability, slow, instant)
		if err != nil {
			return err
		}
		gates = append(gates, all...)
	}
	b.out.gates(gates...)
	return nil
}

// batchedJobsOf is batchedJobs with one durability.
func (b *bench) batchedJobsOf(ctx context.Context, durability, slow, instant string) ([]gate, error) {
	var servers []*jobServer
	defer func() {
		for _, s := range servers {
			s.process.stop()
		}
	}()
	for _, s := range []struct {
		name, binary, model string
		slots               int
	}{{"headrace, one slot", b.binary, slow, 1}, {b.before + ", instant", b.beside, instant, jobSlots}} {
		gateway, err := newGateway(ctx, b.dir, "http://"+s.model, s.slots, fmt.Sprintf("durability = %q", durability))
		if err != nil {
			return nil, err
		}
		process, _, err := gateway.up(ctx, s.binary)
		if err != nil {
			return nil, err
		}
		servers = append(servers, &jobServer{name: s.name, addr: gateway.addr, process: process})
	}
	for round := range b.rounds + 2 { // two to warm up: it learns
		if round == 2 {
			forget(servers)
		}
		for _, s := range rotated(servers, round) {
			if err := b.cycles(ctx, s); err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	now, then := servers[0], servers[1]
	_, peak, err := memory(now.process.pid())
	if err != nil {
		return nil, err
	}
	b.out.printf("Jobs by %d clients, `%s`, a model server of %s and %s an item, one slot: %s jobs/s, %s us CPU a job, peak %.0f MB; %s over an instant model server with %d slots: %s jobs/s, %s us; ratio %s.\n\n",
		jobClients, durability, simFixed, simItem, number(spreadOf(now.got.cycles).median), number(spreadOf(now.got.cpu).median*1e6), mb(peak),
		b.before, jobSlots, number(spreadOf(then.got.cycles).median), number(spreadOf(then.got.cpu).median*1e6), showRatio(now.got.cycles, then.got.cycles))
	return []gate{
		atLeast("jobs, "+durability+", against "+b.before, spreadOf(ratios(now.got.cycles, then.got.cycles)).median, 2, "%.2f"),
		atMost("jobs, "+durability+", MB", mb(peak), maxJobsMB, "%.0f"),
	}, nil
}
