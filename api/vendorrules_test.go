package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"headrace/internal/mlflowtest"
)

// vendorRules is the one table of differences from gateways in front of vendors. No exchange is named: every rule is about all
// of a kind.
func vendorRules() []rule {
	return slices.Concat(addressRules(), errorRules(), []rule{
		{
			name: "/v1 speaks OpenAI's dialect, and passes what it does not steer",
			why:  "client libraries show only OpenAI's error object, and send what the vendor knows and MLflow does not",
			where: func(o *outcome) bool {
				return strings.HasPrefix(o.e.Request.Path, "/v1/")
			},
			ours: oursVendorOpenAI,
		},
		{
			name:  "a stream that cannot be had is refused in MLflow 2.8's dialect",
			why:   "2.8.1 asked for it and answered 502 to what came",
			where: func(o *outcome) bool { return o.era == mlflowtest.EraA && truthy(asked(o)["stream"]) },
			ours:  func(o *outcome) string { return oneOf(o, http.StatusUnprocessableEntity) },
		},
		{
			name: "Anthropic's models chat in every dialect",
			why:  "2.8.1 had no chat with them",
			where: func(o *outcome) bool {
				return o.era == mlflowtest.EraA && o.e.Reply.Status == http.StatusNotFound && strings.Contains(deref(o.e.Reply.Body), "not available for Anthropic")
			},
			ours: func(o *outcome) string { return oneOf(o, http.StatusOK, http.StatusNotImplemented) },
		},
		{
			name:  "completions of Anthropic's models are asked at its Messages API",
			why:   "no model of today is behind the old one",
			where: func(o *outcome) bool { return anthropics(o) && strings.HasSuffix(o.e.Endpoint, "completions") },
			ours:  oursAnthropicCompletion,
		},
		{
			name: "a single stop text is taken",
			why:  "OpenAI takes it",
			where: func(o *outcome) bool {
				_, text := asked(o)["stop"].(string)
				return text && o.e.Reply.Status == http.StatusUnprocessableEntity
			},
			ours: func(o *outcome) string { return oneOf(o, http.StatusOK) },
		},
		{
			name: "members and schemas that MLflow has no word for reach the vendor",
			why:  "tools lost their nested schemas, messages their names, parts their marks for the cache, without a word",
			where: func(o *outcome) bool {
				return !anthropics(o) && o.got.status == http.StatusOK && onlyConversation(o)
			},
			ours: oursUnchanged,
		},
		{
			name: "options of a stream go with a stream alone",
			why:  "OpenAI refuses them elsewhere",
			where: func(o *outcome) bool {
				return asked(o)["stream_options"] != nil && !truthy(asked(o)["stream"]) && !anthropics(o) && o.got.status == http.StatusOK
			},
			ours: func(o *outcome) string { return sentWithout(o, append(newer(o), "stream_options")...) },
		},
		{
			name:  "Anthropic is told what a conversation says, and not a part of it",
			why:   "texts beside calls, results of several tools, images by address and limits to tools were lost or refused",
			where: func(o *outcome) bool { return anthropics(o) && o.e.Sent != nil && o.got.status == http.StatusOK },
			ours:  oursAnthropicChat,
		},
		{
			name: "what Anthropic cannot be told is refused, with the member's name",
			why:  "MLflow left it out without a word, or sent it in OpenAI's form, which Anthropic refuses",
			where: func(o *outcome) bool {
				return anthropics(o) && o.got.status == http.StatusUnprocessableEntity
			},
			ours: func(o *outcome) string { return oneOf(o, http.StatusUnprocessableEntity) },
		},
		{
			name: "an answer is complete and free of what a model thought",
			why:  "2.22.4 and 3.17.2 mixed thinking into the text, and told a refusal as a plain end",
			where: func(o *outcome) bool {
				return o.got.status == http.StatusOK && o.e.Reply.Status == http.StatusOK && sameSent(o)
			},
			ours: oursAnswer,
		},
		{
			name: "endpoints follow 3.17.2 where 2.22.4 has less",
			why:  "a caller cannot say which version it was written for, and 3.17.2 is where MLflow itself went",
			where: func(o *outcome) bool {
				return o.era == mlflowtest.EraB
			},
			ours: oursNewerVendor,
		},
	})
}

// addressRules are about where a call goes and who asks.
func addressRules() []rule {
	return []rule{
		{
			name: "a route whose model has no name is refused when the configuration is read",
			why:  "MLflow asked for the model null",
			where: func(o *outcome) bool {
				return strings.Contains(o.e.Endpoint, "noname") && !strings.Contains(o.e.Endpoint, "azure")
			},
			ours: func(*outcome) string { return "" },
		},
		{
			name: "a key has no blanks and no line break around it",
			why:  "the line break of a file was sent, and every call failed",
			where: func(o *outcome) bool {
				return slices.ContainsFunc([]string{"filenl", "space", "emptykey"}, func(s string) bool { return strings.Contains(o.e.Endpoint, s) })
			},
			ours: func(o *outcome) string {
				if key := string(o.call.Header["Authorization"]) + string(o.call.Header["X-Api-Key"]); strings.ContainsAny(key, "\r\n") || strings.Contains(key, "  ") || strings.HasSuffix(key, " ") {
					return "the key has blanks"
				}
				return oneOf(o, http.StatusOK)
			},
		},
		{
			name: "api-version is the version",
			why:  "2.8.1 sent the word True",
			where: func(o *outcome) bool {
				return o.era == mlflowtest.EraA && strings.Contains(o.e.SentPath, "api-version=True")
			},
			ours: func(o *outcome) string {
				if o.path != strings.Replace(o.e.SentPath, "True", "2024-02-01", 1) {
					return "it goes to " + o.path
				}
				return oneOf(o, http.StatusOK)
			},
		},
		{
			name: "redirects of a vendor are never followed",
			why:  "a POST must not turn into a GET, nor travel to another host with its key",
			where: func(o *outcome) bool {
				return o.e.Upstream != nil && o.e.Upstream.Status >= 300 && o.e.Upstream.Status < 400
			},
			ours: func(o *outcome) string { return oneOf(o, http.StatusBadGateway) },
		},
	}
}

// errorRules are about failures.
func errorRules() []rule {
	return []rule{
		{
			name: "a refusal of the gateway's own key is 502, without the vendor's text",
			why:  "the text quotes parts of the key, and no caller can mend it",
			where: func(o *outcome) bool {
				return o.e.Upstream != nil && (o.e.Upstream.Status == http.StatusUnauthorized || o.e.Upstream.Status == http.StatusForbidden)
			},
			ours: func(o *outcome) string {
				if strings.HasPrefix(o.e.Request.Path, "/v1/") {
					return status(o, http.StatusUnprocessableEntity)
				}
				if text, _ := dig(o.e.Upstream.Text, "error", "message").(string); len(text) > 4 && strings.Contains(string(o.got.body), text) {
					return "it has the vendor's text"
				}
				return oneOf(o, http.StatusBadGateway)
			},
		},
		{
			name: "an error keeps its status whatever its body is",
			why:  "a proxy's 429 or 503 in HTML became 502, or a bare 500",
			where: func(o *outcome) bool {
				return o.e.Upstream != nil && o.e.Upstream.Status >= 400 && !strings.HasPrefix(o.e.Request.Path, "/v1/") && o.e.Reply.Status != o.e.Upstream.Status
			},
			ours: func(o *outcome) string { return oneOf(o, o.e.Upstream.Status) },
		},
		{
			name: "media types are compared without case",
			why:  "HTTP says so",
			where: func(o *outcome) bool {
				return o.e.Reply.Status == http.StatusBadGateway && o.e.Upstream != nil && strings.EqualFold(deref(o.e.Upstream.ContentType), "application/json")
			},
			ours: func(o *outcome) string { return oneOf(o, http.StatusOK) },
		},
		{
			name: "a vendor's broken answer is 502",
			why:  "MLflow answered 400, as if the caller had been wrong",
			where: func(o *outcome) bool {
				return o.e.Reply.Status == http.StatusBadRequest && o.e.Upstream != nil && o.e.Upstream.Status == http.StatusOK
			},
			ours: func(o *outcome) string { return oneOf(o, http.StatusBadGateway) },
		},
		{
			name: "what is refused in MLflow's dialects is 422",
			why:  "2.8.1 answered 400 to a parameter that it answers 422 to on chats",
			where: func(o *outcome) bool {
				return o.e.Reply.Status == http.StatusBadRequest && o.e.Upstream == nil && !strings.HasPrefix(o.e.Request.Path, "/v1/")
			},
			ours: func(o *outcome) string { return oneOf(o, http.StatusUnprocessableEntity) },
		},
		{
			name: "a bare 500 is the status that says what is wrong, or the answer",
			why:  "the caller learns whether it can mend it, the vendor can, or neither",
			where: func(o *outcome) bool {
				return o.e.Reply.Status == http.StatusInternalServerError && deref(o.e.Reply.Body) == "Internal Server Error" && !strings.HasPrefix(o.e.Request.Path, "/v1/")
			},
			ours: oursVendorBare500,
		},
	}
}

// oursVendorBare500 derives the status from what the vendor did. An answer that is one is passed.
func oursVendorBare500(o *outcome) string {
	u := o.e.Upstream
	switch {
	case u == nil:
		return oneOf(o, http.StatusUnprocessableEntity, http.StatusOK)
	case u.Fault != "":
		return oneOf(o, http.StatusServiceUnavailable)
	case u.Status >= 400:
		return oneOf(o, u.Status)
	}
	if said := vendorTexts(o); len(said) > 0 {
		if got := answers(o.got.body); o.got.status != http.StatusOK || len(got)+len(candidates(o.got.body)) == 0 {
			return "the vendor's answer does not reach the caller"
		}
		return ""
	}
	return oneOf(o, http.StatusBadGateway, http.StatusOK)
}

// oursVendorOpenAI checks a reply of /v1 against what the recorded gateway meant.
func oursVendorOpenAI(o *outcome) string {
	if o.got.status >= 400 {
		if wrong := openAIErrorWrong(o); wrong != "" {
			return wrong
		}
	}
	u, want := o.e.Upstream, o.e.Reply.Status
	switch {
	case o.e.Request.Path == "/v1/models":
		return status(o, http.StatusOK)
	case u == nil && want >= 400:
		return status(o, http.StatusBadRequest, http.StatusNotFound, http.StatusOK)
	case u != nil && u.Status >= 400:
		return status(o, openAIStatus(u.Status))
	case u != nil && !strings.Contains(deref(u.ContentType), "json"):
		return status(o, http.StatusUnprocessableEntity)
	case o.got.status != http.StatusOK:
		return "it is not answered"
	}
	if said, got := vendorTexts(o), answers(o.got.body); !slices.Equal(said, got) {
		return fmt.Sprintf("it answers %v, not %v", got, said)
	}
	return sentWithout(o, "n", "temperature", "max_tokens")
}

// sentWithout says what differs between what was sent and what was recorded, in members other than some. Blank texts, parts and
// the members of messages and tools are not looked at.
func sentWithout(o *outcome, names ...string) string {
	if strings.HasSuffix(o.e.SentPath, "/complete") {
		return ""
	}
	got, _ := decoded(o.sent).(map[string]any)
	want, _ := decoded([]byte(deref(o.e.Sent))).(map[string]any)
	for _, name := range append(names, "messages", "tools") {
		delete(got, name)
		delete(want, name)
	}
	if !sameValue(got, want) {
		return fmt.Sprintf("it sends %v, not %v", got, want)
	}
	return ""
}

// oursAnthropicCompletion checks that the Messages API is asked for what the old API was.
func oursAnthropicCompletion(o *outcome) string {
	switch {
	case o.call == nil:
		return oneOf(o, http.StatusUnprocessableEntity, http.StatusNotImplemented)
	case o.e.Sent == nil:
		return oneOf(o, http.StatusOK, http.StatusUnprocessableEntity)
	case !strings.HasSuffix(o.path, "/messages") || string(o.call.Header["Anthropic-Version"]) == "":
		return "it goes to " + o.path
	}
	got, _ := decoded(o.sent).(map[string]any)
	want, _ := decoded([]byte(*o.e.Sent)).(map[string]any)
	text, _ := asked(o)["prompt"].(string)
	if fmt.Sprint(got["messages"]) != fmt.Sprint([]any{map[string]any{"role": "user", "content": text}}) {
		return "it does not ask the prompt"
	}
	limit := asked(o)["max_tokens"]
	if limit == nil {
		limit = asked(o)["max_tokens_to_sample"]
	}
	if limit == nil {
		limit = 8192.0
	}
	if fmt.Sprint(got["max_tokens"]) != fmt.Sprint(limit) || !sameValue(got["stop_sequences"], want["stop_sequences"]) || !sameValue(got["top_k"], want["top_k"]) {
		return "it asks for something else"
	}
	if _, own := asked(o)["temperature"]; own && !sameValue(got["temperature"], want["temperature"]) {
		return "it has another temperature"
	}
	if o.e.Upstream.Fault != "" || o.e.Upstream.Status >= 400 {
		return ""
	}
	text, _ = dig(o.e.Upstream.Text, "completion").(string)
	said := append(answers(o.got.body), candidates(o.got.body)...)
	if dig(o.e.Upstream.Text, "completion") != nil && !slices.Equal(said, []string{text}) {
		return fmt.Sprintf("it answers %q", said)
	}
	return ""
}

// onlyConversation says that a call differs from the recorded one in its messages or tools at most.
func onlyConversation(o *outcome) bool {
	body := asked(o)
	_, talks := body["messages"]
	return talks && o.e.Sent != nil && !sameJSON(o.sent, []byte(*o.e.Sent)) && sentWithout(o) == "" ||
		talks && o.e.Reply.Status == http.StatusUnprocessableEntity && slices.Equal(slices.Compact(issueNames([]byte(deref(o.e.Reply.Body)))), []string{"tools"})
}

// oursUnchanged checks that messages and tools are sent as they came, but for members that are null.
func oursUnchanged(o *outcome) string {
	got, _ := decoded(o.sent).(map[string]any)
	for _, name := range []string{"messages", "tools"} {
		if !sameValue(withoutNulls(got[name]), withoutNulls(asked(o)[name])) {
			return fmt.Sprintf("it sends other %s: %v", name, got[name])
		}
	}
	return ""
}

// oursAnthropicChat checks that every text, call and result of a conversation is in what Anthropic is told, and that the other
// members are as recorded, but for those that OpenAI alone knows.
func oursAnthropicChat(o *outcome) string {
	sent := string(encodedJSON(decoded(o.sent)))
	for _, text := range textsIn(asked(o)["messages"]) {
		if !strings.Contains(sent, strings.Trim(string(encodedJSON(text)), `"`)) {
			return fmt.Sprintf("it does not say %q", text)
		}
	}
	but := []string{"system", "tool_choice", "metadata"}
	for name := range asked(o) {
		if slices.Contains([]string{"user", "seed", "presence_penalty", "frequency_penalty", "parallel_tool_calls", "stream_options", "max_completion_tokens", "response_format", "candidate_count"}, name) {
			but = append(but, name)
		}
	}
	if o.era == mlflowtest.EraB {
		but = append(but, newer(o)...)
	}
	return sentWithout(o, but...)
}

// newer are the members of a recorded call in which 2.22.4 differs by itself: a temperature and a limit without having been asked,
// and what it did not translate.
func newer(o *outcome) []string {
	but := []string{"tool_choice", "response_format", "output_config"}
	for _, name := range []string{"temperature", "max_tokens", "max_completion_tokens"} {
		if asked(o)[name] == nil || name == "max_completion_tokens" {
			but = append(but, name)
		}
	}
	if asked(o)["max_completion_tokens"] != nil {
		but = append(but, "max_tokens")
	}
	return but
}

// oursAnswer checks an answer by its texts.
func oursAnswer(o *outcome) string {
	said, got := vendorTexts(o), append(answers(o.got.body), candidates(o.got.body)...)
	if !slices.Equal(said, got) {
		return fmt.Sprintf("it answers %q, not %q", got, said)
	}
	return ""
}

// oursNewerVendor checks that what is sent and answered is what 2.22.4 meant.
func oursNewerVendor(o *outcome) string {
	switch {
	case o.got.status == http.StatusUnprocessableEntity && o.e.Reply.Status == http.StatusOK:
		return onlyTyped(o)
	case o.got.status == http.StatusOK && o.e.Reply.Status == http.StatusUnprocessableEntity:
		for _, name := range issueNames([]byte(deref(o.e.Reply.Body))) {
			if name != "temperature" && name != "tools" && name != "messages" {
				return name + " was refused"
			}
		}
		return ""
	case o.got.status == http.StatusUnprocessableEntity && o.e.Reply.Status == o.got.status:
		ours, theirs := issueNames(o.got.body), issueNames([]byte(deref(o.e.Reply.Body)))
		slices.Sort(ours)
		slices.Sort(theirs)
		if slices.Equal(ours, theirs) {
			return "" // the order of the parameters is 3.17.2's
		}
		return "it refuses something else"
	case o.got.status != o.e.Reply.Status:
		return "another status"
	}
	if o.e.Sent != nil {
		if wrong := sentWithout(o, newer(o)...); wrong != "" {
			return wrong
		}
	}
	if o.got.status != http.StatusOK {
		return bodyDiffers(o)
	}
	return oursAnswer(o)
}
