package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"headrace/internal/config"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/provider/mlflow"
	"headrace/internal/splice"
	"headrace/internal/upstream"
)

const (
	// sizeCalls is how often each size is timed; the middle time counts. One call before them is not timed.
	sizeCalls = 3
	// sizePatience ends the measurement of one model server; what was measured until then is told.
	sizePatience = 30 * time.Second
	// tooLong is the time of a call after which no larger size is tried.
	tooLong = 2 * time.Second
	// compared is how many rows are asked alone and in one call, to see whether the answers are the same.
	compared = 4
	// largestSize is where the measurement ends, if the route's batch.max_items is not smaller.
	largestSize = 64
	// worthwhile is the gain from which sharing calls pays, as `[routes.batch] mode = "auto"` sees it.
	worthwhile = 1.08
)

// Size is what calls with a number of rows took.
type Size struct {
	Items     int     `json:"items"`
	MS        float64 `json:"ms"`
	PerSecond float64 `json:"items_per_second"`
	Gain      float64 `json:"gain"` // rows a second, as a multiple of one row a call
}

// Batching is what shared calls would give at one model server of a route.
type Batching struct {
	Route   string `json:"route"`
	Server  string `json:"server"`
	Sizes   []Size `json:"sizes"`
	Message string `json:"message"`
}

// Batches measures how long each model server that fits its route takes for 1, 2, 4 and more rows in one call. It asks one
// server after the other, so that those of one machine do not slow each other. results are those of All.
func Batches(ctx context.Context, cfg *config.Config, results []Result) []Batching {
	all := []Batching{}
	i := 0
	for r := range cfg.Table.All() {
		for _, server := range r.Servers {
			found := results[i]
			i++
			b := Batching{Route: r.Name, Server: found.Server, Sizes: []Size{}}
			if b.Message = unmeasured(r, found); b.Message == "" {
				measure(ctx, r, server, &b)
			}
			all = append(all, b)
		}
	}
	return all
}

// unmeasured says why a model server is not measured; "" when it can be.
func unmeasured(r *inference.Route, found Result) string {
	switch {
	case !found.Fits:
		return "not measured: it does not fit the route"
	case r.Type == inference.Chat:
		return "chat calls are never shared"
	case r.Type == inference.Raw:
		return "not measured: what its rows look like is not known; its route measures them while it serves"
	case found.Format != "":
		return fmt.Sprintf("calls in the format %s are never shared", found.Format)
	}
	return ""
}

// measure fills in sizes and message.
func measure(ctx context.Context, r *inference.Route, server string, b *Batching) {
	client, err := dial(r, server)
	if err != nil {
		b.Message = err.Error()
		return
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, sizePatience)
	defer cancel()
	m := &measurement{client: client, route: r, merger: mlflow.New()}
	if why := m.depends(ctx); why != "" {
		b.Message = why
		return
	}
	for n := 1; n <= min(largestSize, max(r.Batch.MaxItems, 1)); n *= 2 {
		took, err := m.size(ctx, n)
		if err != nil {
			if len(b.Sizes) == 0 {
				b.Message = "not measured: " + fault.From(err).Message
				return
			}
			break
		}
		s := Size{Items: n, MS: float64(took.Microseconds()) / 1000, PerSecond: float64(n) / took.Seconds()}
		s.Gain = 1
		if n > 1 {
			s.Gain = s.PerSecond / b.Sizes[0].PerSecond
		}
		b.Sizes = append(b.Sizes, s)
		if took > tooLong {
			break
		}
	}
	b.Message = verdict(r, b.Sizes)
}

// verdict says in words what sizes show; there is at least one.
func verdict(r *inference.Route, sizes []Size) string {
	most := slices.MaxFunc(sizes, func(a, b Size) int {
		switch {
		case a.Gain < b.Gain:
			return -1
		case a.Gain > b.Gain:
			return 1
		}
		return 0
	})
	switch {
	case most.Gain < worthwhile:
		return "sharing calls does not pay here; the route finds that out by itself"
	case !r.Batch.Shares():
		return fmt.Sprintf("sharing calls would give up to %.1f times the answers; write [routes.batch] mode = \"auto\" to have it", most.Gain)
	}
	return fmt.Sprintf("sharing calls gives up to %.1f times the answers when %d wait at once", most.Gain, most.Items)
}

// measurement asks one model server of a route with rows of the same kind.
type measurement struct {
	client *upstream.Client
	route  *inference.Route
	merger provider.Merger
	asked  int // rows, so that no two are equal: a model server may remember answers
}

// rows are n requests of one row each, taken apart.
func (m *measurement) rows(n int) (like provider.Rows, rows [][]byte, err error) {
	for range n {
		m.asked++
		req := &inference.Request{
			ID: "probe", Route: m.route.Name, Type: m.route.Type,
			Items: [][]byte{fmt.Appendf(nil, `"Number %d is the [MASK] of France."`, m.asked%100+100)},
		}
		one, ok := m.merger.Rows(m.route, req)
		if !ok {
			return like, nil, errNoRows
		}
		like = one
		rows = append(rows, one.Values...)
	}
	return like, rows, nil
}

var errNoRows = fault.New(fault.Invalid, "its requests cannot share calls")

// call asks for rows in one call and gives their raw answers.
func (m *measurement) call(ctx context.Context, like provider.Rows, rows [][]byte) (answers [][]byte, took time.Duration, err error) {
	began := time.Now()
	reply, release, err := m.client.Do(ctx, m.merger.Merge(like, rows), probeReply)
	if err != nil {
		return nil, 0, err
	}
	defer release()
	took = time.Since(began)
	if reply.Status/100 != 2 {
		return nil, 0, fault.New(fault.UpstreamError, "it answers %d to a call of %d rows", reply.Status, len(rows))
	}
	cut, err := m.merger.Cut(m.route, m.route.Type, len(rows), reply)
	if err != nil {
		return nil, 0, err
	}
	for _, row := range cut {
		answers = append(answers, slices.Clone(row)) // the reply's bytes end with this call
	}
	return answers, took, nil
}

// depends says why calls cannot be shared: rows are answered in another way alone than in company. "" when they can be.
func (m *measurement) depends(ctx context.Context) string {
	like, rows, err := m.rows(compared)
	if err != nil {
		return "not measured: " + fault.From(err).Message
	}
	together, _, err := m.call(ctx, like, rows)
	if err != nil {
		if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
			return "not measured: it does not answer in time"
		}
		return "calls cannot be shared: " + fault.From(err).Message
	}
	for i := range rows {
		alone, _, err := m.call(ctx, like, rows[i:i+1])
		if err != nil {
			return "not measured: " + fault.From(err).Message
		}
		if same, why := splice.Same(alone[0], together[i]); !same {
			return fmt.Sprintf("calls cannot be shared: a row is answered in another way when it is alone (%s)", why)
		}
	}
	return ""
}

// size is the middle time of calls of n rows.
func (m *measurement) size(ctx context.Context, n int) (time.Duration, error) {
	var times []time.Duration
	for i := range sizeCalls + 1 {
		like, rows, err := m.rows(n)
		if err != nil {
			return 0, err
		}
		_, took, err := m.call(ctx, like, rows)
		if err != nil {
			return 0, err
		}
		if i > 0 {
			times = append(times, took)
		}
		if took > tooLong {
			return took, nil
		}
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}

// PrintBatches writes a table for each model server, with what it shows.
func PrintBatches(out io.Writer, all []Batching) error {
	for _, b := range all {
		if _, err := fmt.Fprintf(out, "\n%s at %s: %s\n", b.Route, b.Server, b.Message); err != nil {
			return err
		}
		if len(b.Sizes) == 0 {
			continue
		}
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
		_, _ = fmt.Fprintln(table, "ROWS A CALL\tMS\tROWS/S\tGAIN\t") // Flush reports it
		for _, s := range b.Sizes {
			_, _ = fmt.Fprintf(table, "%d\t%.1f\t%.0f\t%.2f\t\n", s.Items, s.MS, s.PerSecond, s.Gain)
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	return nil
}
