package api_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"headrace/api"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/mlflowtest"
	"headrace/internal/provider"
	"headrace/internal/provider/anthropic"
	"headrace/internal/provider/openai"
)

// vendorTable is what the recorded gateways served, as Headrace would be configured for it.
func vendorTable(tb testing.TB, era mlflowtest.Era) *inference.Table {
	tb.Helper()
	var routes []*inference.Route
	var splits []*inference.Split
	for _, e := range mlflowtest.VendorRoutes(tb, era) {
		if e.Destinations != nil {
			s := &inference.Split{Name: e.Name, Type: inference.Type(e.Type)}
			for _, d := range e.Destinations {
				s.Destinations = append(s.Destinations, inference.Destination{Route: d.Name, Percent: d.Percent})
			}
			splits = append(splits, s)
			continue
		}
		r := &inference.Route{Name: e.Name, Type: inference.Type(e.Type), Model: e.Model, Provider: e.Provider, Family: inference.Endpoints}
		if era == mlflowtest.EraA {
			r.Family = inference.Routes
		}
		r.Vendor = vendorOf(era, e, r)
		routes = append(routes, r)
	}
	return inference.NewTable(routes...).WithSplits(splits...)
}

// vendorOf is how a recorded gateway asked a model. Keys from files lose their line breaks, and blanks around.
func vendorOf(era mlflowtest.Era, e mlflowtest.VendorRoute, r *inference.Route) *inference.Vendor {
	key := e.Config[strings.Replace(e.Provider, "azure", "openai", 1)+"_api_key"]
	key = map[string]string{
		"$TEST_OPENAI_KEY": "sk-from-env", "$TEST_ANTHROPIC_KEY": "sk-ant-from-env", "KEYFILE": "sk-from-file", "NLKEYFILE": "sk-from-file-nl",
	}[key]
	if key == "" {
		key = strings.TrimSpace(e.Config[strings.Replace(e.Provider, "azure", "openai", 1)+"_api_key"])
	}
	if e.Provider == "anthropic" {
		r.Servers = []string{"https://api.anthropic.com/v1"}
		if base := e.Config["anthropic_api_base"]; base != "" && era == mlflowtest.EraC {
			r.Servers = []string{base}
		}
		v := &inference.Vendor{API: inference.AnthropicAPI, Key: inference.Secret(key), Version: "2023-06-01", MaxTokens: 8192, Sampling: inference.SamplingPass}
		if version := e.Config["anthropic_version"]; version != "" {
			v.Version = version
		}
		return v
	}
	r.Servers = []string{"https://api.openai.com/v1"}
	if base := e.Config["openai_api_base"]; base != "" {
		r.Servers = []string{base}
	}
	v := &inference.Vendor{
		API: inference.OpenAIAPI, Key: inference.Secret(key), Version: e.Config["openai_api_version"], Deployment: e.Config["openai_deployment_name"],
		Organization: e.Config["openai_organization"], CompletionsByChat: era == mlflowtest.EraA,
	}
	if kind := strings.ToLower(e.Config["openai_api_type"]); strings.HasPrefix(kind, "azure") {
		v.Azure = inference.AzureAuth(kind)
	}
	return v
}

// vendorBroker runs the real providers against the recorded answers of vendors.
type vendorBroker struct {
	fakeBroker

	mu   sync.Mutex
	t    testing.TB
	next *mlflowtest.Exchange
	call *provider.Call
	path string
}

func (b *vendorBroker) expect(e *mlflowtest.Exchange) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next, b.call, b.path = e, nil, ""
}

// Call is part of api.Broker.
func (b *vendorBroker) Call(_ context.Context, route *inference.Route, req *inference.Request) (*inference.Result, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var p provider.Provider = openai.New()
	if route.Provider == "anthropic" {
		p = anthropic.New()
	}
	called, err := p.Encode(route, req)
	if err != nil {
		return nil, err
	}
	b.call, b.path = &called, pathOf(b.t, route.Servers[0], &called)
	u := b.next.Upstream
	if u == nil { // the recorded gateway asked no vendor; a plain answer keeps the exchange going
		return p.Decode(route, req, provider.Reply{Status: http.StatusOK, ContentType: "application/json", Body: plainAnswer(route, req)})
	}
	if u.Fault != "" {
		return nil, fault.New(fault.UpstreamUnavailable, "the vendor is out of reach")
	}
	answer := provider.Reply{Status: u.Status, Reason: http.StatusText(u.Status), Body: u.Body(b.t)}
	if route.Provider == "anthropic" && req.Type == inference.Completions {
		answer.Body = asMessage(answer.Body)
	}
	if u.ContentType != nil {
		answer.ContentType = *u.ContentType
	}
	return p.Decode(route, req, answer)
}

// pathOf is the path and query of a call, as they go over the wire.
func pathOf(tb testing.TB, server string, call *provider.Call) string {
	tb.Helper()
	u, err := url.Parse(strings.NewReplacer("UPSTREAM", "1", "CLOSED", "2").Replace(server))
	if err != nil {
		tb.Fatal(err)
	}
	whole := strings.TrimRight(u.EscapedPath(), "/") + "/" + (&url.URL{Path: call.Path}).EscapedPath()
	if query := strings.Trim(u.RawQuery+"&"+call.Query, "&"); query != "" {
		whole += "?" + query
	}
	return whole
}

func plainAnswer(route *inference.Route, req *inference.Request) []byte {
	switch {
	case route.Provider == "anthropic":
		return []byte(`{"id":"msg_1","model":"m","content":[{"type":"text","text":"a"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}`)
	case req.Type == inference.Embeddings:
		return []byte(`{"data":[{"index":0,"embedding":[1.0]}],"model":"m","usage":{"prompt_tokens":1,"total_tokens":1}}`)
	}
	return []byte(`{"id":"c","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}],"usage":null}`)
}

// asMessage is an answer of Anthropic's old completions as its Messages API gives it. An error stays as it is.
func asMessage(body []byte) []byte {
	old, ok := decoded(body).(map[string]any)
	text, isText := old["completion"].(string)
	if !ok || !isText {
		return body
	}
	delete(old, "completion")
	old["content"] = []any{map[string]any{"type": "text", "text": text}}
	return encodedJSON(old)
}

func TestRecordedGatewaysOverVendors(t *testing.T) {
	t.Parallel()
	for _, era := range mlflowtest.Eras() {
		t.Run(string(era), func(t *testing.T) {
			t.Parallel()
			broker := &vendorBroker{t: t}
			s := newServer(t, &broker.fakeBroker, func(_ *api.Config, d *api.Deps) { d.Broker, d.Table = broker, vendorTable(t, era) })
			front := httptest.NewServer(s.Handler())
			defer front.Close()
			v := verdicts{t: t, rules: vendorRules(), differing: make(map[string]int)}
			all := mlflowtest.VendorExchanges(t, era)
			streams := 0
			for i := range all {
				e := &all[i]
				if e.Upstream != nil && (e.Upstream.Chunks != nil || e.Upstream.ChunksAs64 != nil) || strings.HasPrefix(deref(e.Reply.ContentType), "text/event-stream") {
					streams++
					continue
				}
				broker.expect(e)
				got := exchange(t, front.Listener.Addr().String(), wire{
					method: e.Request.Method, target: e.Request.Path, headers: e.Request.Headers, body: e.Request.Body(t), hasBody: e.Request.Text != nil,
				})
				o := outcome{era: era, e: e, got: got, call: broker.call, path: broker.path}
				if o.call != nil {
					o.sent = o.call.Body
				}
				v.judge(&o, vendorDifferences(&o))
			}
			t.Logf("era %s: %d streams are not replayed here", era, streams)
			v.sum(era, len(all)-streams)
		})
	}
}

// vendorDifferences is differences, and where the call to the vendor is not as recorded.
func vendorDifferences(o *outcome) []string {
	differs := differences(o)
	if o.call == nil || o.e.Sent == nil {
		return differs
	}
	if o.path != o.e.SentPath {
		differs = append(differs, "path "+o.path+", want "+o.e.SentPath)
	}
	want := make(map[string]string)
	for name, value := range o.e.SentHeaders {
		if !slices.Contains([]string{"accept", "accept-encoding", "content-type"}, name) {
			want[name] = value
		}
	}
	got := make(map[string]string)
	for name, value := range o.call.Header {
		got[strings.ToLower(name)] = string(value)
	}
	if !maps.Equal(got, want) {
		differs = append(differs, "headers "+strings.Join(slices.Sorted(maps.Keys(got)), " ")+", want "+strings.Join(slices.Sorted(maps.Keys(want)), " "))
	}
	return differs
}
