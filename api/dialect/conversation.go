package dialect

import (
	"bytes"
	"strings"
	"text/template"

	"headrace/api/schema"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/splice"
)

// maxPrompt bounds what a route's template may make of a conversation, in bytes for each byte of it.
const maxPrompt = 8

// Turn is one message as a route's chat template sees it.
type Turn struct {
	Role    string // "system", "user", "assistant", ...
	Content string // the text; of a list of parts the texts one after the other
}

// Conversation is what a route's chat template is executed on: {{range .Messages}}{{.Role}}: {{.Content}}{{end}}.
type Conversation struct {
	Messages []Turn
}

// prompt renders a conversation into the one text that a served model takes, as JSON. Without a template a
// single message stands for itself, several become lines of "role: content".
func (d *openAIDialect) prompt(route *inference.Route, messages []byte) ([]byte, error) {
	turns, err := splice.Elements(messages)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "messages")
	}
	if len(turns) == 1 && route.ChatTemplate == "" {
		return d.single(turns[0])
	}
	talk := Conversation{Messages: make([]Turn, 0, len(turns))}
	for i, turn := range turns {
		role, content := d.fields(turn)
		said, ok := flatten(content)
		if !ok {
			return nil, invalid([]fault.Issue{{
				Loc: []any{"messages", i, "content"}, Type: "value_error", Msg: "only text can be rendered into one prompt for this route",
			}})
		}
		name, err := splice.Unquote(role)
		if err != nil {
			return nil, fault.Wrap(fault.Internal, err, "role")
		}
		talk.Messages = append(talk.Messages, Turn{Role: name, Content: said})
	}
	text, err := render(route, talk, len(messages))
	if err != nil {
		return nil, err
	}
	return schema.AppendString(nil, text), nil
}

// single is the content of the only message, in its own bytes.
func (d *openAIDialect) single(turn []byte) ([]byte, error) {
	_, content := d.fields(turn)
	switch splice.KindOf(content) {
	case splice.String:
		return content, nil
	case splice.Array:
		if text, ok := flatten(content); ok {
			return schema.AppendString(nil, text), nil
		}
		return schema.Clean(content), nil
	case splice.Invalid, splice.Null, splice.Bool, splice.Number, splice.NonFinite, splice.Object:
	}
	return nil, invalid([]fault.Issue{{
		Loc: []any{"messages", 0, "content"}, Type: "missing", Msg: "a message without content asks nothing",
	}})
}

// fields are the raw role and content of a checked message.
func (d *openAIDialect) fields(turn []byte) (role, content []byte) {
	members, err := schema.Members(turn)
	if err != nil {
		return nil, nil
	}
	for _, m := range members {
		switch m.Key {
		case "role":
			role = m.Value
		case "content":
			content = m.Value
		}
	}
	return role, content
}

// flatten is the text of a message's content; false when it holds something else than text.
func flatten(content []byte) (string, bool) {
	switch splice.KindOf(content) {
	case splice.String:
		text, err := splice.Unquote(content)
		return text, err == nil
	case splice.Array:
		return flattenParts(content)
	case splice.Invalid, splice.Null: // absent: a call of tools, for example
		return "", true
	case splice.Bool, splice.Number, splice.NonFinite, splice.Object:
	}
	return "", false
}

func flattenParts(content []byte) (string, bool) {
	parts, err := splice.Elements(content)
	if err != nil {
		return "", false
	}
	var all strings.Builder
	for _, part := range parts {
		members, err := schema.Members(part)
		if err != nil {
			return "", false
		}
		text, ok := "", false
		for _, m := range members {
			if m.Key == "text" && splice.KindOf(m.Value) == splice.String {
				text, err = splice.Unquote(m.Value)
				ok = err == nil
			}
		}
		if !ok {
			return "", false
		}
		all.WriteString(text)
	}
	return all.String(), true
}

// render executes the route's template, or writes "role: content" lines.
func render(route *inference.Route, talk Conversation, size int) (string, error) {
	if route.ChatTemplate == "" {
		lines := make([]string, 0, len(talk.Messages))
		for _, turn := range talk.Messages {
			lines = append(lines, turn.Role+": "+turn.Content)
		}
		return strings.Join(lines, "\n"), nil
	}
	parsed, err := template.New(route.Name).Option("missingkey=error").Parse(route.ChatTemplate)
	if err != nil {
		return "", fault.Wrap(fault.Internal, err, "the chat template of the route %s", route.Name)
	}
	prompt := bounded{room: maxPrompt * (size + len(route.ChatTemplate) + 1024)}
	if err := parsed.Execute(&prompt, talk); err != nil {
		return "", fault.Wrap(fault.Internal, err, "the chat template of the route %s", route.Name)
	}
	return prompt.String(), nil
}

// bounded is a buffer that takes no more than its room.
type bounded struct {
	bytes.Buffer

	room int
}

// Write refuses what does not fit.
func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.room {
		return 0, bytes.ErrTooLarge
	}
	return b.Buffer.Write(p)
}
