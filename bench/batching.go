package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	warmBatching = 4 * time.Second
	// warmWaiter is how long headrace may take to learn how many calls a model server that waits wants at once.
	warmWaiter = 20 * time.Second
	anyReply   = 1 << 20
	// badEvery is the share of bad prompts: one in so many.
	badEvery = 100
)

// comparison is one line of the table: the same questions asked directly and through headrace, in the same rounds.
type comparison struct {
	name            string
	clients         int
	direct, through *target
	warm            time.Duration
	rate            float64 // at least, through / direct
	p99             float64 // at most, through / direct; 0 = not asked
	p50             float64 // at most, through / direct; 0 = not asked
}

// batching compares calls that share calls to a model server with the same asked directly.
func (b *bench) batching(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	b.out.printf("### Batching\n\nReal `mlflow models serve` on the same cores, headrace with its default configuration (slots and sizes are learned). "+
		"%d rounds of %s windows; within a round both are driven once, in an order that rotates. Figures are medians over the rounds, ratios are formed "+
		"in each round.\n\n", b.rounds, b.window)
	if err := b.compareAll(ctx); err != nil {
		return err
	}
	for _, part := range []func(context.Context) error{b.twoWorkers, b.besideLists, b.batchedJobs} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// compareAll measures the lines that compare two targets. What was measured before an error is printed.
func (b *bench) compareAll(ctx context.Context) error {
	var gates []gate
	var rows [][]string
	defer func() {
		b.out.table([]string{"work", "clients", "direct req/s", "through", "through / direct", "p50 ms", "through", "p99 ms", "through", "ratio", "CPU us", "failed"}, rows)
		b.out.gates(gates...)
	}()
	for _, part := range []func(context.Context) ([]comparison, error){b.realLines, b.instantLines} {
		lines, err := part(ctx)
		if err != nil {
			return err
		}
		for _, line := range lines {
			direct, through, err := b.compare(ctx, line)
			if err != nil {
				return fmt.Errorf("%s, %d clients: %w", line.name, line.clients, err)
			}
			rows = append(rows, line.row(direct, through))
			gates = append(gates, line.gates(direct, through)...)
		}
	}
	return nil
}

// wants tells whether a line is among those asked for.
func (b *bench) wants(name string) bool { return strings.Contains(name, b.lines) }

// compare drives both targets of a line for all rounds.
func (b *bench) compare(ctx context.Context, line comparison) (direct, through series, err error) {
	warm := line.warm
	if warm == 0 {
		warm = warmBatching
	}
	if _, err := drive(ctx, line.direct, line.clients, warmWindow); err != nil {
		return direct, through, err
	}
	if _, err := drive(ctx, line.through, line.clients, warm); err != nil {
		return direct, through, err
	}
	for round := range b.rounds {
		for _, i := range rotated([]int{0, 1}, round) {
			t, into := line.direct, &direct
			if i == 1 {
				t, into = line.through, &through
			}
			w, err := drive(ctx, t, line.clients, b.window)
			if err != nil {
				return direct, through, err
			}
			into.add(w)
		}
	}
	b.progress("%s, %d clients: %s of direct", line.name, line.clients, showRatio(through.rate, direct.rate))
	if through.why != nil {
		b.progress("%d calls failed: %v", through.failed, through.why)
	}
	return direct, through, nil
}

func (c comparison) row(direct, through series) []string {
	median := func(rounds []float64) float64 { return spreadOf(rounds).median }
	return []string{
		c.name, strconv.Itoa(c.clients), fmt.Sprintf("%.1f", median(direct.rate)), fmt.Sprintf("%.1f", median(through.rate)),
		showRatio(through.rate, direct.rate),
		ms(seconds(median(direct.p50))), ms(seconds(median(through.p50))),
		ms(seconds(median(direct.p99))), ms(seconds(median(through.p99))), showRatio(through.p99, direct.p99),
		fmt.Sprintf("%.0f", median(through.cpu)*1e6), strconv.Itoa(through.failed),
	}
}

func (c comparison) gates(direct, through series) []gate {
	what := func(figure string) string { return fmt.Sprintf("%s, %d clients, %s", c.name, c.clients, figure) }
	all := []gate{atLeast(what("req/s"), spreadOf(ratios(through.rate, direct.rate)).median, c.rate, "%.2f")}
	if c.p99 > 0 {
		all = append(all, atMost(what("p99"), spreadOf(ratios(through.p99, direct.p99)).median, c.p99, "%.2f"))
	}
	if c.p50 > 0 {
		all = append(all, atMost(what("p50"), spreadOf(ratios(through.p50, direct.p50)).median, c.p50, "%.2f"))
	}
	if through.failed > 0 {
		all = append(all, atMost(what("failed calls"), float64(through.failed), 0, "%.0f"))
	}
	return all
}

// realLines are the lines over real model servers.
func (b *bench) realLines(ctx context.Context) ([]comparison, error) {
	all := []struct {
		route     string
		questions []question
		lines     []comparison
	}{
		{"embeddings", embeds(texts()), []comparison{
			{name: "MiniLM, 4 to 10 words", clients: 1, rate: 0.97, p99: 1.1},
			{name: "MiniLM, 4 to 10 words", clients: 8, rate: 2.5, p99: 1},
			{name: "MiniLM, 4 to 10 words", clients: 32, rate: 4.5, p99: 0.34},
		}},
		{"embeddings", embeds(mixedTexts()), []comparison{{name: "MiniLM, 10, 50 or 200 words", clients: 32, rate: 1.3, p99: 1}}},
		{"tree", rows(), []comparison{
			{name: "scikit-learn tree, one row", clients: 1, rate: 0.9, p99: 1},
			{name: "scikit-learn tree, one row", clients: 32, rate: 15, p99: 1},
			{name: "scikit-learn tree, one row", clients: 128, rate: 30, p99: 1},
		}},
		{"forest", rows(), []comparison{{name: "random forest, one row", clients: 32, rate: 15, p99: 1}}},
		{"fillmask", prompts(0), []comparison{{name: "fill-mask", clients: 32, rate: 1.3, p99: 1}}},
		{"fillmask", prompts(badEvery), []comparison{{name: "fill-mask, 1 % bad prompts", clients: 32, rate: 1.1}}},
		{"waiter", says(), []comparison{{name: "a model that waits 1 s", clients: 16, rate: 0.9, p99: 1.2, warm: warmWaiter}}},
	}
	var lines []comparison
	wanted := false
	for _, set := range all {
		for _, line := range set.lines {
			wanted = wanted || b.wants(line.name)
		}
	}
	if !wanted {
		return nil, nil
	}
	addrs, err := b.realModels(ctx)
	if err != nil {
		return nil, err
	}
	gateway, process, err := b.realGateway(ctx, addrs)
	if err != nil {
		return nil, err
	}
	for _, set := range all {
		direct, through := asked(addrs[set.route], gateway.addr, set.route, process.pid(), set.questions)
		for _, line := range set.lines {
			if b.wants(line.name) {
				line.direct, line.through = direct, through
				lines = append(lines, line)
			}
		}
	}
	return lines, nil
}

// realGateway starts headrace over the real models, with nothing configured but its routes.
func (b *bench) realGateway(ctx context.Context, addrs map[string]string) (*gateway, *child, error) {
	var routes []served
	for name, kind := range map[string]string{
		"embeddings": "llm/v1/embeddings", "fillmask": "llm/v1/completions", "waiter": "llm/v1/completions",
		"tree": "mlflow/v1/invocations", "forest": "mlflow/v1/invocations",
	} {
		routes = append(routes, served{name, kind, "http://" + addrs[name]})
	}
	gateway, err := newGatewayOf(ctx, b.dir, 0, routes)
	if err != nil {
		return nil, nil, err
	}
	process, _, err := gateway.up(ctx, b.binary)
	return gateway, process, err
}

// instantLines compare one slot over an instant model server with a bare reverse proxy.
func (b *bench) instantLines(ctx context.Context) ([]comparison, error) {
	const name = "instant, one slot / tuned proxy"
	if !b.wants(name) {
		return nil, nil
	}
	_, modelAddr, err := role(ctx, roleModel)
	if err != nil {
		return nil, err
	}
	_, proxyAddr, err := role(ctx, roleProxy, "-to", modelAddr)
	if err != nil {
		return nil, err
	}
	gateway, err := newGateway(ctx, b.dir, "http://"+modelAddr, 1)
	if err != nil {
		return nil, err
	}
	process, _, err := gateway.up(ctx, b.binary)
	if err != nil {
		return nil, err
	}
	direct, through := asked(proxyAddr, gateway.addr, "embeddings", process.pid(), embeds([]string{sentence}))
	return []comparison{
		{name: name, clients: 1, direct: direct, through: through, rate: 0.9, p50: 1.2},
		{name: name, clients: 32, direct: direct, through: through, rate: 1.1},
		{name: name, clients: 128, direct: direct, through: through, rate: 1.4},
	}, nil
}
