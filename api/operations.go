package api

import (
	"net/http"
	"time"

	"headrace/api/schema"
	"headrace/internal/fault"
	"headrace/internal/inference"
)

// A handler answers one operation; name is the {name} of its path. What it returns is written as an error.
type handler func(w *replyWriter, r *http.Request, name string) error

// operation is one method on one path: what it does and what openapi.json says of it.
type operation struct {
	method  string
	path    string // with {name} at most
	handle  handler
	tag     string
	summary string
	params  []string // of the query
	headers []string // of the request, besides those that every request may have
	body    string   // name of the request body's schema; "" for none
	answers []answer // nil: a success and a failure of which nothing more is said
	// named paths exist only for names of routes.
	named bool
}

// answer is one way in which an operation answers.
type answer struct {
	status int
	what   string
	schema string // name of the body's schema; "" for none that is described
}

// operations lists everything the front end serves, in the order a reader wants.
func (s *Server) operations() []operation {
	ops := s.calls()
	ops = append(ops, s.mlflowLists()...)
	ops = append(ops,
		operation{method: "GET", path: "/v1/models", handle: s.listModels, tag: "OpenAI", summary: "List the routes as models."},
		operation{method: "GET", path: "/v1/models/{name}", handle: s.getModel, tag: "OpenAI", summary: "One route as a model."},
		operation{method: "GET", path: "/v1/routes", handle: s.listViews, tag: "Headrace", summary: "List the routes and how they fare."},
		operation{method: "GET", path: "/v1/routes/{name}", handle: s.getView, tag: "Headrace", summary: "One route and how it fares."},
		operation{method: "GET", path: "/health", handle: s.health, tag: "Operations", summary: "The process lives; MLflow's body."},
		operation{method: "GET", path: "/livez", handle: s.health, tag: "Operations", summary: "The process lives."},
		operation{method: "GET", path: "/readyz", handle: s.ready, tag: "Operations", summary: "Calls are let in and the broker is connected."},
		operation{method: "HEAD", path: "/livez", handle: s.health, tag: "Operations", summary: "The status alone."},
		operation{method: "HEAD", path: "/readyz", handle: s.ready, tag: "Operations", summary: "The status alone."},
		operation{method: "GET", path: "/openapi.json", handle: s.serveOpenAPI, tag: "Operations", summary: "This description."},
		operation{method: "HEAD", path: "/openapi.json", handle: s.serveOpenAPI, tag: "Operations", summary: "Its headers."},
		operation{method: "GET", path: "/docs", handle: s.serveDocs, tag: "Operations", summary: "A page for people, without foreign assets."},
		operation{method: "GET", path: "/redoc", handle: s.serveDocs, tag: "Operations", summary: "The same page, under MLflow's second address for it."},
		operation{method: "HEAD", path: "/redoc", handle: s.serveDocs, tag: "Operations", summary: "Its headers."},
		operation{method: "GET", path: "/favicon.ico", handle: s.serveIcon, tag: "Operations", summary: "The icon."},
		operation{method: "GET", path: "/", handle: s.toDocs, tag: "Operations", summary: "Redirects to the page."},
	)
	if s.jobs != nil {
		ops = append(ops, s.jobOperations()...)
	}
	if s.metrics != nil {
		ops = append(ops, operation{
			method: "GET", path: "/metrics", tag: "Operations", summary: "Metrics in Prometheus' text format.",
			handle: func(w *replyWriter, r *http.Request, _ string) error {
				s.metrics.ServeHTTP(w, r)
				return nil
			},
		})
	}
	return ops
}

// calls are the operations that ask a model.
func (s *Server) calls() []operation {
	newer := func(*inference.Route) dialect { return s.dialects.endpoints }
	own := func(*inference.Route) dialect { return s.dialects.own }
	declared := func(r *inference.Route) dialect {
		if r.Family == inference.Routes {
			return s.dialects.routes
		}
		return s.dialects.endpoints
	}
	openai := func(want inference.Type) target {
		return target{voice: openAIVoice, dialect: func(*inference.Route) dialect { return s.dialects.openai }, wants: want}
	}
	ops := []operation{
		{
			method: "POST", path: "/gateway/{name}/invocations", named: true, tag: "MLflow", body: "GatewayCall",
			summary: "Ask a route, in the dialect of the list that declares it.",
			handle:  s.asks(target{voice: mlflowVoice, dialect: declared, limited: true}),
		},
		{
			method: "POST", path: "/endpoints/{name}/invocations", named: true, tag: "MLflow", body: "EndpointCall",
			summary: "Ask a route, in MLflow's newer dialect.",
			handle:  s.asks(target{voice: mlflowVoice, dialect: newer, limited: true}),
		},
		{
			method: "POST", path: "/v1/embeddings", tag: "OpenAI", body: "OpenAIEmbeddings",
			summary: "Embed texts.", handle: s.asks(openai(inference.Embeddings)),
		},
		{
			method: "POST", path: "/v1/chat/completions", tag: "OpenAI", body: "OpenAIChat",
			summary: "Continue a conversation.", handle: s.asks(openai(inference.Chat)),
		},
		{
			method: "POST", path: "/v1/completions", tag: "OpenAI", body: "OpenAICompletions",
			summary: "Complete prompts.", handle: s.asks(openai(inference.Completions)),
		},
		{
			method: "POST", path: "/v1/routes/{name}/invocations", named: true, tag: "Headrace", body: "EndpointCall",
			summary: "Ask a route, in MLflow's newer dialect or, on a raw route, in the model server's own.",
			handle:  s.asks(target{voice: headraceVoice, dialect: own}),
		},
	}
	if s.jobs != nil {
		for i := range ops {
			ops[i].headers = jobHeaders()
			ops[i].answers = []answer{
				{http.StatusOK, "The answer, in the path's dialect.", ""},
				{http.StatusAccepted, "A durable job, when it was preferred: see its Location.", "Job"},
			}
		}
	}
	return ops
}

func (s *Server) asks(path target) handler {
	return func(w *replyWriter, r *http.Request, name string) error {
		c := &call{w: w, r: r, path: path, name: name}
		began := time.Now()
		err := s.invoke(c)
		if err != nil && c.seen.Route != "" {
			err = later(err, backlogPause(s.broker.State(c.seen.Route)))
		}
		if s.observe != nil && c.seen.Route != "" {
			c.seen.Took, c.seen.Code = time.Since(began), fault.CodeOf(err)
			s.observe.Answered(c.seen)
		}
		s.complain(c, err)
		return err
	}
}

// mlflowLists are the operations that show routes to MLflow's clients, and those it never implemented.
func (s *Server) mlflowLists() []operation {
	const tag = "MLflow"
	routes, endpoints := routesListing(), endpointsListing()
	ops := []operation{
		{method: "GET", path: "/api/2.0/gateway/routes/", handle: s.list(routes), summary: "List the routes."},
		{method: "GET", path: "/api/2.0/gateway/routes/{name}", handle: s.get(routes), summary: "One route."},
		{method: "GET", path: "/api/2.0/endpoints/", handle: s.list(endpoints), summary: "List the endpoints."},
		{method: "GET", path: "/api/2.0/endpoints/{name}", handle: s.get(endpoints), summary: "One endpoint."},
		{method: "GET", path: "/api/3.0/gateway/endpoint/{name}", handle: s.get(endpoints), summary: "One endpoint."},
		{method: "GET", path: "/api/3.0/gateway/route/{name}", handle: s.getSplit, summary: "One traffic route: a name whose calls are spread over endpoints."},
	}
	for _, base := range []string{"/api/2.0/gateway/limits/", "/api/2.0/endpoints/limits/"} {
		ops = append(ops,
			operation{method: "GET", path: base + "{name}", handle: s.getLimits, summary: "Not implemented, as in MLflow's open-source gateway."},
			operation{method: "POST", path: base, handle: s.setLimits, body: "Limits", summary: "Not implemented, as in MLflow's open-source gateway."},
		)
	}
	for i := range ops {
		ops[i].tag = tag
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

func (s *Server) noLimits(call string) error {
	if onlyRoutes(s.table.Load()) {
		return fault.New(fault.NotImplemented, "The %s API is not available in OSS MLflow AI Gateway.", call)
	}
	return fault.New(fault.NotImplemented, "The %s API is not available yet.", call)
}

func (s *Server) getLimits(_ *replyWriter, _ *http.Request, _ string) error {
	return s.noLimits("get_limits")
}

// setLimits checks the body before it says that it does nothing with it, as MLflow does.
func (s *Server) setLimits(w *replyWriter, r *http.Request, _ string) error {
	wait, err := patience(r, s.cfg.SyncTimeout)
	if err != nil {
		return err
	}
	body, err := s.readBody(w, r, deadlineIn(wait))
	defer s.release(body)
	if err != nil {
		return err
	}
	text, err := parse(body.bytes, r.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	limits := &schema.Object{Fields: []schema.Field{
		required("route", schema.String), required("limits", schema.List(schema.Dict, 0)),
	}}
	if _, err := check(limits, text); err != nil {
		return err
	}
	return s.noLimits("set_limits")
}
