package mlflow

import (
	"bytes"
	"strings"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/splice"
)

// decodeTexts reads the answer to completions and chat: a non-empty list of strings, or an object that
// holds one. To several prompts there is one entry for each, a string or a list of strings.
func decodeTexts(route *inference.Route, req *inference.Request, reply provider.Reply) (*inference.Result, error) {
	p, err := read(route, req, reply, textShape)
	if err != nil {
		return nil, err
	}
	if p.value.Kind == splice.Object {
		if p, err = unwrap(p, route.Family, reply); err != nil {
			return nil, err
		}
	}
	if p.value.Kind != splice.Array {
		return nil, textShape.wrong(complaint{rule: notAList, came: "predictions is " + p.value.Kind.String()}, reply)
	}
	if len(p.elements) == 0 {
		return nil, textShape.wrong(complaint{rule: emptyList, came: "predictions is an empty list"}, reply)
	}
	if len(req.Items) > 1 {
		return grouped(p.elements, len(req.Items), reply)
	}
	items := make([][]byte, 0, len(p.elements))
	var bad []complaint
	for i, e := range p.elements {
		if e.Kind != splice.String {
			bad = append(bad, complaint{at: dotted(i), rule: notAString, came: name(i) + " is " + e.Kind.String()})
		}
		items = append(items, e.Raw)
	}
	if len(bad) > 0 {
		return nil, textShape.wrongs(bad, reply)
	}
	return &inference.Result{Items: items}, nil
}

// unwrap takes the list out of an object: the only member whatever its name, else the one named choices or
// candidates. MLflow 2.8 knows candidates, later ones choices; an object with both answers as the version
// that the route's family stands for.
func unwrap(p predictions, family inference.Family, reply provider.Reply) (predictions, error) {
	keys, values := members(p.value.Raw)
	known := []string{"choices", "candidates"}
	if family == inference.Routes {
		known = []string{"candidates", "choices"}
	}
	if len(keys) == 1 {
		known = keys
	}
	for _, key := range known {
		v, ok := values[key]
		if !ok {
			continue
		}
		if falsy(v) {
			return p, textShape.wrong(complaint{rule: emptyList, came: "predictions." + key + " is empty"}, reply)
		}
		if v.Kind != splice.Array {
			return p, textShape.wrong(complaint{rule: notAList, came: "predictions." + key + " is " + v.Kind.String()}, reply)
		}
		return listed(v), nil
	}
	if len(keys) == 0 {
		return p, textShape.wrong(complaint{rule: emptyList, came: "predictions is an empty object"}, reply)
	}
	return p, textShape.wrong(complaint{
		rule: "Value error, The dict format is invalid for this route type. " +
			"Ensure the served model returns a dict key containing 'choices' or 'candidates'",
		came: "predictions is an object with the keys " + strings.Join(keys[:min(len(keys), 5)], ", "),
	}, reply)
}

// falsy is Python's notion of a value that counts as nothing.
func falsy(v splice.Value) bool {
	switch v.Kind {
	case splice.Null:
		return true
	case splice.Bool:
		return v.Raw[0] == 'f'
	case splice.Number:
		mantissa, _, _ := bytes.Cut(bytes.ToLower(v.Raw), []byte("e"))
		return len(bytes.Trim(mantissa, "-0.")) == 0
	case splice.String:
		return len(v.Raw) == 2
	case splice.Array, splice.Object:
		return len(bytes.TrimSpace(v.Raw[1:len(v.Raw)-1])) == 0
	case splice.Invalid, splice.NonFinite:
	}
	return false
}

// grouped spreads the entries over the prompts.
func grouped(entries []splice.Value, prompts int, reply provider.Reply) (*inference.Result, error) {
	if len(entries) != prompts {
		return nil, fault.New(fault.UpstreamBadResponse,
			"the model server answered %d prompts with %d predictions, so they cannot be told apart; "+
				"it must return one entry for each prompt, a string or a list of strings", prompts, len(entries))
	}
	res := &inference.Result{Items: make([][]byte, 0, prompts), Groups: make([]int, 0, prompts)}
	var bad []complaint
	for i, entry := range entries {
		texts := []splice.Value{entry}
		if entry.Kind == splice.Array && entry.Len > 0 {
			texts = elementsOf(entry.Raw)
		}
		for _, text := range texts {
			if text.Kind != splice.String {
				bad = append(bad, complaint{at: dotted(i), rule: notAString, came: name(i) + " is, or holds, " + text.Kind.String()})
				break
			}
			res.Items = append(res.Items, text.Raw)
		}
		res.Groups = append(res.Groups, len(texts))
	}
	if len(bad) > 0 {
		return nil, textShape.wrongs(bad, reply)
	}
	return res, nil
}
