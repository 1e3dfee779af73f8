package api_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"headrace/api"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/mlflowtest"
	"headrace/internal/provider"
	"headrace/internal/provider/mlflow"
)

// recordedTable is what the recorded gateways served, in the order of their files.
func recordedTable(era mlflowtest.Era) *inference.Table {
	entries := []struct {
		kind  inference.Type
		name  string
		model string
	}{
		{inference.Completions, "completions", "text2text"},
		{inference.Chat, "chat", "chat-bot-9000"},
		{inference.Embeddings, "embeddings", "sentence-piece"},
		{inference.Completions, "completions-slash", "text2text-slash"},
		{inference.Completions, "completions-prefix", "text2text-prefix"},
		{inference.Completions, "completions-prefix-slash", "text2text-prefix"},
		{inference.Completions, "completions-query", "text2text-query"},
		{inference.Embeddings, "my.dotted_name-v1.2", "dotted/model:7b"},
		{inference.Embeddings, "e", "e"},
		{inference.Completions, "completions-down", "m-down"},
		{inference.Chat, "chat-down", "m-down"},
		{inference.Embeddings, "embeddings-down", "m-down"},
		{inference.Completions, "completions-noname", ""},
		{inference.Chat, "chat_noname", ""},
		{inference.Embeddings, "embeddings.noname", ""},
		{inference.Completions, "completions-hang", "m-hang"},
		{inference.Completions, "limited-a", "lim"},
		{inference.Chat, "limited-b", "lim"},
		{inference.Embeddings, "limited-c", "lim"},
		{inference.Chat, "chat-b", "chat-bot-9000"},
		{inference.Embeddings, "embeddings-b", "sentence-piece-b"},
	}
	if era != mlflowtest.EraC {
		entries = entries[:len(entries)-2]
	}
	var routes []*inference.Route
	for _, e := range entries {
		r := &inference.Route{Name: e.name, Type: e.kind, Model: e.model, Provider: mlflow.Name, Family: inference.Endpoints}
		if era == mlflowtest.EraA {
			r.Family = inference.Routes
		} else if strings.HasPrefix(e.name, "limited-") {
			// 2.8.1 knows no limits.
			r.Limit = &inference.Limit{Calls: 2, Period: "minute"}
			if e.name == "limited-b" {
				r.Limit.Key = "user"
			}
		}
		routes = append(routes, r)
	}
	recorded := inference.NewTable(routes...)
	if era != mlflowtest.EraC {
		return recorded
	}
	to := func(name string, percent int) inference.Destination {
		return inference.Destination{Route: name, Percent: percent}
	}
	return recorded.WithSplits(
		&inference.Split{Name: "ab-all-first", Type: inference.Chat, Destinations: []inference.Destination{to("chat", 100), to("chat-b", 0)}},
		&inference.Split{Name: "ab-all-second", Type: inference.Embeddings, Destinations: []inference.Destination{to("embeddings", 0), to("embeddings-b", 100)}},
		&inference.Split{Name: "ab-to-limited", Type: inference.Completions, Destinations: []inference.Destination{to("limited-a", 100)}},
		&inference.Split{Name: "ab-down", Type: inference.Completions, Destinations: []inference.Destination{to("completions-down", 100)}},
	)
}

// bigTable is the second gateway's: 3005 entries.
func bigTable(era mlflowtest.Era) *inference.Table {
	var routes []*inference.Route
	for i := range 3005 {
		r := &inference.Route{
			Name: fmt.Sprintf("r%04d", i), Type: inference.Completions, Model: "m", Provider: mlflow.Name, Family: inference.Endpoints,
		}
		if era == mlflowtest.EraA {
			r.Family = inference.Routes
		}
		routes = append(routes, r)
	}
	return inference.NewTable(routes...)
}

// recordedBroker runs the real provider against the recorded answers of the model server.
type recordedBroker struct {
	fakeBroker

	t testing.TB

	mu   sync.Mutex
	next *mlflowtest.Exchange
	sent []byte // what the model server got; nil: nothing
}

func (b *recordedBroker) expect(e *mlflowtest.Exchange) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next, b.sent = e, nil
}

func (b *recordedBroker) Call(_ context.Context, route *inference.Route, req *inference.Request) (*inference.Result, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := mlflow.New()
	called, err := p.Encode(route, req)
	if err != nil {
		return nil, err
	}
	b.sent = called.Body
	u := b.next.Upstream
	if u == nil {
		// The recorded gateway called no model server; a plain answer keeps the exchange going.
		return echo(b.t.Context(), route, req)
	}
	switch u.Fault {
	case "":
	case "hang":
		return nil, fault.New(fault.UpstreamTimeout, "the model server did not answer in time")
	default:
		return nil, fault.New(fault.UpstreamUnavailable, "the model server is out of reach")
	}
	if u.Headers["Content-Encoding"] != "" && u.Encoding == "" {
		return nil, fault.New(fault.UpstreamBadResponse, "the model server's answer is not compressed as it says")
	}
	answer := provider.Reply{Status: u.Status, Reason: http.StatusText(u.Status), Body: u.Body(b.t)}
	if u.ContentType != nil {
		answer.ContentType = *u.ContentType
	}
	if u.Reason != nil {
		answer.Reason = *u.Reason
	}
	return p.Decode(route, req, answer)
}

// outcome is one exchange replayed.
type outcome struct {
	era  mlflowtest.Era
	e    *mlflowtest.Exchange
	got  reply
	sent []byte
	call *provider.Call // to a vendor
	path string         // of the call, with its query
}

func TestRecordedGateways(t *testing.T) {
	t.Parallel()
	for _, era := range mlflowtest.Eras() {
		t.Run(string(era), func(t *testing.T) {
			t.Parallel()
			all := mlflowtest.Exchanges(t, era)
			var groups [][]*mlflowtest.Exchange
			byName := make(map[string]int)
			for i := range all {
				e := &all[i]
				if at, ok := byName[e.Group]; ok && e.Group != "" {
					groups[at] = append(groups[at], e)
					continue
				}
				byName[e.Group] = len(groups)
				groups = append(groups, []*mlflowtest.Exchange{e})
			}
			v := verdicts{t: t, rules: deliberate(), differing: make(map[string]int)}
			for _, group := range groups {
				for _, o := range replay(t, era, group) {
					v.judge(&o, differences(&o))
				}
			}
			v.sum(era, len(all))
		})
	}
}

// verdicts counts what became of the exchanges of one era.
type verdicts struct {
	t         *testing.T
	rules     []rule
	passed    int
	differing map[string]int // by rule
}

// sum logs what each rule is for, and fails where exchanges were passed over.
func (v *verdicts) sum(era mlflowtest.Era, exchanges int) {
	v.t.Helper()
	differ := 0
	for _, r := range v.rules {
		if n := v.differing[r.name]; n > 0 {
			v.t.Logf("%5d differ by rule: %s (%s)", n, r.name, r.why)
			differ += n
		}
	}
	v.t.Logf("era %s: %d exchanges, %d as recorded, %d differ by rule", era, exchanges, v.passed, differ)
	if v.passed+differ != exchanges {
		v.t.Errorf("%d exchanges were not judged", exchanges-v.passed-differ)
	}
}

func (v *verdicts) judge(o *outcome, differs []string) {
	v.t.Helper()
	if len(differs) == 0 {
		v.passed++
		return
	}
	why := "no rule allows it"
	for _, r := range v.rules {
		if !r.where(o) {
			continue
		}
		v.differing[r.name]++
		wrong := r.ours(o)
		if wrong == "" {
			return
		}
		why = fmt.Sprintf("differs by rule %q, but %s", r.name, wrong)
		break
	}
	v.t.Errorf("%s %s (%s): %s: %s\n  request %s %s %s\n  sent %s\n  reply %d %s\n  MLflow sent %s\n  MLflow %d %s",
		o.era, o.e.ID, o.e.Why, strings.Join(differs, "; "), why,
		o.e.Request.Method, o.e.Request.Path, clip(o.e.Request.Body(v.t)), clip(o.sent),
		o.got.status, clip(o.got.body), clip([]byte(deref(o.e.Sent))), o.e.Reply.Status, clip([]byte(deref(o.e.Reply.Body))))
}

// replay runs exchanges in order against a fresh gateway.
func replay(t *testing.T, era mlflowtest.Era, group []*mlflowtest.Exchange) []outcome {
	t.Helper()
	broker := &recordedBroker{t: t}
	s := newServer(t, &broker.fakeBroker, func(_ *api.Config, d *api.Deps) {
		d.Broker = broker
		d.Table = recordedTable(era)
		if group[0].Server == "big" {
			d.Table = bigTable(era)
		}
	})
	front := httptest.NewServer(s.Handler())
	defer front.Close()
	address := front.Listener.Addr().String()
	var outcomes []outcome
	for _, e := range group {
		broker.expect(e)
		got := exchange(t, address, wire{
			method: e.Request.Method, target: e.Request.Path, headers: e.Request.Headers, chunked: e.Request.Chunked,
			body: e.Request.Body(t), hasBody: e.Request.Text != nil || e.Request.Base64 != "",
		})
		if location := got.header.Get("Location"); strings.Contains(e.Reply.Location, "://") {
			// MLflow repeats the caller's host, ours is the path alone: where a client goes is what counts.
			base := "http"
			for name, value := range e.Request.Headers {
				if strings.EqualFold(name, "X-Forwarded-Proto") {
					base = value // that is what the client in front of the proxy speaks
				}
			}
			to, err := url.Parse(base + "://" + recordedAddress(era) + e.Request.Path)
			if err != nil {
				t.Fatal(err)
			}
			if to, err = to.Parse(location); err != nil {
				t.Fatal(err)
			}
			got.header.Set("Location", to.String())
		}
		outcomes = append(outcomes, outcome{era: era, e: e, got: got, sent: broker.sent})
	}
	return outcomes
}

func recordedAddress(era mlflowtest.Era) string {
	return map[mlflowtest.Era]string{mlflowtest.EraA: "127.0.0.1:5100", mlflowtest.EraB: "127.0.0.1:5101", mlflowtest.EraC: "127.0.0.1:5102"}[era]
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func clip(b []byte) string { return string(b[:min(len(b), 400)]) }
