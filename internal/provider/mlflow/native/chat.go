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
	members   []splice.Member
	responses bool // in the form of OpenAI's responses, else of chat
}

// IsResponses says that a request was made in the form of OpenAI's responses.
func IsResponses(req *inference.Request) bool { return callerOf(req).responses }

// callerOf takes a request apart. One without a body has texts and parameters only.
func callerOf(req *inference.Request) caller {
	if req.Body != nil {
		all := members(req.Body)
		return caller{all, get(all, "input") != nil && get(all, "messages") == nil}
	}
	var turns [][]byte
	for _, item := range req.Items {
		var o object
		o.add("role", []byte(`"user"`))
		o.add("content", item)
		turns = append(turns, o.bytes())
	}
	return caller{members: append([]splice.Member{{Key: "messages", Value: list(turns...)}}, members(req.Params)...)}
}

// conversation is what a caller's messages or input say.
func (c caller) conversation() ([]message, error) {
	if c.responses {
		return inputMessages(get(c.members, "input"), get(c.members, "instructions"))
	}
	return chatMessages(get(c.members, "messages")), nil
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
	var o object
	o.add("messages", list(turns...))
	tools := text(get(c.members, "tool_choice")) != "none"
	for _, m := range c.members {
		if err := c.chatMember(&o, f, m, tools, lost); err != nil {
			return nil, err
		}
	}
	if f == Conversations {
		var rows object
		rows.add("inputs", list(o.bytes()))
		return rows.bytes(), nil
	}
	return o.bytes(), nil
}

// chatMember writes what stands for one member of a caller's request, or notes that it is lost. tools says whether the
// model may call tools.
func (c caller) chatMember(o *object, f Form, m splice.Member, tools bool, lost *dropped) error {
	switch {
	case splice.KindOf(m.Value) == splice.Null || c.told(m.Key) || m.Key == "tools" && !tools && f == Chat:
		return nil
	case m.Key == "custom_inputs" && f != Conversations || f == Agent && m.Key == "context":
		o.add(m.Key, m.Value)
		return nil
	case f == Chat && m.Key == "tools":
		reduced, err := chatTools(m.Value, "tools", lost)
		o.add("tools", reduced)
		return err
	case f == Chat && c.chatParam(o, m):
		return nil
	}
	c.lose(m, lost)
	return nil
}

// chatParam writes a parameter as ChatModel's signature has it. It says no to one that is not in it.
func (c caller) chatParam(o *object, m splice.Member) bool {
	switch m.Key {
	case "temperature", "top_p", "frequency_penalty", "presence_penalty":
		o.add(m.Key, m.Value)
	case "top_k":
		o.add(m.Key, whole(m.Value))
	case "max_tokens", "max_completion_tokens", "max_output_tokens":
		if get(c.members, "max_completion_tokens") == nil || m.Key == "max_completion_tokens" { // the newer name counts
			o.add("max_tokens", whole(m.Value))
		}
	case "n", "candidate_count":
		if n := whole(m.Value); string(n) != "1" {
			o.add("n", n)
		}
	case "stop":
		o.add("stop", stops(m.Value))
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
		return list(value)
	}
	if len(elements(value)) == 0 {
		return nil
	}
	return bytes.TrimSpace(value)
}
