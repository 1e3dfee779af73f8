package mlflow

import (
	"net/http"
	"strings"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/provider/mlflow/native"
	"headrace/internal/provider/pieces"
)

var (
	_ provider.Former   = (*Provider)(nil)
	_ provider.Streamer = (*Provider)(nil)
)

// Form is the route's format. A route that says "responses" is asked as AgentServer, which takes tools, until the server
// turns out to be a ResponsesAgent's.
func (*Provider) Form(route *inference.Route) (form string, ask, settled bool) {
	switch route.Format {
	case inference.FormatInputs, inference.FormatChat, inference.FormatCompletions, inference.FormatEmbeddings, inference.FormatAgent:
		return string(route.Format), false, true
	case inference.FormatResponses:
		return string(native.AgentServer), false, true
	case inference.FormatAuto:
		return string(native.Inputs), true, false
	}
	return string(native.Inputs), false, route.Type == inference.Raw
}

// Fits says whether a route can ask in a form. A format that the configuration names leaves no choice, but for the two
// kinds of servers of responses.
func (p *Provider) Fits(route *inference.Route, form string) bool {
	own, _, settled := p.Form(route)
	if route.Format == inference.FormatResponses {
		return form == string(native.Responses) || form == string(native.AgentServer)
	}
	if settled {
		return form == own
	}
	return native.Form(form).Fits(route.Type)
}

// EncodeAs makes the call for one request in a form.
func (*Provider) EncodeAs(route *inference.Route, req *inference.Request, form string) (provider.Call, error) {
	if native.Form(form) == native.Inputs || req.Type == inference.Raw {
		return encodeRows(route, req)
	}
	if !native.Form(form).Fits(req.Type) {
		return provider.Call{}, fault.New(fault.Invalid,
			"the model server of route %q wants the format %q, in which a route of the type %s cannot ask", route.Name, form, req.Type)
	}
	ask, err := native.Encode(native.Form(form), req)
	if err == nil && native.Form(form) == native.Completions && req.Type == inference.Chat {
		ask.Dropped, err = textOnly(route, req)
	}
	if err != nil {
		return provider.Call{}, err
	}
	call := provider.Call{Path: path, ContentType: "application/json", Body: ask.Body, Dropped: ask.Dropped}
	if req.Stream && native.Form(form) == native.AgentServer { // `mlflow models serve` has no streams, and some models refuse the word
		call.Body, call.Stream = native.Streamed(call.Body), &provider.StreamLimits{MaxEvent: route.MaxEvent}
	}
	return dropping(route, call)
}

// Pieces reads the events of an AgentServer.
func (*Provider) Pieces(_ *inference.Route, req *inference.Request, _ provider.Reply) provider.Pieces {
	return pieces.NewResponses(native.IsResponses(req))
}

// encodeRows asks with `inputs`, which cannot say all that a caller of a chat may ask for.
func encodeRows(route *inference.Route, req *inference.Request) (provider.Call, error) {
	if req.Type != inference.Chat || req.Body == nil {
		return encodeInputs(req)
	}
	lost, err := textOnly(route, req)
	if err != nil {
		return provider.Call{}, err
	}
	call, err := encodeInputs(req)
	if err != nil {
		return call, err
	}
	call.Dropped = lost
	return dropping(route, call)
}

// textOnly is what a conversation loses when its model takes one text, or why that will not do.
func textOnly(route *inference.Route, req *inference.Request) ([]string, error) {
	lost, err := native.Unsayable(req)
	if err == nil && len(req.Items) == 0 {
		err = fault.New(fault.Invalid, "the model of route %q takes one text, and this conversation cannot be written as one", route.Name)
	}
	return lost, err
}

// dropping refuses a call that does not say all that it was asked to, where the route wants that.
func dropping(route *inference.Route, call provider.Call) (provider.Call, error) {
	if !route.RefuseDropped || len(call.Dropped) == 0 {
		return call, nil
	}
	name, _, _ := strings.Cut(call.Dropped[0], " ")
	e := fault.New(fault.Invalid, "%s does not reach the model of route %q, and the route refuses such calls; leave it out",
		strings.Join(call.Dropped, ", "), route.Name)
	e.Param = name
	return provider.Call{}, e
}

// Wanted is the form that a refusal names, or what an AgentServer says of itself.
func (*Provider) Wanted(reply provider.Reply) (form string, refused bool) {
	if native.IsAgent(reply.Status, reply.Body) {
		return string(native.AgentServer), false
	}
	if named, ok := native.Names(reply.Status, reply.Body); ok {
		return string(named), true
	}
	means, ok := native.Means(reply.Body)
	return "", ok && reply.Status == http.StatusBadRequest && !means.Raised
}

// Probe asks an AgentServer for its name, and then for the refusal that shows a signature.
func (*Provider) Probe() []provider.Call {
	return []provider.Call{
		{Method: http.MethodGet, Path: native.InfoPath, ContentType: "application/json"},
		{Path: path, ContentType: "application/json", Body: native.Probe()},
	}
}

// decodeNative reads an answer in a native form.
func decodeNative(req *inference.Request, reply provider.Reply) (*inference.Result, error) {
	if reply.Status >= 300 {
		return nil, fault.New(fault.UpstreamBadResponse,
			"the model server answered %s, and redirects are not followed; set model_server_url to the address it points to", status(reply))
	}
	return native.Decode(native.Form(reply.Form), req, reply.Body)
}

// judged adds to an error what a refusal of MLflow's means: what the model raised, or which member does not fit.
func judged(e *fault.Error, reply provider.Reply) *fault.Error {
	means, ok := native.Means(reply.Body)
	switch {
	case !ok:
	case means.Raised && reply.Status == http.StatusBadRequest:
		e.Raised = true
		e.Message = "the model raised an exception: " + means.Why
	case reply.Status == http.StatusBadRequest:
		e.Param = means.Param
		e.Message = "the model server refused the request: " + means.Why
	case means.Why != "":
		e.Message = "the model server answered " + status(reply) + ": " + means.Why
	}
	return e
}
