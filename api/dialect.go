package api

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"headrace/api/schema"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/splice"
)

// A dialect is one form of request and reply bodies. Errors have a form of their own, the voice, which depends
// on the path.
type dialect interface {
	// read checks a body, which is JSON, and makes the neutral request of it, all but its id.
	read(route *inference.Route, body parsed) (*asked, error)
	// answer writes the body of a reply.
	answer(out *output, a *asked, res *inference.Result) error
}

// asked is a call that was understood.
type asked struct {
	route   *inference.Route
	request *inference.Request
	// refused is why the call is not run although its body is valid. Unlike an invalid body it counts against
	// the route's limit, as in MLflow.
	refused error
	created time.Time
	base64  bool // OpenAI: embeddings as base64 of float32
	tokens  int  // OpenAI: how many tokens the caller sent, where that is known
	texts   bool // OpenAI: the items are texts, so there must be one answer for each
	// OpenAI: how many choices for each prompt, and how many numbers in each vector, the reply must have; 0: as they come
	choices, dimensions int
	dropped             []string // parameters that had no effect, to be named in the reply
}

// dialects are the dialects there are. They have no state.
type dialects struct {
	routes    *routesDialect
	endpoints *endpointsDialect
	openai    *openAIDialect
	own       *ownDialect
}

func newDialects() dialects {
	newer := newEndpointsDialect()
	return dialects{routes: newRoutesDialect(), endpoints: newer, openai: newOpenAIDialect(), own: &ownDialect{newer}}
}

// parsed is a body that is JSON in UTF-8.
type parsed struct {
	text    []byte
	kind    splice.Kind
	members []splice.Member // of an object, each key once
}

// errUnreadable marks bodies that are no text at all, to which MLflow's gateway answers 400 instead of 422.
var errUnreadable = errors.New("unreadable body")

// parse reads a body as MLflow's gateway does: JSON in UTF-8, UTF-16 or UTF-32. contentType must be JSON's or
// absent.
func parse(body []byte, contentType string) (parsed, error) {
	if len(body) == 0 {
		return parsed{}, invalidBody(fault.Issue{Type: "missing", Msg: "Field required", In: []byte("null")}, "the body is missing")
	}
	if !isJSON(contentType) {
		echo := schema.AppendString(nil, strings.ToValidUTF8(string(body[:min(len(body), schema.MaxEcho)]), "\ufffd"))
		return parsed{}, invalidBody(fault.Issue{
			Type: "model_attributes_type", In: echo,
			Msg: "Input should be a valid dictionary or object to extract fields from",
			Ctx: map[string]any{"hint": "the Content-Type must be application/json; with curl: -H 'Content-Type: application/json'"},
		}, fmt.Sprintf("the Content-Type must be application/json, not %.80q; with curl: -H 'Content-Type: application/json'", contentType))
	}
	text, err := schema.Text(body)
	if err != nil {
		return parsed{}, unreadable(err, err.Error())
	}
	p := parsed{text: text, kind: splice.KindOf(text)}
	if p.kind == splice.Object {
		p.members, err = schema.Members(text)
	} else {
		_, err = splice.Whole(text)
	}
	if err == nil {
		return p, nil
	}
	broken, ok := errors.AsType[*splice.SyntaxError](err)
	if !ok {
		return parsed{}, fault.Wrap(fault.Invalid, err, "the body is an object of too many members; %s", err)
	}
	if strings.HasPrefix(broken.Reason, "nested deeper") {
		return parsed{}, unreadable(err, "the body is "+broken.Error())
	}
	why := schema.Explain(text)
	return parsed{}, invalidBody(fault.Issue{
		Loc: []any{why.Offset}, Type: "json_invalid", Msg: "JSON decode error", In: []byte("{}"),
		Ctx: map[string]any{"error": why.Reason},
	}, "the body is not JSON: "+broken.Error())
}

// unreadable is an error about a body that MLflow says nothing about but that it could not be parsed.
func unreadable(cause error, message string) error {
	e := fault.Wrap(fault.Invalid, errors.Join(errUnreadable, cause), "%s", message)
	e.Detail = []byte(`"There was an error parsing the body"`)
	return e
}

// invalidBody is an error about the body as a whole.
func invalidBody(issue fault.Issue, message string) error {
	e := fault.New(fault.Invalid, "%s", message)
	e.Issues = []fault.Issue{issue}
	return e
}

// isJSON tells application/json and application/…+json, whatever their parameters. A caller who does not say
// means JSON.
func isJSON(contentType string) bool {
	if strings.TrimSpace(contentType) == "" {
		return true
	}
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	kind, sub, ok := strings.Cut(media, "/")
	return ok && kind == "application" && (sub == "json" || strings.HasSuffix(sub, "+json")) && !strings.ContainsAny(sub, ", /")
}

// check runs an object's rules over a body; the error holds every issue.
func check(o *schema.Object, body parsed) (schema.Fields, error) {
	var c schema.Check
	var fields schema.Fields
	if body.kind != splice.Object {
		fields = o.Check(&c, body.text)
	} else {
		fields = o.CheckMembers(&c, body.text, body.members)
	}
	if issues := c.Issues(); issues != nil {
		return fields, invalid(issues)
	}
	return fields, nil
}

// invalid is an error out of issues, of which there is at least one.
func invalid(issues []fault.Issue) error {
	var text strings.Builder
	for i, issue := range issues[:min(len(issues), 5)] {
		if i > 0 {
			text.WriteString("; ")
		}
		if at := dotted(issue.Loc); at != "" {
			text.WriteString(at + ": ")
		}
		text.WriteString(issue.Msg)
	}
	e := fault.New(fault.Invalid, "%s", text.String())
	e.Issues = issues
	if len(issues[0].Loc) > 0 {
		e.Param, _ = issues[0].Loc[0].(string)
	}
	return e
}

// readRaw takes a body for a raw route: it passes as it is, but it has to be an object in JSON.
func readRaw(route *inference.Route, body parsed) (*asked, error) {
	if body.kind != splice.Object {
		return nil, invalidBody(fault.Issue{
			Type: "model_attributes_type", Msg: "Input should be a valid dictionary or object to extract fields from",
		}, "the body must be an object with dataframe_split, dataframe_records, instances or inputs")
	}
	return &asked{route: route, request: &inference.Request{Route: route.Name, Type: inference.Raw, Body: body.text}}, nil
}

// model is the name that replies carry. MLflow knows no answer for a route without a model name.
func (a *asked) model() string {
	if a.route.Model != "" {
		return a.route.Model
	}
	return a.route.Name
}
