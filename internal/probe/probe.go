// Package probe asks model servers whether they fit the routes of a configuration, as the gateway would ask them, and says what
// to write where one does not. Begin at All.
package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"headrace/internal/config"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/provider/mlflow"
	"headrace/internal/upstream"
)

const (
	// probePatience bounds each question to a model server.
	probePatience = 10 * time.Second
	// probeReply bounds an answer, in bytes.
	probeReply = 16 << 20
	// probeText has a gap, because models that fill gaps refuse texts without one.
	probeText = `"Paris is the [MASK] of France."`
)

// Result is what was found out about one model server of one route.
type Result struct {
	Route   string           `json:"route"`
	Type    inference.Type   `json:"type"`
	Server  string           `json:"server"`
	Fits    bool             `json:"fits"`
	Version string           `json:"version,omitempty"` // of MLflow
	Latency float64          `json:"latency_ms,omitempty"`
	Serves  []inference.Type `json:"serves"`           // route types that the server can serve
	Format  string           `json:"format,omitempty"` // in which it wants to be asked, when that is not inputs
	Message string           `json:"message"`
}

// All asks every model server of a configuration, all at once. Vendors are not asked.
func All(ctx context.Context, cfg *config.Config) []Result {
	type question struct {
		route  *inference.Route
		server string
	}
	var questions []question
	for r := range cfg.Table.All() {
		if r.Vendor != nil { // each question would cost money
			continue
		}
		for _, server := range r.Servers {
			questions = append(questions, question{r, server})
		}
	}
	results := make([]Result, len(questions))
	var asking sync.WaitGroup
	for i, q := range questions {
		asking.Go(func() { results[i] = serverOf(ctx, q.route, q.server) })
	}
	asking.Wait()
	return results
}

// serverOf asks one server as the gateway would, for each type of route.
func serverOf(ctx context.Context, r *inference.Route, server string) Result {
	found := Result{Route: r.Name, Type: r.Type, Server: inference.PublicAddress(server), Serves: []inference.Type{}}
	client, err := dial(r, server)
	if err != nil {
		found.Message = err.Error()
		return found
	}
	defer client.Close()
	found.Version = versionOf(ctx, server, r)
	embeddings := ask(ctx, client, r, inference.Embeddings, r.Output)
	texts := ask(ctx, client, r, inference.Completions, r.Output)
	if found.Format = recognised(ctx, client, embeddings, texts); found.Format != "" {
		return nativeVerdict(r, found, quicker(embeddings.took, texts.took))
	}
	found.Latency = float64(quicker(embeddings.took, texts.took).Microseconds()) / 1000
	if embeddings.ok {
		found.Serves = append(found.Serves, inference.Embeddings)
	}
	if texts.ok {
		found.Serves = append(found.Serves, inference.Completions, inference.Chat)
	}
	if embeddings.answered {
		found.Serves = append(found.Serves, inference.Raw)
	}
	found.Fits = slices.Contains(found.Serves, r.Type)
	own := embeddings
	if r.Type == inference.Completions || r.Type == inference.Chat {
		own = texts
	}
	found.Message = advice(ctx, client, r, found, own)
	return found
}

// dial makes a client of one model server of a route.
func dial(r *inference.Route, server string) (*upstream.Client, error) {
	return upstream.New(upstream.Config{
		URLs: []string{server}, Headers: r.Headers, TLSCA: r.TLSCA, ConnectTimeout: r.ConnectTimeout, MaxIdle: 1,
	})
}

// quicker is the shorter of two times, of which 0 is none.
func quicker(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// answer is how one question went.
type answer struct {
	ok       bool          // the answer fits the type
	answered bool          // a raw route could pass it on, or it is an error of an MLflow model server
	took     time.Duration // 0: there was no answer
	err      error
	body     []byte
	wanted   string // the format that a refusal names
	refused  bool   // the form of the question, by a signature
}

func ask(ctx context.Context, client *upstream.Client, r *inference.Route, kind inference.Type, output *inference.Output) answer {
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	route := *r
	route.Type, route.Output = kind, output
	req := &inference.Request{ID: "probe", Route: r.Name, Type: kind, Items: [][]byte{[]byte(probeText)}}
	p := mlflow.New()
	call, err := p.Encode(&route, req)
	if err != nil {
		return answer{err: err}
	}
	began := time.Now()
	reply, release, err := client.Do(ctx, call, probeReply)
	if err != nil {
		return answer{err: err}
	}
	defer release()
	a := answer{took: time.Since(began), body: slices.Clone(reply.Body)}
	_, unfit := p.Decode(&inference.Route{Type: inference.Raw}, &inference.Request{Type: inference.Raw}, reply)
	a.answered = unfit == nil || isMLflowError(reply)
	a.wanted, a.refused = p.Wanted(reply)
	_, a.err = p.Decode(&route, req, reply)
	a.ok = a.err == nil
	return a
}

// isMLflowError tells a model server that does not like our text from something that is no model server.
func isMLflowError(reply provider.Reply) bool {
	var body struct {
		Code string `json:"error_code"`
	}
	return json.Unmarshal(reply.Body, &body) == nil && body.Code != ""
}

// versionOf is what GET /version says; "" when it says nothing useful.
func versionOf(ctx context.Context, server string, r *inference.Route) string {
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	at, err := url.Parse(server)
	if err != nil || r.TLSCA != "" {
		return ""
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.JoinPath("version").String(), http.NoBody)
	if err != nil {
		return ""
	}
	for name, value := range r.Headers {
		req.Header.Set(name, value)
	}
	req.Close = true
	// As calls do: no proxy of the environment, and no redirect, which could carry the headers to another host.
	resp, err := (&http.Transport{}).RoundTrip(req)
	if err != nil {
		return ""
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 100))
	if err != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	version := strings.Trim(strings.TrimSpace(string(text)), `"`)
	if strings.Trim(version, "0123456789.+-abcdefghijklmnopqrstuvwxyz") != "" { // a page of something else
		return ""
	}
	return version
}

// advice says what to do about a server that does not fit its route; own is its answer to what the route asks.
func advice(ctx context.Context, client *upstream.Client, r *inference.Route, found Result, own answer) string {
	if found.Fits {
		return "good"
	}
	if own.err != nil && !own.answered {
		return fault.From(own.err).Message
	}
	list := "routes"
	key := "route_type"
	if r.Family == inference.Endpoints {
		list, key = "endpoints", "endpoint_type"
	}
	if r.Output == nil {
		for _, field := range fieldsOf(own.body) {
			if ask(ctx, client, r, r.Type, &inference.Output{Field: field}).ok {
				return fmt.Sprintf("its answers stand under %q; write [%s.output] and field = %q", field, list, field)
			}
		}
	}
	var others []string
	for _, kind := range found.Serves {
		if kind != inference.Raw {
			others = append(others, fmt.Sprintf("%s = %q", key, kind))
		}
	}
	if len(others) > 0 {
		return fmt.Sprintf("it does not answer as %s needs, but it could serve %s", r.Type, strings.Join(others, " or "))
	}
	return fmt.Sprintf("it does not answer as %s needs (%s); write %s = %q to pass its own requests and answers through",
		r.Type, fault.From(own.err).Message, key, inference.Raw)
}

// fieldsOf lists the keys of the first prediction, when it is an object.
func fieldsOf(body []byte) []string {
	var reply struct {
		Predictions []map[string]json.RawMessage `json:"predictions"`
	}
	if json.Unmarshal(body, &reply) != nil || len(reply.Predictions) == 0 {
		return nil
	}
	var fields []string
	for field := range reply.Predictions[0] {
		fields = append(fields, field)
	}
	slices.Sort(fields)
	return fields
}

// ErrUnfit makes `check --probe` fail.
var ErrUnfit = errors.New("not every model server fits its route, see above")

// Print writes a table of results; it gives ErrUnfit when a server does not fit.
func Print(out io.Writer, results []Result) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "\nROUTE\tTYPE\tMODEL SERVER\tMLFLOW\tMS\tVERDICT")
	fits := true
	for _, r := range results {
		fits = fits && r.Fits
		latency := ""
		if r.Latency > 0 {
			latency = fmt.Sprintf("%.0f", r.Latency)
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Route, r.Type, r.Server, r.Version, latency, r.Message)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if !fits {
		return ErrUnfit
	}
	return nil
}
