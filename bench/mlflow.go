package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	manyClients = 32
	warmReal    = 2 * time.Second
	leastReply  = 384 * 8 // bytes: no row of MiniLM is shorter
	mostReply   = 384 * 32
	// realSlots is one more than a model server that computes one call at a time needs: the second call waits at
	// the server, so that it finds work when it has finished the first.
	realSlots = 2
)

// mlflow compares calls through headrace with direct ones at a real model server that computes embeddings.
func (b *bench) mlflow(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	server, err := url.Parse(b.model)
	if err != nil || server.Host == "" {
		return fmt.Errorf("-model %s is no URL", b.model)
	}
	gateway, err := newGateway(ctx, b.dir, b.model, realSlots)
	if err != nil {
		return err
	}
	process, _, err := gateway.up(ctx, b.binary)
	if err != nil {
		return err
	}
	defer process.stop()
	asked := &target{name: "direct", addr: server.Host, least: leastReply, most: mostReply}
	through := &target{name: "headrace", addr: gateway.addr, least: leastReply, most: mostReply, pid: process.pid()}
	for _, text := range texts() {
		asked.requests = append(asked.requests, post(server.Host, invocations, fmt.Sprintf(`{"inputs": [%q]}`, text)))
		through.requests = append(through.requests, post(gateway.addr, viaGateway, fmt.Sprintf(`{"text": [%q]}`, text)))
	}
	loads := []struct {
		target  *target
		clients int
	}{{asked, 1}, {asked, manyClients}, {through, 1}, {through, manyClients}}
	results := make([]series, len(loads))
	order := []int{0, 1, 2, 3}
	for _, t := range []*target{asked, through} {
		if _, err := drive(ctx, t, 1, warmReal); err != nil {
			return err
		}
	}
	for round := range b.rounds {
		for _, i := range rotated(order, round) {
			w, err := drive(ctx, loads[i].target, loads[i].clients, b.window)
			if err != nil {
				return err
			}
			results[i].add(w)
		}
		b.progress("round %d of %d", round+1, b.rounds)
	}
	b.out.printf("### Over a real model\n\nall-MiniLM-L6-v2 behind `mlflow models serve`, texts of 4 to 10 words, %d slots, no batching. "+
		"%d rounds of %s windows, orders rotate; medians over the rounds.\n\n", realSlots, b.rounds, b.window)
	rows := make([][]string, 0, len(loads))
	failed := 0
	for i, l := range loads {
		s := results[i]
		if l.target == through {
			failed += s.failed
		}
		if s.why != nil {
			b.progress("%s, %d clients: %d calls failed: %v", l.target.name, l.clients, s.failed, s.why)
		}
		rate := spreadOf(s.rate)
		rows = append(rows, []string{
			strconv.Itoa(l.clients), l.target.name, fmt.Sprintf("%.1f", rate.median), fmt.Sprintf("%.1f - %.1f", rate.min, rate.max),
			ms(seconds(spreadOf(s.p50).median)), ms(seconds(spreadOf(s.p99).median)), strconv.Itoa(s.failed),
		})
	}
	b.out.table([]string{"clients", "target", "req/s", "lowest - highest", "p50 ms", "p99 ms", "failed"}, rows)
	b.out.gates(
		atLeast("req/s, headrace with 32 clients / direct with 1", spreadOf(ratios(results[3].rate, results[0].rate)).median, 1, "%.2f"),
		atMost("p99, 32 clients, headrace / direct", spreadOf(ratios(results[3].p99, results[1].p99)).median, 1, "%.2f"),
		atMost("failed calls, headrace", float64(failed), 0, "%.0f"),
	)
	return nil
}

// texts are sentences of 4 to 10 words.
func texts() []string {
	words := strings.Fields("the quick brown fox likes to drive over small green hills while seven lazy dogs sleep near a warm river")
	var all []string
	for i := range 64 {
		n := 4 + i%7
		var sentence []string
		for j := range n {
			sentence = append(sentence, words[(i*5+j*3)%len(words)])
		}
		all = append(all, strings.Join(sentence, " "))
	}
	return all
}
