package api

import (
	"cmp"
	"net/http"
	"time"

	"headrace/api/dialect"
	"headrace/api/openapi"
	"headrace/api/problem"
	"headrace/internal/fault"
	"headrace/internal/inference"
)

// A handler answers one operation; name is the {name} of its path. What it returns is written as an error.
type handler func(w *replyWriter, r *http.Request, name string) error

// operation is one method on one path: what it does and what openapi.json says of it. The schemas, parameters and headers
// that it names are in openapi/components.
type operation struct {
	method   string
	path     string // with one {placeholder} at most
	handle   handler
	tag      string
	summary  string
	params   []string // of the query
	headers  []string // of the request
	body     string   // name of the request body's schema; "" for none
	optional bool     // the body may be left out
	examples []openapi.Example
	answers  []answer     // how it succeeds
	fails    []fault.Code // how it may fail, besides internal and what every reading of a body may fail of
	beside   []string     // headers that failures may have
	// heads: HEAD is answered as well, for uptime checks. Allow does not say so, as MLflow's does not.
	heads bool
	// named paths exist only for names of routes.
	named bool
	// guarded paths show or change other people's work: Deps.Guard decides who may.
	guarded bool
}

// answer is one way in which an operation answers, when it does not fail.
type answer struct {
	status  int
	what    string
	schema  string // name of the body's schema; "" for no body
	headers []string
	kind    string // type of the body; "" for JSON
}

// media is the type of the body; "" for none.
func (a answer) media() string {
	if a.schema == "" {
		return ""
	}
	return cmp.Or(a.kind, "application/json")
}

// ok is the answer of operations that have just one.
func ok(what, schema string) []answer {
	return []answer{{status: http.StatusOK, what: what, schema: schema}}
}

// operations lists everything the front end serves, in the order a reader wants.
func (s *Server) operations() []operation {
	ops := s.calls.operations()
	ops = append(ops, s.catalogue.mlflowLists()...)
	ops = append(ops, s.catalogue.ownLists()...)
	if s.jobs != nil {
		ops = append(ops, jobOperations(s.jobs, s.finder)...)
	}
	return append(ops, s.operating()...)
}

// ownLists are the operations that show routes to OpenAI's clients and to ours.
func (t *catalogue) ownLists() []operation {
	one := []openapi.Example{{Name: "embeddings", At: "embeddings"}}
	unknown := []fault.Code{fault.NotFound}
	return []operation{
		{
			method: "GET", path: "/v1/models", heads: true, handle: t.listModels, tag: "OpenAI", summary: "List the routes that OpenAI's paths reach, as models.",
			answers: ok("The models.", "Models"),
		},
		{
			method: "GET", path: "/v1/models/{model}", handle: t.getModel, tag: "OpenAI", summary: "One route as a model.",
			answers: ok("The model.", "Model"), fails: unknown, examples: one,
		},
		{
			method: "GET", path: "/v1/routes", handle: t.listViews, tag: "Headrace", summary: "List the routes and how they fare.",
			answers: ok("The routes.", "Routes"),
		},
		{
			method: "GET", path: "/v1/routes/{name}", handle: t.getView, tag: "Headrace", summary: "One route and how it fares.",
			answers: ok("The route.", "Route"), fails: unknown, examples: one,
		},
	}
}

// operating are the operations for operators, load balancers and readers.
func (s *Server) operating() []operation {
	health, ready := ok("The process lives.", "Health"), ok("Calls are let in and the broker is connected.", "Ready")
	page := []answer{{status: http.StatusOK, what: "The page.", schema: "Text", kind: "text/html"}}
	notReady := []fault.Code{fault.NoWorkers, fault.ShuttingDown}
	document := ok("The document.", "OpenAPI")
	ops := []operation{
		{method: "GET", path: "/health", heads: true, handle: s.health, summary: "The process lives; MLflow's body.", answers: health},
		{method: "GET", path: "/livez", handle: s.health, summary: "The process lives.", answers: health},
		{method: "GET", path: "/readyz", handle: s.ready, summary: "Calls are let in and the broker is connected.", answers: ready, fails: notReady},
		{method: "HEAD", path: "/livez", handle: s.health, summary: "The status alone.", answers: health},
		{method: "HEAD", path: "/readyz", handle: s.ready, summary: "The status alone.", answers: ready, fails: notReady},
		{method: "GET", path: "/openapi.json", handle: s.serveOpenAPI, summary: "This description.", answers: document},
		{method: "HEAD", path: "/openapi.json", handle: s.serveOpenAPI, summary: "Its headers.", answers: document},
		{method: "GET", path: "/docs", heads: true, handle: serveDocs, summary: "A page for people, without foreign assets.", answers: page},
		{method: "GET", path: "/redoc", handle: serveDocs, summary: "The same page, under MLflow's second address for it.", answers: page},
		{method: "HEAD", path: "/redoc", handle: serveDocs, summary: "Its headers.", answers: page},
		{
			method: "GET", path: "/favicon.ico", handle: serveIcon, summary: "The icon.",
			answers: []answer{{status: http.StatusOK, what: "The icon.", schema: "Image", kind: "image/vnd.microsoft.icon"}},
		},
		{
			method: "GET", path: "/", heads: true, handle: s.toPage, summary: "Redirects to a page.",
			answers: []answer{{status: http.StatusTemporaryRedirect, what: "To /ui for browsers, else to /docs.", headers: []string{"Location", "Vary"}}},
		},
	}
	if s.metrics != nil {
		ops = append(ops, operation{
			method: "GET", path: "/metrics", heads: true, summary: "Metrics in Prometheus' text format.",
			answers: []answer{{status: http.StatusOK, what: "The metrics.", schema: "Text", kind: "text/plain"}},
			handle: func(w *replyWriter, r *http.Request, _ string) error {
				s.metrics.ServeHTTP(w, r)
				return nil
			},
		})
	}
	for i := range ops {
		ops[i].tag = "Operations"
	}
	return ops
}

// operations are those that ask a model.
func (k *callDesk) operations() []operation {
	newer := func(*inference.Route) dialect.Dialect { return k.dialects.Endpoints }
	own := func(*inference.Route) dialect.Dialect { return k.dialects.Own }
	declared := func(r *inference.Route) dialect.Dialect {
		if r.Family == inference.Routes {
			return k.dialects.Routes
		}
		return k.dialects.Endpoints
	}
	openai := func(want inference.Type) target {
		return target{voice: problem.OpenAI, dialect: func(*inference.Route) dialect.Dialect { return k.dialects.OpenAI }, wants: want}
	}
	ops := []operation{
		{
			method: "POST", path: "/gateway/{name}/invocations", named: true, tag: "MLflow", body: "GatewayCall",
			summary: "Ask a route, in the dialect of the list that declares it.", answers: ok("", "GatewayAnswer"), examples: openapi.GatewayExamples(),
			handle: k.asks(target{voice: problem.MLflow, dialect: declared, limited: true}),
		},
		{
			method: "POST", path: "/endpoints/{name}/invocations", named: true, tag: "MLflow", body: "EndpointCall",
			summary: "Ask a route, in MLflow's newer dialect.", answers: ok("", "EndpointAnswer"), examples: openapi.EndpointExamples(),
			handle: k.asks(target{voice: problem.MLflow, dialect: newer, limited: true}),
		},
		{
			method: "POST", path: "/v1/embeddings", tag: "OpenAI", body: "OpenAIEmbeddings", answers: ok("", "Vectors"),
			summary: "Embed texts.", handle: k.asks(openai(inference.Embeddings)), examples: openapi.OpenAIEmbeddingsExamples(),
		},
		{
			method: "POST", path: "/v1/chat/completions", tag: "OpenAI", body: "OpenAIChat", answers: ok("", "ChatCompletion"),
			summary: "Continue a conversation.", handle: k.asks(openai(inference.Chat)), examples: openapi.OpenAIChatExamples(),
		},
		{
			method: "POST", path: "/v1/responses", tag: "OpenAI", body: "OpenAIResponses", answers: ok("", "Response"),
			summary: "Ask an agent or a chat model, in OpenAI's newer form.", examples: openapi.OpenAIResponsesExamples(),
			handle: k.asks(target{
				voice: problem.OpenAI, wants: inference.Chat, dialect: func(*inference.Route) dialect.Dialect { return k.dialects.Responses },
			}),
		},
		{
			method: "POST", path: "/v1/completions", tag: "OpenAI", body: "OpenAICompletions", answers: ok("", "Completion"),
			summary: "Complete prompts.", handle: k.asks(openai(inference.Completions)), examples: openapi.OpenAICompletionsExamples(),
		},
		{
			method: "POST", path: "/v1/routes/{name}/invocations", named: true, tag: "Headrace", body: "EndpointCall",
			summary: "Ask a route, in MLflow's newer dialect or, on a raw route, in the model server's own.", answers: ok("", "EndpointAnswer"),
			handle: k.asks(target{voice: problem.Headrace, dialect: own}), examples: openapi.EndpointExamples(),
		},
	}
	for i := range ops {
		op := &ops[i]
		op.answers[0].what, op.answers[0].headers = "The answer.", []string{"Server-Timing", headerBatch, headerRoute}
		op.headers = []string{headerTimeout, headerStainless, headerRequestID}
		op.fails = callFailures()
		switch op.voice() {
		case problem.MLflow:
			op.fails = append(op.fails, fault.RateLimited)
		case problem.OpenAI:
			op.beside = []string{headerDropped}
			op.answers[0].headers = append(op.answers[0].headers, headerDropped)
		case problem.Headrace:
		}
		if k.jobs != nil {
			describeJobs(op)
		}
	}
	return ops
}

// callFailures are the ways in which a call fails.
func callFailures() []fault.Code {
	return []fault.Code{
		fault.NotFound, fault.QueueFull, fault.NoWorkers, fault.UpstreamUnavailable, fault.UpstreamTimeout, fault.UpstreamError,
		fault.UpstreamBadResponse, fault.Deadline, fault.NotImplemented, fault.ShuttingDown,
	}
}

func (k *callDesk) asks(path target) handler {
	return func(w *replyWriter, r *http.Request, name string) error {
		c := &call{w: w, r: r, path: path, name: name}
		began := time.Now()
		err := k.invoke(c)
		if err != nil && c.seen.Route != "" {
			err = problem.Later(err, problem.Backlog(k.broker.State(c.seen.Route)))
		}
		if k.observe != nil && c.seen.Route != "" {
			k.observe.Answered(c.answered(began, err))
		}
		k.complain(c, cmp.Or(err, c.broken))
		return err
	}
}

// mlflowLists are the operations that show routes to MLflow's clients, and those it never implemented.
func (t *catalogue) mlflowLists() []operation {
	routes, endpoints := dialect.RoutesListing(), dialect.EndpointsListing()
	paged, unknown, never := []string{"page_token"}, []fault.Code{fault.NotFound}, []fault.Code{fault.NotImplemented}
	one := []openapi.Example{{Name: "embeddings", At: "embeddings"}}
	ops := []operation{
		{
			method: "GET", path: "/api/2.0/gateway/routes/", handle: t.list(routes), summary: "List the routes.",
			params: paged, answers: ok("The routes.", "MLflowRoutes"), fails: []fault.Code{fault.Invalid},
		},
		{
			method: "GET", path: "/api/2.0/gateway/routes/{name}", handle: t.get(routes), summary: "One route.",
			answers: ok("The route.", "MLflowRoute"), fails: unknown, examples: one,
		},
		{
			method: "GET", path: "/api/2.0/endpoints/", handle: t.list(endpoints), summary: "List the endpoints.",
			params: paged, answers: ok("The endpoints.", "MLflowEndpoints"), fails: []fault.Code{fault.Invalid},
		},
		{
			method: "GET", path: "/api/2.0/endpoints/{name}", handle: t.get(endpoints), summary: "One endpoint.",
			answers: ok("The endpoint.", "MLflowEndpoint"), fails: unknown, examples: one,
		},
		{
			method: "GET", path: "/api/3.0/gateway/endpoint/{name}", handle: t.get(endpoints), summary: "One endpoint.",
			answers: ok("The endpoint.", "MLflowEndpoint"), fails: unknown, examples: one,
		},
		{
			method: "GET", path: "/api/3.0/gateway/route/{name}", handle: t.getSplit,
			summary: "One traffic route: a name whose calls are spread over endpoints.",
			answers: ok("The traffic route.", "TrafficRoute"), fails: unknown,
		},
	}
	for _, base := range []string{"/api/2.0/gateway/limits/", "/api/2.0/endpoints/limits/"} {
		ops = append(ops,
			operation{
				method: "GET", path: base + "{name}", handle: t.getLimits, fails: never,
				summary: "Not implemented, as in MLflow's open-source gateway: always 501.",
			},
			operation{
				method: "POST", path: base, handle: t.setLimits, body: "Limits", fails: never,
				summary:  "Not implemented, as in MLflow's open-source gateway: 501 when the body is right.",
				examples: []openapi.Example{{Name: "limits", Body: `{"route": "embeddings", "limits": []}`}},
			},
		)
	}
	for i := range ops {
		ops[i].tag = "MLflow"
	}
	return ops
}

// onlyRoutes tells a configuration of MLflow 2.5 to 2.8.
func onlyRoutes(table *inference.Table) bool {
	for route := range table.All() {
		if route.Family != inference.Routes {
			return false
		}
	}
	return table.Len() > 0
}

func (t *catalogue) noLimits(call string) error {
	if onlyRoutes(t.table.Load()) {
		return fault.New(fault.NotImplemented, "The %s API is not available in OSS MLflow AI Gateway.", call)
	}
	return fault.New(fault.NotImplemented, "The %s API is not available yet.", call)
}

func (t *catalogue) getLimits(_ *replyWriter, _ *http.Request, _ string) error {
	return t.noLimits("get_limits")
}

// setLimits checks the body before it says that it does nothing with it, as MLflow does.
func (t *catalogue) setLimits(w *replyWriter, r *http.Request, _ string) error {
	wait, err := patience(r, t.cfg.SyncTimeout)
	if err != nil {
		return err
	}
	body, err := t.readBody(w, r, deadlineIn(wait))
	defer t.release(body)
	if err != nil {
		return err
	}
	text, err := dialect.Parse(body.bytes, r.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	if err := dialect.CheckLimits(text); err != nil {
		return err
	}
	return t.noLimits("set_limits")
}
