package native

import (
	"bytes"
	"slices"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/splice"
)

// Ask is a call in a model server's form.
type Ask struct {
	Body    []byte
	Dropped []string // members of the caller's request that do not reach the model
}

// Encode writes a request in the form f, which is not Inputs. Errors are *fault.Error of the code Invalid and name the
// member that cannot be said in that form.
func Encode(f Form, req *inference.Request) (Ask, error) {
	var lost dropped
	var body []byte
	var err error
	switch f {
	case Chat, Agent, Conversations:
		body, err = encodeChat(f, callerOf(req), &lost)
	case Responses, AgentServer:
		body, err = encodeResponses(f, callerOf(req), &lost)
	case Completions:
		body = encodeCompletions(req, &lost)
	case Embeddings:
		body = encodeEmbeddings(req, &lost)
	case Inputs:
		err = fault.New(fault.Internal, "the form inputs is not native")
	}
	return Ask{Body: body, Dropped: lost}, err
}

// caller is a call as it was made.
type caller struct {
	members   splice.Fields
	responses bool // in the form of OpenAI's responses, else of chat
}

// IsResponses says that a request was made in the form of OpenAI's responses.
func IsResponses(req *inference.Request) bool { return callerOf(req).responses }

// callerOf takes a request apart. One without a body has texts and parameters only.
func callerOf(req *inference.Request) caller {
	if req.Body != nil {
		all := splice.FieldsOf(req.Body)
		return caller{all, all.Get("input") != nil && all.Get("messages") == nil}
	}
	var turns [][]byte
	for _, item := range req.Items {
		var o splice.ObjectWriter
		o.Add("role", []byte(`"user"`))
		o.Add("content", item)
		turns = append(turns, o.Bytes())
	}
	return caller{members: append(splice.Fields{{Key: "messages", Value: splice.ListWith(turns...)}}, splice.FieldsOf(req.Params)...)}
}

// conversation is what a caller's messages or input say.
func (c caller) conversation() ([]message, error) {
	if c.responses {
		return inputMessages(c.members.Get("input"), c.members.Get("instructions"))
	}
	return chatMessages(c.members.Get("messages")), nil
}

// encodeChat writes a call for ChatModel, llm/v1/chat or ChatAgent.
func encodeChat(f Form, c caller, lost *dropped) ([]byte, error) {
	all, err := c.conversation()
	if err != nil {
		return nil, err
	}
	var names map[string][]byte
	if f == Agent {
		names = toolNames(all)
	}
	turns := make([][]byte, 0, len(all))
	for _, m := range all {
		if err := m.onlyText(); err != nil {
			return nil, err
		}
		turns = append(turns, m.chat(names))
	}
	var o splice.ObjectWriter
	o.Add("messages", splice.ListWith(turns...))
	tools := splice.TextOf(c.members.Get("tool_choice")) != "none"
	for _, m := range c.members {
		if err := c.chatMember(&o, f, m, tools, lost); err != nil {
			return nil, err
		}
	}
	if f == Conversations {
		var rows splice.ObjectWriter
		rows.Add("inputs", splice.ListWith(o.Bytes()))
		return rows.Bytes(), nil
	}
	return o.Bytes(), nil
}

// chatMember writes what stands for one member of a caller's request, or notes that it is lost. tools says whether the
// model may call tools.
func (c caller) chatMember(o *splice.ObjectWriter, f Form, m splice.Member, tools bool, lost *dropped) error {
	switch {
	case splice.KindOf(m.Value) == splice.Null || c.told(m.Key) || m.Key == "tools" && !tools && f == Chat:
		return nil
	case m.Key == "custom_inputs" && f != Conversations || f == Agent && m.Key == "context":
		o.Add(m.Key, m.Value)
		return nil
	case f == Chat && m.Key == "tools":
		reduced, err := chatTools(m.Value, "tools", lost)
		o.Add("tools", reduced)
		return err
	case f == Chat && c.chatParam(o, m):
		return nil
	}
	c.lose(m, lost)
	return nil
}

// chatParam writes a parameter as ChatModel's signature has it. It says no to one that is not in it.
func (c caller) chatParam(o *splice.ObjectWriter, m splice.Member) bool {
	switch m.Key {
	case "temperature", "top_p", "frequency_penalty", "presence_penalty":
		o.Add(m.Key, m.Value)
	case "top_k":
		o.Add(m.Key, whole(m.Value))
	case "max_tokens", "max_completion_tokens", "max_output_tokens":
		if c.members.Get("max_completion_tokens") == nil || m.Key == "max_completion_tokens" { // the newer name counts
			o.Add("max_tokens", whole(m.Value))
		}
	case "n", "candidate_count":
		if n := whole(m.Value); string(n) != "1" {
			o.Add("n", n)
		}
	case "stop":
		o.Add("stop", stops(m.Value))
	default:
		return false
	}
	return true
}

// told are members that say whom or how to ask, and are used up on the way to the model.
func (c caller) told(key string) bool {
	if c.responses && (key == "input" || key == "instructions") {
		return true
	}
	return slices.Contains([]string{"model", "messages", "stream", "stream_options"}, key)
}

// stops is a list of stop texts; nil for an empty one.
func stops(value []byte) []byte {
	if splice.KindOf(value) == splice.String {
		return splice.ListWith(value)
	}
	if len(splice.ListOf(value)) == 0 {
		return nil
	}
	return bytes.TrimSpace(value)
}
