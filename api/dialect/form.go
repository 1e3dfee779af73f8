package dialect

import (
	"time"

	"headrace/internal/inference"
	"headrace/internal/job"
)

// Form is how the result of a job is written: what of Asked and of the route the dialects need for it. It is stored
// with the job, so the result can be read when the route has changed or gone.
type Form struct {
	Dialect string           `json:"dialect"` // routes, endpoints, openai or responses
	Type    inference.Type   `json:"type"`
	Family  inference.Family `json:"family"`
	Model   string           `json:"model,omitempty"`
	Created time.Time        `json:"created"`
	Base64  bool             `json:"base64,omitempty"`
	Tokens  int              `json:"tokens,omitempty"`
	Texts   bool             `json:"texts,omitempty"`
	Items   int              `json:"items,omitempty"` // how many the request has

	Choices    int `json:"choices,omitempty"`
	Dimensions int `json:"dimensions,omitempty"`
}

// FormOf is the form of a call that d has read. Our own dialect writes as MLflow's newer one does.
func FormOf(all Set, d Dialect, a *Asked) Form {
	f := Form{
		Dialect: "endpoints", Type: a.Request.Type, Family: a.Route.Family, Model: a.Route.Model,
		Created: a.created.UTC(), Base64: a.base64, Tokens: a.tokens, Texts: a.texts, Items: len(a.Request.Items),
		Choices: a.choices, Dimensions: a.dimensions,
	}
	switch d {
	case all.Routes:
		f.Dialect = "routes"
	case all.OpenAI:
		f.Dialect = "openai"
	case all.Responses:
		f.Dialect = "responses"
	}
	return f
}

// Restore makes the dialect, and as much of Asked as its answer needs.
func (f Form) Restore(all Set, rec *job.Record) (Dialect, *Asked) {
	a := &Asked{
		Route:   &inference.Route{Name: rec.Route, Provider: rec.Provider, Type: rec.Type, Family: f.Family, Model: f.Model},
		Request: &inference.Request{ID: rec.RequestID, Route: rec.Route, Type: f.Type, Items: make([][]byte, f.Items)}, created: f.Created,
		base64: f.Base64, tokens: f.Tokens, texts: f.Texts, choices: f.Choices, dimensions: f.Dimensions,
	}
	switch f.Dialect {
	case "routes":
		return all.Routes, a
	case "openai":
		return all.OpenAI, a
	case "responses":
		return all.Responses, a
	}
	return all.Endpoints, a
}
