package schema

import (
	"slices"

	"headrace/internal/splice"
)

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

// Tagged accepts objects of several forms, told apart by the string in their member tag.
func Tagged(tag string, forms map[string]Rule) Rule {
	names := make([]string, 0, len(forms))
	for name := range forms {
		names = append(names, name)
	}
	slices.Sort(names)
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
		form, known := forms[name]
		if err != nil || !known {
			c.FailBound(raw, "union_tag_invalid",
				"Input tag '"+name+"' found using '"+tag+"' does not match any of the expected tags: "+quotedWords(names),
				map[string]any{"discriminator": "'" + tag + "'", "tag": name, "expected_tags": quotedWords(names)})
			return nil
		}
		var out []byte
		c.Within(name, func() { out = form(c, raw) })
		return out
	}
}
