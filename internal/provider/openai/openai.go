// Package openai speaks OpenAI's API: to OpenAI, to Azure's models of OpenAI, and to every server that speaks it.
//
// A request carries the call in OpenAI's own form; only its model is set, and all other members pass as the bytes that they
// were written with, in both directions.
package openai

import (
	"net/url"
	"slices"
	"sort"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/provider/pieces"
	"headrace/internal/provider/vendors"
	"headrace/internal/splice"
)

// Provider translates for OpenAI's API. It has no state.
type Provider struct{}

var (
	_ provider.Provider = (*Provider)(nil)
	_ provider.Streamer = (*Provider)(nil)
)

// New makes a Provider.
func New() *Provider { return &Provider{} }

// Encode makes the call for one request, whose Body is in OpenAI's form. Invalid: it has no such body.
func (*Provider) Encode(route *inference.Route, req *inference.Request) (provider.Call, error) {
	v := route.Vendor
	if v == nil || splice.KindOf(req.Body) != splice.Object {
		return provider.Call{}, fault.New(fault.Invalid, "the provider %s cannot express this request of the type %s", route.Provider, req.Type)
	}
	all := splice.FieldsOf(req.Body)
	path := ""
	switch req.Type {
	case inference.Chat:
		path = "chat/completions"
		if IsResponses(all) {
			path = "responses"
		}
	case inference.Completions:
		path = "completions"
		if v.CompletionsByChat {
			path = "chat/completions"
			var err error
			if all, err = asChat(all); err != nil {
				return provider.Call{}, err
			}
		}
	case inference.Embeddings:
		path = "embeddings"
	case inference.Raw:
		return provider.Call{}, fault.New(fault.Invalid, "the provider %s has no route of the type %s", route.Provider, req.Type)
	}
	if req.Stream {
		all = append(all, splice.Member{Key: "stream", Value: []byte("true")})
	} else { // its receiver refuses it then
		all = slices.DeleteFunc(all, func(m splice.Member) bool { return m.Key == "stream_options" })
	}
	call := provider.Call{ContentType: "application/json", Body: withModel(v, route.Model, all), Header: header(v), Path: path}
	if v.Deployment != "" && v.Azure != "" {
		call.Path = "openai/deployments/" + v.Deployment + "/" + path
	}
	if req.Stream && req.Type != inference.Embeddings {
		call.Stream = &provider.StreamLimits{MaxEvent: route.MaxEvent}
	}
	if v.Version != "" {
		call.Query = "api-version=" + url.QueryEscape(v.Version)
	}
	return call, nil
}

// Pieces reads chunks of chats and completions, and events of responses. They pass as they came, unless texts are asked as a
// chat.
func (*Provider) Pieces(route *inference.Route, req *inference.Request, _ provider.Reply) provider.Pieces {
	if req.Type == inference.Chat && IsResponses(splice.FieldsOf(req.Body)) {
		return pieces.NewResponses(true)
	}
	return pieces.NewChat(req.Type == inference.Chat || !route.Vendor.CompletionsByChat)
}

// IsResponses tells a call of OpenAI's responses from one of a chat.
func IsResponses(all splice.Fields) bool {
	return all.Get("input") != nil && all.Get("messages") == nil
}

// withModel is the body with the route's model first. A deployment of Azure's stands in the path instead.
func withModel(v *inference.Vendor, model string, all splice.Fields) []byte {
	var o splice.ObjectWriter
	if v.Deployment == "" || v.Azure == "" {
		o.AddText("model", model)
	}
	for _, m := range all {
		if m.Key != "model" {
			o.Add(m.Key, m.Value)
		}
	}
	return o.Bytes()
}

// asChat asks a prompt as a chat of one message.
func asChat(all splice.Fields) (splice.Fields, error) {
	prompt := all.Get("prompt")
	if list := splice.ListOf(prompt); len(list) == 1 && splice.KindOf(list[0]) == splice.String {
		prompt = list[0]
	}
	if splice.KindOf(prompt) != splice.String {
		e := fault.New(fault.Invalid, "prompt must be one text: the model of this route is asked as a chat")
		e.Param = "prompt"
		return nil, e
	}
	var turn splice.ObjectWriter
	turn.AddText("role", "user")
	turn.Add("content", prompt)
	var chat splice.Fields
	for _, m := range all {
		switch m.Key {
		case "messages":
		case "prompt":
			chat = append(chat, splice.Member{Key: "messages", Value: splice.ListWith(turn.Bytes())})
		default:
			chat = append(chat, m)
		}
	}
	return chat, nil
}

// header are the credentials.
func header(v *inference.Vendor) map[string]inference.Secret {
	h := make(map[string]inference.Secret)
	switch {
	case v.Key == "":
	case v.Azure == inference.AzureKey:
		h["Api-Key"] = v.Key
	default:
		h["Authorization"] = "Bearer " + v.Key
	}
	if v.Organization != "" {
		h["OpenAI-Organization"] = inference.Secret(v.Organization)
	}
	return h
}

// Decode judges a reply. The result's Body is the answer in OpenAI's form, of the type that was asked.
func (*Provider) Decode(route *inference.Route, req *inference.Request, reply provider.Reply) (*inference.Result, error) {
	if route.Vendor == nil {
		return nil, fault.New(fault.Internal, "the route %s has no vendor", route.Name)
	}
	if reply.Status >= 400 {
		return nil, vendors.Failure(route.Vendor, reply)
	}
	top, body, err := vendors.Answer(reply)
	if err != nil {
		return nil, err
	}
	if req.Type == inference.Embeddings {
		return embeddings(top, body)
	}
	if req.Type == inference.Chat && IsResponses(splice.FieldsOf(req.Body)) {
		if top.Get("output") == nil {
			return nil, vendors.Lacks("output")
		}
		return &inference.Result{Body: body}, nil
	}
	if splice.KindOf(top.Get("choices")) != splice.Array {
		return nil, vendors.Lacks("choices")
	}
	choices := splice.ListOf(top.Get("choices"))
	if req.Type == inference.Completions {
		return completions(top, body, choices)
	}
	return &inference.Result{Body: body}, nil
}

// completions makes texts of choices that are messages: what a chat answers, and some servers to completions as well.
func completions(top splice.Fields, body []byte, choices [][]byte) (*inference.Result, error) {
	changed := false
	for i, c := range choices {
		of := splice.FieldsOf(c)
		message := splice.FieldsOf(of.Get("message"))
		if message == nil {
			continue
		}
		changed = true
		text := message.Get("content")
		if text == nil {
			text = of.Get("text")
		}
		if text == nil {
			text = []byte(`""`)
		}
		var o splice.ObjectWriter
		o.Add("text", text)
		for _, m := range of {
			if m.Key != "message" && m.Key != "text" {
				o.Add(m.Key, m.Value)
			}
		}
		choices[i] = o.Bytes()
	}
	if !changed {
		return &inference.Result{Body: body}, nil
	}
	var o splice.ObjectWriter
	for _, m := range top {
		switch m.Key {
		case "choices":
			o.Add(m.Key, splice.ListWith(choices...))
		case "object":
			o.AddText(m.Key, "text_completion")
		default:
			o.Add(m.Key, m.Value)
		}
	}
	return &inference.Result{Body: o.Bytes()}, nil
}

// embeddings puts the rows into the order of their index: callers take them by their place.
func embeddings(top splice.Fields, body []byte) (*inference.Result, error) {
	if splice.KindOf(top.Get("data")) != splice.Array {
		return nil, vendors.Lacks("data")
	}
	rows := splice.ListOf(top.Get("data"))
	at := make([]int64, len(rows))
	for i, row := range rows {
		of := splice.FieldsOf(row)
		if of.Get("embedding") == nil {
			return nil, fault.New(fault.UpstreamBadResponse, "row %d of the answer of the model's vendor has no embedding", i)
		}
		if at[i] = int64(i); splice.KindOf(of.Get("index")) == splice.Number {
			at[i] = splice.IntOf(of.Get("index"))
		}
	}
	if sort.SliceIsSorted(at, func(i, j int) bool { return at[i] < at[j] }) {
		return &inference.Result{Body: body}, nil
	}
	order := make([]int, len(rows))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(i, j int) bool { return at[order[i]] < at[order[j]] })
	sorted := make([][]byte, len(rows))
	for i, from := range order {
		sorted[i] = rows[from]
	}
	return &inference.Result{Body: vendors.With(top, "data", splice.ListWith(sorted...))}, nil
}
