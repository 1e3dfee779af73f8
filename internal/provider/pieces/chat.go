package pieces

import (
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/splice"
)

// Chat reads chunks of chat completions and of completions.
type Chat struct {
	raw bool
}

// NewChat makes a reader. raw gives chunks as they came, else they are taken apart.
func NewChat(raw bool) *Chat { return &Chat{raw: raw} }

// Read is part of provider.Pieces. The stream is complete at "[DONE]".
func (c *Chat) Read(_, data string) (pieces []inference.Event, complete bool, err error) {
	switch data {
	case done:
		return nil, true, nil
	case "": // some servers keep a connection alive so
		return nil, false, nil
	}
	raw, fields, err := parsed(data)
	if err != nil {
		return nil, false, err
	}
	if e := fields.Get("error"); e != nil {
		return nil, false, told(e)
	}
	choices := fields.Get("choices")
	if splice.KindOf(choices) != splice.Array && fields.Get("usage") == nil {
		return nil, false, fault.New(fault.UpstreamBadResponse, "an event of the model server's stream has no choices: it is not the chunk of a chat")
	}
	if c.raw {
		return []inference.Event{{Kind: inference.EventRaw, Raw: raw}}, false, nil
	}
	for i, choice := range splice.ListOf(choices) {
		pieces = append(pieces, ofChoice(i, splice.FieldsOf(choice))...)
	}
	if usage := fields.Get("usage"); splice.KindOf(usage) == splice.Object {
		pieces = append(pieces, inference.Event{Kind: inference.EventUsage, Usage: usage})
	}
	return pieces, false, nil
}

// ofChoice takes one choice of a chunk apart.
func ofChoice(i int, choice splice.Fields) (pieces []inference.Event) {
	i = whole(choice.Get("index"), i)
	delta := splice.FieldsOf(choice.Get("delta"))
	for _, said := range [][]byte{delta.Get("content"), choice.Get("text")} {
		if t := str(said); t != nil && len(t) > len(`""`) {
			pieces = append(pieces, inference.Event{Choice: i, Text: t})
		}
	}
	for n, call := range splice.ListOf(delta.Get("tool_calls")) {
		of := splice.FieldsOf(call)
		function := splice.FieldsOf(of.Get("function"))
		pieces = append(pieces, inference.Event{Kind: inference.EventCall, Choice: i, Call: &inference.ToolCall{
			Index: whole(of.Get("index"), n), ID: str(of.Get("id")), Name: str(function.Get("name")), Arguments: str(function.Get("arguments")),
		}})
	}
	if finish := str(choice.Get("finish_reason")); finish != nil {
		pieces = append(pieces, inference.Event{Kind: inference.EventFinish, Choice: i, Finish: finish})
	}
	return pieces
}
