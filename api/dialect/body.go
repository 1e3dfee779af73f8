package dialect

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"headrace/api/schema"
	"headrace/internal/fault"
	"headrace/internal/splice"
)

// Body is a request body that was read and is JSON in UTF-8.
type Body struct {
	text    []byte
	kind    splice.Kind
	members []splice.Member // of an object, each key once
}

// Has reports whether the body is an object with the member key.
func (p Body) Has(key string) bool {
	return slices.ContainsFunc(p.members, func(m splice.Member) bool { return m.Key == key })
}

// ErrUnreadable marks bodies that are no text at all, to which MLflow's gateway answers 400 instead of 422.
var ErrUnreadable = errors.New("unreadable body")

// Parse reads a body as MLflow's gateway does: JSON in UTF-8, UTF-16 or UTF-32. contentType must be JSON's or
// absent. The Body shares the bytes of body. Errors are *fault.Error with the code Invalid.
func Parse(body []byte, contentType string) (Body, error) {
	if len(body) == 0 {
		return Body{}, invalidBody(fault.Issue{Type: "missing", Msg: "Field required", In: []byte("null")}, "the body is missing")
	}
	if !isJSON(contentType) {
		echo := schema.AppendString(nil, strings.ToValidUTF8(string(body[:min(len(body), schema.MaxEcho)]), "\ufffd"))
		return Body{}, invalidBody(fault.Issue{
			Type: "model_attributes_type", In: echo,
			Msg: "Input should be a valid dictionary or object to extract fields from",
			Ctx: map[string]any{"hint": "the Content-Type must be application/json; with curl: -H 'Content-Type: application/json'"},
		}, fmt.Sprintf("the Content-Type must be application/json, not %.80q; with curl: -H 'Content-Type: application/json'", contentType))
	}
	text, err := schema.Text(body)
	if err != nil {
		return Body{}, unreadable(err, err.Error())
	}
	p := Body{text: text, kind: splice.KindOf(text)}
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
		return Body{}, fault.Wrap(fault.Invalid, err, "the body is an object of too many members; %s", err)
	}
	if strings.HasPrefix(broken.Reason, "nested deeper") {
		return Body{}, unreadable(err, "the body is "+broken.Error())
	}
	why := schema.Explain(text)
	return Body{}, invalidBody(fault.Issue{
		Loc: []any{why.Offset}, Type: "json_invalid", Msg: "JSON decode error", In: []byte("{}"),
		Ctx: map[string]any{"error": why.Reason},
	}, "the body is not JSON: "+broken.Error())
}

// unreadable is an error about a body that MLflow says nothing about but that it could not be parsed.
func unreadable(cause error, message string) error {
	e := fault.Wrap(fault.Invalid, errors.Join(ErrUnreadable, cause), "%s", message)
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
func check(o *schema.Object, body Body) (schema.Fields, error) {
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

// Within says of an error about a body that the body stands in the member of another one.
func Within(member string, err error) error {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Code != fault.Invalid {
		return err
	}
	var issues []fault.Issue
	for _, issue := range f.Issues {
		issue.Loc = append([]any{member}, issue.Loc...)
		issues = append(issues, issue)
	}
	if f.Param != "" && len(issues) > 0 { // its message lists the issues
		e := fault.From(invalid(issues))
		e.Param = member + "." + f.Param
		return e
	}
	e := fault.Wrap(fault.Invalid, f, "%s: %s", member, f.Message)
	e.Issues, e.Param = issues, member
	return e
}

// dotted is a path for people: messages[0].content.
func dotted(loc []any) string {
	var text strings.Builder
	for _, step := range loc {
		switch step := step.(type) {
		case string:
			if text.Len() > 0 {
				text.WriteByte('.')
			}
			text.WriteString(step)
		default:
			fmt.Fprintf(&text, "[%v]", step)
		}
	}
	return text.String()
}
