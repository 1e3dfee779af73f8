// Package openai has what both ends of a call know of OpenAI's form: which parameters a model server that takes texts
// cannot give effect to, and which values of a parameter ask for nothing.
package openai

import (
	"slices"
	"strings"

	"headrace/internal/fault"
	"headrace/internal/splice"
)

// Effect is what becomes of a parameter of OpenAI's that a model of texts cannot give effect to. None of them goes to
// such a model. docs/clients.md has the same table.
type Effect struct {
	Name string
	// Idle values ask for nothing that the reply lacks: they are what OpenAI does when the parameter is absent.
	Idle []string
	// Refused says why any other value is refused: the reply would lack what was asked for. "": it is named in
	// Headrace-Dropped, and the reply is what was asked for all the same.
	Refused string
}

// Effects is the table, by name.
func Effects() []Effect {
	const calls = "the models of this gateway call no tools"
	return []Effect{
		{"audio", nil, "the models of this gateway answer in text"},
		{"best_of", []string{"1"}, ""},
		{"echo", []string{"false"}, "a reply does not repeat its prompt; put the prompt before it yourself"},
		{"function_call", []string{`"none"`, `"auto"`}, calls},
		{"functions", []string{"[]"}, calls},
		{"logprobs", []string{"false"}, "a served model tells no probabilities of tokens"},
		{"metadata", nil, ""},
		{"modalities", []string{`["text"]`}, "the models of this gateway answer in text"},
		{"parallel_tool_calls", []string{"true", "false"}, ""},
		{"prediction", nil, ""},
		{"prompt_cache_key", nil, ""},
		{"prompt_cache_retention", nil, ""},
		{"response_format", []string{`{"type":"text"}`}, "a served model cannot be held to a format; ask for it in the prompt and check the answer"},
		{"safety_identifier", nil, ""},
		{"service_tier", []string{`"auto"`, `"default"`}, ""},
		{"store", []string{"false"}, ""},
		{"suffix", []string{`""`}, "a served model cannot insert text before a suffix"},
		{"tool_choice", []string{`"none"`, `"auto"`}, calls},
		{"tools", []string{"[]"}, calls},
		{"top_logprobs", []string{"0"}, "a served model tells no probabilities of tokens"},
		{"user", nil, ""},
		{"web_search_options", nil, "the models of this gateway search nothing"},
	}
}

// Judge looks the members of a body up in a table: the names of those without effect, or why the call is refused.
func Judge(effects []Effect, members []splice.Member) (without []string, err error) {
	if len(members) == 0 {
		return nil, nil
	}
	for _, e := range effects {
		at := slices.IndexFunc(members, func(m splice.Member) bool { return m.Key == e.Name })
		if at < 0 || slices.Contains(e.Idle, Squeezed(members[at].Value)) {
			continue
		}
		if e.Refused != "" {
			f := fault.New(fault.Invalid, "%s is not supported: %s. Leave it out", e.Name, e.Refused)
			f.Param = e.Name
			return nil, f
		}
		without = append(without, e.Name)
	}
	return without, nil
}

// Idle says that a parameter asks for nothing: it is null, empty, or has a value that OpenAI takes for absent.
func Idle(name string, value []byte) bool {
	text := Squeezed(value)
	if text == "null" || text == "[]" || text == "{}" || text == `""` {
		return true
	}
	idle := map[string][]string{
		"n": {"1"}, "background": {"false"}, "truncation": {`"disabled"`},
		"text": {`{"format":{"type":"text"}}`}, "frequency_penalty": {"0", "0.0"}, "presence_penalty": {"0", "0.0"},
	}
	if slices.Contains(idle[name], text) {
		return true
	}
	effects := Effects()
	at := slices.IndexFunc(effects, func(e Effect) bool { return e.Name == name })
	return at >= 0 && slices.Contains(effects[at].Idle, text)
}

// Squeezed is a short JSON value without white space between its tokens, for comparing; "" for a long one.
func Squeezed(value []byte) string {
	const longest = 64 // none of the idle values comes near
	if len(value) > longest {
		return ""
	}
	return strings.NewReplacer(" ", "", "\t", "", "\n", "", "\r", "").Replace(string(value))
}
