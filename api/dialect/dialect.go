package dialect

import (
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/splice"
)

// A Dialect is one form of request and reply bodies. It has no state and may be used concurrently. Errors have a form of their own, the voice, which depends
// on the path.
type Dialect interface {
	// Read checks a body, which is JSON, and makes the neutral request of it, all but its id. The request shares the
	// bytes of the body. Errors are *fault.Error and name the member that is wrong.
	Read(route *inference.Route, body Body) (*Asked, error)
	// Answer writes the body of a reply. The result must stay unchanged until out was written.
	Answer(out *Output, a *Asked, res *inference.Result) error
}

// Asked is a call that was understood.
type Asked struct {
	Route   *inference.Route
	Request *inference.Request // its ID is the caller's to set
	// Refused is why the call is not run although its body is valid. Unlike an invalid body it counts against
	// the route's limit, as in MLflow.
	Refused error
	// Dropped are parameters that had no effect, to be named in the reply.
	Dropped []string

	// Stream says that the caller wants a stream; its dialect is a Streamer.
	Stream bool

	usage   bool // OpenAI: the stream is to tell the usage at its end
	created time.Time
	base64  bool // OpenAI: embeddings as base64 of float32
	tokens  int  // OpenAI: how many tokens the caller sent, where that is known
	texts   bool // OpenAI: the items are texts, so there must be one answer for each
	// OpenAI: how many choices for each prompt, and how many numbers in each vector, the reply must have; 0: as they come
	choices, dimensions int
}

// Set has every dialect.
type Set struct {
	Routes    Dialect // MLflow 2.5 to 2.8
	Endpoints Dialect // MLflow 2.9 and later
	OpenAI    Dialect // OpenAI, under /v1
	Responses Dialect // OpenAI's /v1/responses
	Own       Dialect // Headrace's own paths
}

// New makes the rules of every dialect.
func New() Set {
	newer := newEndpointsDialect()
	openAI := newOpenAIDialect()
	return Set{Routes: newRoutesDialect(), Endpoints: newer, OpenAI: openAI, Responses: newResponsesDialect(openAI), Own: &ownDialect{newer}}
}

// readRaw takes a body for a raw route: it passes as it is, but it has to be an object in JSON.
func readRaw(route *inference.Route, body Body) (*Asked, error) {
	if body.kind != splice.Object {
		return nil, invalidBody(fault.Issue{
			Type: "model_attributes_type", Msg: "Input should be a valid dictionary or object to extract fields from",
		}, "the body must be an object with dataframe_split, dataframe_records, instances or inputs")
	}
	return &Asked{Route: route, Request: &inference.Request{Route: route.Name, Type: inference.Raw, Body: body.text}}, nil
}

// model is the name that replies carry. MLflow knows no answer for a route without a model name.
func (a *Asked) model() string {
	if a.Route.Model != "" {
		return a.Route.Model
	}
	return a.Route.Name
}
