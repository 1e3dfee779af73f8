package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
)

func encodedJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return text
}

// asked is the body of a recorded request.
func asked(o *outcome) map[string]any {
	body, _ := decoded([]byte(deref(o.e.Request.Text))).(map[string]any)
	return body
}

func truthy(v any) bool { return v == true || v == "true" || v == 1.0 }

// anthropics says that an exchange is with a model of Anthropic's.
func anthropics(o *outcome) bool {
	return strings.HasPrefix(o.e.Endpoint, "ant-") && !strings.HasPrefix(o.e.Request.Path, "/v1/")
}

// dig follows keys into a text in JSON.
func dig(text string, keys ...string) any {
	v := decoded([]byte(text))
	for _, key := range keys {
		object, _ := v.(map[string]any)
		v = object[key]
	}
	return v
}

func sameSent(o *outcome) bool { return o.e.Sent != nil && sameJSON(o.sent, []byte(*o.e.Sent)) }

// candidates lists the texts or vectors of a reply of MLflow 2.8's dialect.
func candidates(body []byte) []string {
	var reply struct {
		Candidates []struct {
			Text    string
			Message struct{ Content string }
		}
		Embeddings []any
	}
	if json.Unmarshal(body, &reply) != nil {
		return nil
	}
	var all []string
	for _, c := range reply.Candidates {
		all = append(all, c.Text+c.Message.Content)
	}
	for _, e := range reply.Embeddings {
		all = append(all, fmt.Sprint(e))
	}
	return all
}

// vendorTexts lists the texts or vectors of a vendor's recorded answer: those that are meant for callers.
func vendorTexts(o *outcome) []string {
	if o.e.Upstream == nil {
		return nil
	}
	top, _ := decoded([]byte(o.e.Upstream.Text)).(map[string]any)
	if text, ok := top["completion"].(string); ok && strings.HasSuffix(o.e.Endpoint, "completions") {
		return []string{text}
	}
	if blocks, ok := top["content"].([]any); ok {
		var text strings.Builder
		for _, block := range blocks {
			b, _ := block.(map[string]any)
			if words, isText := b["text"].(string); isText && b["type"] == "text" {
				text.WriteString(words)
			}
		}
		return []string{text.String()}
	}
	if text, ok := top["content"].(string); ok {
		return []string{text}
	}
	choices, _ := top["choices"].([]any)
	var all []string
	for _, c := range choices {
		choice, _ := c.(map[string]any)
		message, _ := choice["message"].(map[string]any)
		text, ok := message["content"].(string)
		if !ok {
			text, _ = choice["text"].(string)
		}
		all = append(all, text)
	}
	rows, _ := top["data"].([]any)
	for _, r := range rows {
		if row, _ := r.(map[string]any); row["embedding"] != nil {
			all = append(all, fmt.Sprint(row["embedding"]))
		}
	}
	return all
}

// withoutNulls drops members that are null, at every depth.
func withoutNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any)
		for key, value := range v {
			if value != nil {
				out[key] = withoutNulls(value)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, value := range v {
			out[i] = withoutNulls(value)
		}
		return out
	}
	return v
}

// textsIn lists the texts, and the names and ids of calls, in a conversation.
func textsIn(v any) []string {
	var all []string
	switch v := v.(type) {
	case map[string]any:
		for _, key := range []string{"content", "text", "id", "name", "tool_call_id"} {
			_, tool := v["arguments"]
			if text, ok := v[key].(string); ok && text != "" && (key != "name" || tool) {
				all = append(all, text)
			}
		}
		for _, value := range v {
			all = append(all, textsIn(value)...)
		}
	case []any:
		for _, value := range v {
			all = append(all, textsIn(value)...)
		}
	}
	return all
}
