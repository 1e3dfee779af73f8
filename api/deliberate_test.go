package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"headrace/internal/mlflowtest"
	"headrace/internal/sse"
)

// A rule is one deliberate difference from the recorded gateways.
type rule struct {
	name string
	why  string // what a user gets from it
	// where tells the exchanges that may differ by this rule; the first rule of the table that fits counts.
	where func(o *outcome) bool
	// ours says what is wrong with a reply that differs by this rule; "" when it is as intended.
	ours func(o *outcome) string
}

// deliberate is the one table of differences. No exchange is named: every rule is about all of a kind.
func deliberate() []rule {
	return []rule{
		{
			name: "token ids are refused on /v1 where the route's model takes text",
			why:  "MLflow hands the numbers to the model of texts, which embeds the first one alone and says nothing",
			where: func(o *outcome) bool {
				return strings.HasPrefix(o.e.Request.Path, "/v1/") && o.got.status == http.StatusBadRequest &&
					strings.Contains(string(o.got.body), "holds token ids")
			},
			ours: func(o *outcome) string {
				var body struct{ Input, Prompt []any }
				if err := json.Unmarshal([]byte(deref(o.e.Request.Text)), &body); err != nil {
					return err.Error()
				}
				for _, item := range append(body.Input, body.Prompt...) {
					if _, text := item.(string); text {
						return "it asked with text"
					}
				}
				return openAIErrorWrong(o)
			},
		},
		{
			name:  "/v1 speaks OpenAI's dialect, whatever MLflow's version",
			why:   "client libraries show only OpenAI's error object, add usage up, and know 404 model_not_found",
			where: func(o *outcome) bool { return strings.HasPrefix(o.e.Request.Path, "/v1/") },
			ours:  oursOpenAI,
		},
		{
			name: "every route can be reached in every dialect",
			why:  "2.8.1 had no /endpoints",
			where: func(o *outcome) bool {
				return o.era == mlflowtest.EraA && strings.HasPrefix(o.e.Request.Path, "/endpoints/")
			},
			ours: func(o *outcome) string {
				return oneOf(o, http.StatusOK, http.StatusTemporaryRedirect, http.StatusUnprocessableEntity)
			},
		},
		{
			name: "pages and pictures are our own",
			why:  "the page needs no CDN",
			where: func(o *outcome) bool {
				return slices.Contains([]string{"/docs", "/redoc", "/openapi.json", "/favicon.ico"}, o.e.Request.Path) && o.e.Reply.Status == http.StatusOK
			},
			ours: func(o *outcome) string {
				if o.got.header.Get("Content-Type") != deref(o.e.Reply.ContentType) {
					return "another content type"
				}
				return oneOf(o, http.StatusOK)
			},
		},
		{
			name:  "a method that HTTP does not know is one the path does not allow",
			why:   "the reply names the methods that are allowed, as JSON",
			where: func(o *outcome) bool { return o.e.Request.Method != strings.ToUpper(o.e.Request.Method) },
			ours:  func(o *outcome) string { return oneOf(o, http.StatusMethodNotAllowed) },
		},
		{
			name: "a body without Content-Type is JSON",
			why:  "MLflow's older frameworks took it so, and its clients rely on it",
			where: func(o *outcome) bool {
				return o.e.Reply.Status == http.StatusUnprocessableEntity && contentType(o) == ""
			},
			ours: func(o *outcome) string { return oneOf(o, http.StatusOK) },
		},
		{
			name:  "a stream that cannot be had is 501",
			why:   "3.17.2 begins a 200 and breaks the connection",
			where: func(o *outcome) bool { return strings.HasPrefix(deref(o.e.Reply.ContentType), "text/event-stream") },
			ours:  func(o *outcome) string { return oneOf(o, http.StatusNotImplemented) },
		},
		{
			name:  "redirects of a model server are never followed",
			why:   "a POST must not turn into a GET, nor travel to another host with its headers",
			where: func(o *outcome) bool { return o.e.SentMore != nil },
			ours:  func(o *outcome) string { return oneOf(o, http.StatusBadGateway) },
		},
		{
			name: "an object with several keys may hold choices or candidates, whatever the version",
			why:  "a model keeps working when its route moves between the two lists",
			where: func(o *outcome) bool {
				return o.e.Reply.Status == http.StatusBadGateway && strings.Contains(deref(o.e.Reply.Body), "The dict format is invalid") && o.got.status == http.StatusOK
			},
			ours: func(o *outcome) string {
				if text := o.e.Upstream.Text; !strings.Contains(text, `"choices"`) && !strings.Contains(text, `"candidates"`) {
					return "neither key is there"
				}
				return ""
			},
		},
		{
			name: "a bare 500 is the status that says what is wrong",
			why:  "the caller learns whether it can mend it, the model server can, or neither",
			where: func(o *outcome) bool {
				return o.e.Reply.Status == http.StatusInternalServerError && deref(o.e.Reply.Body) == "Internal Server Error"
			},
			ours: oursBare500,
		},
		{
			name: "endpoints follow 3.17.2 where 2.22.4 has less: no default temperature, typed parameters, provider",
			why:  "a caller cannot say which version it was written for, and 3.17.2 is where MLflow itself went; served models drop what they do not know",
			where: func(o *outcome) bool {
				return o.era == mlflowtest.EraB
			},
			ours: oursNewer,
		},
	}
}

// oneOf checks the status, and that a failure says something.
func oneOf(o *outcome, statuses ...int) string {
	if !slices.Contains(statuses, o.got.status) {
		return fmt.Sprintf("the status must be one of %v", statuses)
	}
	if o.got.status >= 400 && o.e.Request.Method != http.MethodHead {
		var body struct{ Detail any }
		if json.Unmarshal(o.got.body, &body) != nil || body.Detail == nil || body.Detail == "" {
			return "it has no detail"
		}
	}
	return ""
}

func contentType(o *outcome) string {
	for name, value := range o.e.Request.Headers {
		if strings.EqualFold(name, "content-type") {
			return value
		}
	}
	return ""
}

// oursBare500 derives the status from what the model server did.
func oursBare500(o *outcome) string {
	u := o.e.Upstream
	switch {
	case u == nil:
		return oneOf(o, http.StatusUnprocessableEntity)
	case u.Fault == "hang":
		return oneOf(o, http.StatusGatewayTimeout)
	case u.Fault != "":
		return oneOf(o, http.StatusServiceUnavailable)
	case u.Status >= 400:
		return oneOf(o, u.Status)
	case strings.Contains(o.e.Endpoint, "noname"):
		// MLflow finds no model name to answer with; the route's stands in for it.
		return oneOf(o, http.StatusOK)
	case strings.Contains(u.Text, `\ud`):
		// Lone surrogates are legal JSON and pass as they came.
		return oneOf(o, http.StatusOK)
	}
	return oneOf(o, http.StatusBadGateway)
}

// oursNewer compares with what 3.17.2 would have made of a recording of 2.22.4.
func oursNewer(o *outcome) string {
	newer := *o.e
	if o.e.Sent != nil {
		newer.Sent = newerSent(o)
	}
	if o.e.Reply.Status == http.StatusOK && o.e.Reply.Body != nil {
		var body map[string]any
		if json.Unmarshal([]byte(*o.e.Reply.Body), &body) == nil && body["object"] == "chat.completion" {
			body["provider"] = "mlflow-model-serving"
			if text, err := json.Marshal(body); err == nil {
				newer.Reply.Body = new(string(text))
			}
		}
	}
	adjusted := *o
	adjusted.e = &newer
	differs := differences(&adjusted)
	switch {
	case len(differs) == 0:
		return ""
	case o.got.status == http.StatusUnprocessableEntity && o.e.Reply.Status == http.StatusOK:
		return onlyTyped(o)
	case o.got.status == http.StatusOK && o.e.Reply.Status == http.StatusUnprocessableEntity:
		if names := issueNames([]byte(deref(o.e.Reply.Body))); slices.Equal(names, []string{"temperature"}) {
			return "" // it may be null since 3.9
		}
	case o.got.status == http.StatusUnprocessableEntity && o.e.Reply.Status == o.got.status:
		ours, theirs := issueNames(o.got.body), issueNames([]byte(deref(o.e.Reply.Body)))
		slices.Sort(ours)
		slices.Sort(theirs)
		if slices.Equal(ours, theirs) {
			return "" // the order of the parameters is 3.17.2's
		}
	}
	return strings.Join(differs, "; ")
}

// newerSent takes the default temperature out of what was sent.
func newerSent(o *outcome) *string {
	var asked, sent map[string]json.RawMessage
	var params map[string]json.RawMessage
	if json.Unmarshal([]byte(*o.e.Sent), &sent) != nil || json.Unmarshal(sent["params"], &params) != nil {
		return o.e.Sent
	}
	_ = json.Unmarshal([]byte(deref(o.e.Request.Text)), &asked)
	if _, own := asked["temperature"]; own || string(params["temperature"]) != "0.0" {
		return o.e.Sent
	}
	delete(params, "temperature")
	text, err := json.Marshal(params)
	if err != nil {
		return o.e.Sent
	}
	sent["params"] = text
	whole, err := json.Marshal(sent)
	if err != nil {
		return o.e.Sent
	}
	return new(string(whole))
}

// issueNames lists the members that a list of issues is about.
func issueNames(body []byte) []string {
	var list struct{ Detail []struct{ Loc []any } }
	if json.Unmarshal(body, &list) != nil {
		return nil
	}
	var names []string
	for _, d := range list.Detail {
		if len(d.Loc) > 1 {
			names = append(names, fmt.Sprint(d.Loc[1]))
		}
	}
	return names
}

// onlyTyped checks that nothing is refused but parameters that 3.17.2 knows and 2.22.4 does not.
func onlyTyped(o *outcome) string {
	typed := []string{
		"max_completion_tokens", "stream_options", "response_format", "top_p", "presence_penalty", "frequency_penalty", "top_k", "tool_choice",
	}
	for _, name := range issueNames(o.got.body) {
		if !slices.Contains(typed, name) {
			return name + " is no new parameter"
		}
	}
	return ""
}

// oursOpenAI checks a reply of /v1 against what the recorded gateway meant.
func oursOpenAI(o *outcome) string {
	want := o.e.Reply.Status
	if o.got.status >= 400 && o.e.Request.Method != http.MethodHead {
		if wrong := openAIErrorWrong(o); wrong != "" {
			return wrong
		}
	}
	switch {
	case o.got.header.Get("Content-Type") == sse.ContentType:
		if !strings.HasSuffix(string(o.got.body), "data: [DONE]\n\n") {
			return "a stream without its end"
		}
		return status(o, http.StatusOK)
	case o.e.Request.Path == "/v1/models":
		return status(o, http.StatusOK)
	case o.e.Request.Path == "/v1/responses": // MLflow's gateway has no such path
		return status(o, http.StatusOK, http.StatusBadRequest, http.StatusNotFound)
	case o.era == mlflowtest.EraA:
		return status(o, http.StatusOK, http.StatusBadRequest, http.StatusNotFound)
	case want == http.StatusOK && o.got.status == http.StatusOK:
		return answersDiffer(o)
	case want == http.StatusUnprocessableEntity:
		// A list of prompts and a conversation are fine here, a missing Content-Type is JSON.
		return status(o, http.StatusBadRequest, http.StatusOK)
	case o.e.Upstream != nil && o.e.Upstream.Fault != "":
		return status(o, http.StatusServiceUnavailable, http.StatusGatewayTimeout)
	case want == http.StatusInternalServerError && o.e.Upstream == nil:
		return status(o, http.StatusBadRequest, http.StatusNotFound, http.StatusOK)
	case want == http.StatusInternalServerError && strings.Contains(deref(o.e.Request.Text), "noname"):
		return status(o, http.StatusOK)
	case want == http.StatusInternalServerError:
		return status(o, http.StatusUnprocessableEntity)
	case want == http.StatusBadRequest && o.e.Upstream == nil:
		return status(o, http.StatusBadRequest, http.StatusNotFound)
	case o.e.Upstream != nil:
		return status(o, openAIStatus(want))
	}
	return status(o, want)
}

// openAIStatus is what stands on /v1 for a status of MLflow's gateway that cannot be mended by repeating the call, nor
// by another key or model of the caller's.
func openAIStatus(recorded int) int {
	switch recorded {
	case http.StatusBadGateway, http.StatusUnauthorized, http.StatusForbidden, http.StatusMethodNotAllowed:
		return http.StatusUnprocessableEntity
	case http.StatusNotImplemented:
		return http.StatusBadRequest
	}
	return recorded
}

func status(o *outcome, statuses ...int) string {
	if !slices.Contains(statuses, o.got.status) {
		return fmt.Sprintf("the status must be one of %v", statuses)
	}
	return ""
}

// openAIErrorWrong checks the form of an error.
func openAIErrorWrong(o *outcome) string {
	var body struct {
		Error map[string]any `json:"error"`
	}
	if err := json.Unmarshal(o.got.body, &body); err != nil {
		return err.Error()
	}
	if keys := slices.Sorted(maps.Keys(body.Error)); !slices.Equal(keys, []string{"code", "message", "param", "type"}) {
		return fmt.Sprintf("the error has the members %v", keys)
	}
	if body.Error["message"] == "" || body.Error["type"] == "" {
		return "the error says nothing"
	}
	return ""
}

// answersDiffer compares what two replies answer, and what was sent but for what steers only OpenAI's service.
func answersDiffer(o *outcome) string {
	if got, want := answers(o.got.body), answers([]byte(deref(o.e.Reply.Body))); !slices.Equal(got, want) && !strings.Contains(deref(o.e.Request.Text), "base64") {
		return fmt.Sprintf("it answers %v, not %v", got, want)
	}
	var got, want map[string]any
	if json.Unmarshal(o.sent, &got) != nil || json.Unmarshal([]byte(deref(o.e.Sent)), &want) != nil {
		return "nothing was sent"
	}
	params, _ := want["params"].(map[string]any)
	for _, key := range []string{"user", "encoding_format"} {
		delete(params, key)
	}
	if o.era == mlflowtest.EraB && !strings.Contains(deref(o.e.Request.Text), "temperature") {
		delete(params, "temperature")
	}
	if len(params) == 0 {
		delete(want, "params")
	}
	if !sameValue(got, want) {
		return fmt.Sprintf("it sends %v, not %v", got, want)
	}
	return ""
}

// answers lists the texts or vectors of a reply, as JSON.
func answers(body []byte) []string {
	var reply struct {
		Choices []struct {
			Text    string
			Message struct{ Content string }
		}
		Data []struct{ Embedding any }
	}
	if json.Unmarshal(body, &reply) != nil {
		return nil
	}
	var all []string
	for _, c := range reply.Choices {
		all = append(all, c.Text+c.Message.Content)
	}
	for _, d := range reply.Data {
		all = append(all, fmt.Sprint(d.Embedding))
	}
	return all
}
