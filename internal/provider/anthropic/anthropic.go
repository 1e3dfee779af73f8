// Package anthropic speaks Anthropic's Messages API, for chats and for completions, which are asked as a chat of one message.
//
//	anthropic.go  the call and its header, and what an error means
//	request.go    the members of a call in OpenAI's form, one by one
//	messages.go   its conversation
//	tools.go      its tools, and the format it asks for
//	answer.go     a message as a chat completion, or as a completion
//	stream.go     the events of a message as neutral pieces
//
// It is pure. Values that both forms have in common are moved as the bytes they were written with.
package anthropic

import (
	"net/http"
	"strings"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/provider/vendors"
	"headrace/internal/splice"
)

// Provider translates for Anthropic's API. It has no state.
type Provider struct{}

var (
	_ provider.Provider = (*Provider)(nil)
	_ provider.Streamer = (*Provider)(nil)
)

// New makes a Provider.
func New() *Provider { return &Provider{} }

// Encode makes the call for one request, whose Body is in OpenAI's form. Invalid: Anthropic's form cannot say it; the error
// names the member. What it has no word for is left out and named in Call.Dropped, unless the route refuses such calls.
func (*Provider) Encode(route *inference.Route, req *inference.Request) (provider.Call, error) {
	v := route.Vendor
	switch {
	case req.Type == inference.Embeddings:
		return provider.Call{}, fault.New(fault.NotImplemented, "The embeddings route is not implemented for Anthropic models.")
	case v == nil || splice.KindOf(req.Body) != splice.Object || req.Type == inference.Raw:
		return provider.Call{}, fault.New(fault.Invalid, "the provider %s cannot express this request of the type %s", route.Provider, req.Type)
	}
	c := call{vendor: v, all: splice.FieldsOf(req.Body)}
	if c.all.Get("input") != nil && c.all.Get("messages") == nil && req.Type == inference.Chat {
		return provider.Call{}, wrong("input", "Anthropic's models are not asked in the form of OpenAI's responses; ask at /v1/chat/completions")
	}
	c.out.AddText("model", route.Model)
	c.stream = req.Stream
	if err := c.write(); err != nil {
		return provider.Call{}, err
	}
	if route.RefuseDropped && len(c.dropped) > 0 {
		return provider.Call{}, wrong(c.dropped[0], "%s does not reach the model of route %q, and the route refuses such calls; leave it out",
			strings.Join(c.dropped, ", "), route.Name)
	}
	header := map[string]inference.Secret{"Anthropic-Version": inference.Secret(v.Version)}
	if v.Key != "" {
		header["X-Api-Key"] = v.Key
	}
	made := provider.Call{Path: "messages", ContentType: "application/json", Body: c.out.Bytes(), Header: header, Dropped: c.dropped}
	if req.Stream {
		made.Stream = &provider.StreamLimits{MaxEvent: route.MaxEvent}
	}
	return made, nil
}

// Pieces reads the events of the Messages API as texts, calls of tools, why the answer ended, and what was used.
func (*Provider) Pieces(*inference.Route, *inference.Request, provider.Reply) provider.Pieces {
	return newStream()
}

// wrong is an error about a member of a caller's request.
func wrong(param, format string, args ...any) error {
	e := fault.New(fault.Invalid, format, args...)
	e.Param = param
	return e
}

// Decode judges a reply. The result's Body is the answer in OpenAI's form: a chat completion, or a completion.
func (*Provider) Decode(route *inference.Route, req *inference.Request, reply provider.Reply) (*inference.Result, error) {
	if route.Vendor == nil {
		return nil, fault.New(fault.Internal, "the route %s has no vendor", route.Name)
	}
	if reply.Status >= 400 {
		return nil, failure(route.Vendor, reply)
	}
	top, _, err := vendors.Answer(reply)
	if err != nil {
		return nil, err
	}
	a, err := read(top)
	if err != nil {
		return nil, err
	}
	if req.Type == inference.Completions {
		return &inference.Result{Body: a.completion()}, nil
	}
	return &inference.Result{Body: a.chat()}, nil
}

// failure is an error of Anthropic's, with the way out where the model refuses a parameter that older ones took.
func failure(v *inference.Vendor, reply provider.Reply) error {
	err := vendors.Failure(v, reply)
	e := fault.From(err)
	if reply.Status != http.StatusBadRequest || v.Sampling != inference.SamplingPass {
		return err
	}
	for _, name := range []string{"temperature", "top_p", "top_k"} {
		if strings.Contains(e.Message, name) {
			e.Message += `; the gateway's operator can have it left out: sampling = "drop" in the configuration of the route`
			return e
		}
	}
	return err
}
