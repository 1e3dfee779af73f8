package schema

import (
	"slices"

	"headrace/internal/fault"
	"headrace/internal/splice"
)

// MaxMembers is how many members one object, and how many elements one checked list, may have. It bounds the
// memory that a body of small values takes beside its own bytes.
const MaxMembers = 1 << 16

// MaxEcho is how many bytes of an offending value an issue repeats; of a larger one none.
const MaxEcho = 16 << 10

// maxIssues bounds the list of things wrong with one body.
const maxIssues = 100

// Check is the state of one pass over a body: where it stands and what it found.
type Check struct {
	loc      []any
	issues   []fault.Issue
	failures int // calls of Fail
	trials   int // while above 0 failures are counted, but no issues recorded
}

// Issues lists what was wrong, in the order it was met; nil when nothing was.
func (c *Check) Issues() []fault.Issue { return c.issues }

// Within runs f with one more step on the path that issues are located by.
func (c *Check) Within(step any, f func()) {
	c.loc = append(c.loc, step)
	f()
	c.loc = c.loc[:len(c.loc)-1]
}

// Fail records that the value raw breaks the rule named kind. msg is one sentence for a person.
func (c *Check) Fail(raw []byte, kind, msg string) { c.FailBound(raw, kind, msg, nil) }

// FailBound is Fail with the bounds that were broken.
func (c *Check) FailBound(raw []byte, kind, msg string, bounds map[string]any) {
	c.failures++
	if c.trials > 0 || len(c.issues) >= maxIssues {
		return
	}
	issue := fault.Issue{Loc: slices.Clone(c.loc), Type: kind, Msg: msg, Ctx: bounds}
	if len(raw) <= MaxEcho {
		issue.In = splice.Nulled(raw)
	}
	c.issues = append(c.issues, issue)
}

// failed tells whether f fails.
func (c *Check) failed(f func()) bool {
	before := c.failures
	f()
	return c.failures > before
}

// try is failed without recording issues.
func (c *Check) try(f func()) bool {
	c.trials++
	defer func() { c.trials-- }()
	return !c.failed(f)
}

// A Rule checks one raw value and returns the bytes that stand for it; nil leaves it out. After it recorded an
// issue its result has no meaning.
type Rule func(c *Check, raw []byte) []byte

// Nullable accepts null, which is left out, and otherwise what rule accepts.
func Nullable(rule Rule) Rule {
	return func(c *Check, raw []byte) []byte {
		if splice.KindOf(raw) == splice.Null {
			return nil
		}
		return rule(c, raw)
	}
}

// Any accepts everything; see Clean.
func Any(_ *Check, raw []byte) []byte { return Clean(raw) }

// String accepts a string and keeps its bytes.
func String(c *Check, raw []byte) []byte {
	if splice.KindOf(raw) != splice.String {
		c.Fail(raw, "string_type", "Input should be a valid string")
		return nil
	}
	return raw
}

// OneOf accepts the listed strings.
func OneOf(words ...string) Rule {
	expected := quotedWords(words)
	return func(c *Check, raw []byte) []byte {
		if splice.KindOf(raw) == splice.String {
			if word, err := splice.Unquote(raw); err == nil && slices.Contains(words, word) {
				return raw
			}
		}
		c.FailBound(raw, "literal_error", "Input should be "+expected, map[string]any{"expected": expected})
		return nil
	}
}

// quotedWords is 'a', 'b' or 'c'.
func quotedWords(words []string) string {
	var text []byte
	for i, word := range words {
		switch {
		case i > 0 && i == len(words)-1:
			text = append(text, " or "...)
		case i > 0:
			text = append(text, ", "...)
		}
		text = append(append(append(text, '\''), word...), '\'')
	}
	return string(text)
}

// Dict accepts an object whatever is in it.
func Dict(c *Check, raw []byte) []byte {
	if splice.KindOf(raw) != splice.Object {
		c.Fail(raw, "dict_type", "Input should be a valid dictionary")
		return nil
	}
	return Clean(raw)
}

// DictOf accepts an object whose values all fit rule.
func DictOf(rule Rule) Rule {
	return func(c *Check, raw []byte) []byte {
		if splice.KindOf(raw) != splice.Object {
			c.Fail(raw, "dict_type", "Input should be a valid dictionary")
			return nil
		}
		members, ok := c.members(raw)
		if !ok {
			return nil
		}
		out := []byte{'{'}
		for _, m := range members {
			c.Within(m.Key, func() { out = appendMember(out, m.Key, rule(c, m.Value)) })
		}
		return append(out, '}')
	}
}

// List accepts a list whose elements all fit rule, and of which there are as many as least or more.
func List(rule Rule, least int) Rule {
	return func(c *Check, raw []byte) []byte {
		if splice.KindOf(raw) != splice.Array {
			c.Fail(raw, "list_type", "Input should be a valid list")
			return nil
		}
		elements, ok := c.elements(raw)
		if !ok {
			return nil
		}
		changed := false
		for i, e := range elements {
			c.Within(i, func() { elements[i] = rule(c, e) })
			changed = changed || !same(elements[i], e)
		}
		if len(elements) < least {
			c.FailBound(raw, "too_short", "List should have at least 1 item after validation, not 0",
				map[string]any{"field_type": "List", "min_length": least, "actual_length": len(elements)})
		}
		if !changed {
			return raw
		}
		out := append(make([]byte, 0, len(raw)), '[')
		for _, e := range elements {
			out = appendElement(out, e)
		}
		return append(out, ']')
	}
}

// same tells whether two slices are one.
func same(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// Elements lists the elements of a list and checks each against rule; the returned ones are what stands for
// them. It records an issue when raw is something else than a list, or too long.
func Elements(c *Check, raw []byte, rule Rule) [][]byte {
	if splice.KindOf(raw) != splice.Array {
		c.Fail(raw, "list_type", "Input should be a valid list")
		return nil
	}
	elements, ok := c.elements(raw)
	if !ok {
		return nil
	}
	for i, e := range elements {
		c.Within(i, func() { elements[i] = rule(c, e) })
	}
	return elements
}

// elements lists the elements of a list; false: it has too many, which is recorded.
func (c *Check) elements(raw []byte) ([][]byte, bool) {
	var elements [][]byte
	r := splice.NewReader(raw)
	err := r.Array(func(i int) error {
		if i >= MaxMembers {
			return errTooMany
		}
		v, err := r.Value()
		elements = append(elements, v.Raw)
		return err
	})
	if err != nil {
		c.Fail([]byte(`"…"`), "too_long", tooMany)
		return nil, false
	}
	return elements, true
}

// members lists the members of an object, each key once; false: it has too many, which is recorded.
func (c *Check) members(raw []byte) ([]splice.Member, bool) {
	members, err := Members(raw)
	if err != nil {
		c.Fail([]byte(`"…"`), "too_long", tooMany)
		return nil, false
	}
	return members, true
}
