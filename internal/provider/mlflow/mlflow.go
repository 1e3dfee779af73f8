// Package mlflow speaks the format of MLflow's scoring server, the one behind `mlflow models serve`.
//
// Requests become POST /invocations with `inputs` and `params`, as MLflow's AI Gateway sends them. Replies are
// judged as the gateway judges them; where its versions disagree everything is accepted that one of them
// accepts. Items travel as the bytes they came in: nothing is decoded and encoded again.
package mlflow

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/provider/mlflow/native"
	"headrace/internal/splice"
)

// Name is the provider's name in a configuration, in canonical spelling.
const Name = "mlflow-model-serving"

const path = "invocations"

// Provider translates for MLflow model servers, plain or MLServer. It has no state.
type Provider struct{}

var _ provider.Provider = (*Provider)(nil)

// New makes a Provider.
func New() *Provider { return &Provider{} }

// Encode makes the call for one request in the route's format, and in `inputs` where the route does not say.
func (p *Provider) Encode(route *inference.Route, req *inference.Request) (provider.Call, error) {
	form, _, _ := p.Form(route)
	return p.EncodeAs(route, req, form)
}

// encodeInputs makes the call as MLflow's gateway did: the items as `inputs`, the parameters, when there are any, as
// `params`; on a raw route the caller's body as it came.
func encodeInputs(req *inference.Request) (provider.Call, error) {
	call := provider.Call{Path: path, ContentType: "application/json"}
	switch req.Type {
	case inference.Raw:
		call.Body = req.Body
		return call, nil
	case inference.Completions, inference.Chat, inference.Embeddings:
		call.Body = invocation(req)
		return call, nil
	}
	return provider.Call{}, fault.New(fault.Invalid, "the provider %s cannot express a request of type %q", Name, req.Type)
}

func invocation(req *inference.Request) []byte {
	const opening, between, closing = `{"inputs":[`, `],"params":`, `]}`
	size := int(req.Size()) + len(req.Items) + len(opening) + len(between) + len(closing)
	body := append(make([]byte, 0, size), opening...)
	for i, item := range req.Items {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, item...)
	}
	if !hasParams(req.Params) {
		return append(body, closing...)
	}
	body = append(append(body, between...), req.Params...)
	return append(body, '}')
}

// hasParams tells an object with members from nil, {} and null.
func hasParams(params []byte) bool {
	trimmed := bytes.TrimSpace(params)
	if len(trimmed) < 2 || trimmed[0] != '{' {
		return false
	}
	return len(bytes.TrimSpace(trimmed[1:len(trimmed)-1])) > 0
}

// Decode judges a reply. Any status below 400 counts as an answer, as in MLflow, which follows no redirects.
func (*Provider) Decode(route *inference.Route, req *inference.Request, reply provider.Reply) (*inference.Result, error) {
	media := mediaOf(reply.ContentType)
	if media == mediaOther {
		return nil, unsupportedMedia(reply)
	}
	reply.Body = inUTF8(reply)
	if reply.Status >= 400 {
		return nil, failure(reply, media)
	}
	if media == mediaText {
		return nil, textInsteadOfJSON(req, reply)
	}
	if !utf8.Valid(reply.Body) {
		return nil, notJSON(reply, "it is not UTF-8")
	}
	if native.Form(reply.Form) != native.Inputs && reply.Form != "" {
		return decodeNative(req, reply)
	}
	switch req.Type {
	case inference.Raw:
		return decodeRaw(route, reply)
	case inference.Completions, inference.Chat:
		return decodeTexts(route, req, reply)
	case inference.Embeddings:
		return decodeEmbeddings(route, req, reply)
	}
	return nil, fault.New(fault.Invalid, "the provider %s cannot read a reply to a request of type %q", Name, req.Type)
}

type media int

const (
	mediaOther media = iota
	mediaJSON
	mediaText
)

// mediaOf sorts a Content-Type as MLflow does, by what it contains, in small letters.
func mediaOf(contentType string) media {
	switch {
	case strings.Contains(contentType, "application/json"):
		return mediaJSON
	case strings.Contains(contentType, "text/plain"):
		return mediaText
	}
	return mediaOther
}

// decodeRaw lets the model server's own body through, once it is legal JSON.
func decodeRaw(route *inference.Route, reply provider.Reply) (*inference.Result, error) {
	if reply.Status >= 300 {
		return nil, fault.New(fault.UpstreamBadResponse,
			"the model server answered %s, and redirects are not followed; set model_server_url to the address it points to", status(reply))
	}
	v, err := splice.Whole(reply.Body)
	if err != nil {
		return nil, notJSON(reply, err.Error())
	}
	if !v.NonFinite {
		return &inference.Result{Body: reply.Body}, nil
	}
	if route.NaNError {
		return nil, nonFinite(rawRow(v.Raw))
	}
	return &inference.Result{Body: splice.Nulled(reply.Body)}, nil
}

// rawRow finds the first element of predictions that holds NaN; -1 when it stands elsewhere.
func rawRow(body []byte) int {
	p, err := locate(body, 0)
	if err != nil {
		return -1
	}
	for i, e := range p.elements {
		if e.NonFinite {
			return i
		}
	}
	return -1
}
