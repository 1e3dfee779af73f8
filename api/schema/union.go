package schema

import (
	"slices"
	"strings"

	"headrace/internal/splice"
)

// maxTag is how much of a tag that is no string an issue repeats.
const maxTag = 100

// Branch is one way a Union may be met. Its name is the step that its issues are located by.
type Branch struct {
	Name string
	Rule Rule
}

// Union accepts what its first matching branch accepts. When none does, the issues of all are recorded.
func Union(branches ...Branch) Rule {
	return func(c *Check, raw []byte) []byte {
		before := c.failures
		for _, b := range branches {
			var out []byte
			if c.try(func() { out = b.Rule(c, raw) }) {
				c.failures = before
				return out
			}
		}
		if c.trials == 0 {
			for _, b := range branches {
				c.Within(b.Name, func() { b.Rule(c, raw) })
			}
		}
		return nil
	}
}

// Tagged accepts objects of several forms, told apart by the string in their member tag, which is the name of the
// form's branch.
func Tagged(tag string, forms ...Branch) Rule {
	names := make([]string, 0, len(forms))
	for _, form := range forms {
		names = append(names, "'"+form.Name+"'")
	}
	expected := strings.Join(names, ", ")
	return func(c *Check, raw []byte) []byte {
		if splice.KindOf(raw) != splice.Object {
			c.Fail(raw, "model_attributes_type", "Input should be a valid dictionary or object to extract fields from")
			return nil
		}
		members, ok := c.members(raw)
		if !ok {
			return nil
		}
		at := find(members, nil, tag)
		if at < 0 {
			c.FailBound(raw, "union_tag_not_found", "Unable to extract tag using discriminator '"+tag+"'",
				map[string]any{"discriminator": "'" + tag + "'"})
			return nil
		}
		name, err := splice.Unquote(members[at].Value)
		chosen := slices.IndexFunc(forms, func(form Branch) bool { return err == nil && form.Name == name })
		if chosen < 0 {
			if err != nil { // it is no string
				name = string(members[at].Value[:min(len(members[at].Value), maxTag)])
			}
			c.FailBound(raw, "union_tag_invalid",
				"Input tag '"+name+"' found using '"+tag+"' does not match any of the expected tags: "+expected,
				map[string]any{"discriminator": "'" + tag + "'", "tag": name, "expected_tags": expected})
			return nil
		}
		var out []byte
		c.Within(name, func() { out = forms[chosen].Rule(c, raw) })
		return out
	}
}
