package dialect

import (
	"slices"
	"strconv"
	"strings"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/splice"
)

// effect is what becomes of a parameter of OpenAI's that no served model can give effect to. None of them goes to the
// model. docs/clients.md has the same table.
type effect struct {
	name string
	// idle values ask for nothing that the reply lacks: they are what OpenAI does when the parameter is absent.
	idle []string
	// refused says why any other value is refused: the reply would lack what was asked for. "": it is named in
	// Headrace-Dropped, and the reply is what was asked for all the same.
	refused string
}

func openAIEffects() []effect {
	const calls = "the models of this gateway call no tools"
	return []effect{
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
		{"stream_options", nil, ""},
		{"suffix", []string{`""`}, "a served model cannot insert text before a suffix"},
		{"tool_choice", []string{`"none"`, `"auto"`}, calls},
		{"tools", []string{"[]"}, calls},
		{"top_logprobs", []string{"0"}, "a served model tells no probabilities of tokens"},
		{"user", nil, ""},
		{"web_search_options", nil, "the models of this gateway search nothing"},
	}
}

// judge looks the members of a body up in the table: the names of those without effect, or why the call is refused.
func (d *openAIDialect) judge(members []splice.Member) (without []string, err error) {
	if len(members) == 0 {
		return nil, nil
	}
	for _, e := range d.effects {
		at := slices.IndexFunc(members, func(m splice.Member) bool { return m.Key == e.name })
		if at < 0 || slices.Contains(e.idle, squeezed(members[at].Value)) {
			continue
		}
		if e.refused != "" {
			f := fault.New(fault.Invalid, "%s is not supported: %s. Leave it out", e.name, e.refused)
			f.Param = e.name
			return nil, f
		}
		without = append(without, e.name)
	}
	return without, nil
}

// squeezed is a short JSON value without white space between its tokens, for comparing.
func squeezed(value []byte) string {
	const longest = 64 // none of the idle values comes near
	if len(value) > longest {
		return ""
	}
	return strings.NewReplacer(" ", "", "\t", "", "\n", "", "\r", "").Replace(string(value))
}

// checkedInt is a checked integer; 0 when there is none.
func checkedInt(raw []byte) int {
	n, err := strconv.Atoi(string(raw))
	if err != nil {
		return 0
	}
	return n
}

// enoughChoices checks that a reply has as many choices as n asked for. One choice is what there is without n.
func enoughChoices(a *Asked, res *inference.Result) error {
	if a.choices <= 1 {
		return nil
	}
	least := len(res.Items)
	if len(a.Request.Items) > 1 {
		least = 1
		if len(res.Groups) > 0 {
			least = slices.Min(res.Groups)
		}
	}
	if least >= a.choices {
		return nil
	}
	e := fault.New(fault.Invalid, "n is %d, but the model gave %d for a prompt; leave n out, and ask several times for several answers", a.choices, least)
	e.Param = "n"
	return e
}

// rightLength checks that the vectors of a reply have as many numbers as dimensions asked for.
func rightLength(a *Asked, res *inference.Result) error {
	if a.dimensions == 0 {
		return nil
	}
	for _, row := range res.Items {
		v, err := splice.Whole(row)
		if err != nil || v.Len == a.dimensions {
			continue // what is no list is told of where it is written
		}
		e := fault.New(fault.Invalid, "dimensions is %d, but the model's vectors have %d numbers; leave dimensions out", a.dimensions, v.Len)
		e.Param = "dimensions"
		return e
	}
	return nil
}
