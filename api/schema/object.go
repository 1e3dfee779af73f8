package schema

import (
	"bytes"
	"errors"
	"slices"

	"headrace/internal/splice"
)

var errTooMany = errors.New(tooMany)

const tooMany = "no more than 65536 elements or members can be taken at once"

// FieldsOf is Members for a value that may be something else: nil for what is no object, and for one that Members refuses.
func FieldsOf(value []byte) splice.Fields {
	if splice.KindOf(value) != splice.Object {
		return nil
	}
	all, err := Members(value)
	if err != nil {
		return nil
	}
	return all
}

// Members lists the members of the object that text holds, in order of their first mention; of a key that is
// there twice the last value counts, as in Python. The error is a *splice.SyntaxError, or says that there are
// more than MaxMembers.
func Members(text []byte) ([]splice.Member, error) {
	const few = 16 // up to here a search beats an index
	var (
		members []splice.Member
		index   map[string]int
	)
	r := splice.NewReader(text)
	err := r.Object(func(key string) error {
		v, err := r.Value()
		if err != nil {
			return err
		}
		if at := find(members, index, key); at >= 0 {
			members[at].Value = v.Raw
			return nil
		}
		if len(members) >= MaxMembers {
			return errTooMany
		}
		members = append(members, splice.Member{Key: key, Value: v.Raw})
		switch {
		case index != nil:
			index[key] = len(members) - 1
		case len(members) > few:
			index = make(map[string]int, 2*few)
			for i, m := range members {
				index[m.Key] = i
			}
		}
		return nil
	})
	if err == nil {
		err = r.End()
	}
	return members, err
}

func find(members []splice.Member, index map[string]int, key string) int {
	if index != nil {
		if i, ok := index[key]; ok {
			return i
		}
		return -1
	}
	for i := range members {
		if members[i].Key == key {
			return i
		}
	}
	return -1
}

// Field is one declared member of an object.
type Field struct {
	Name string
	Rule Rule
	// Default is the JSON that stands for an absent member; "" leaves it out.
	Default string
	// Required members may not be absent.
	Required bool
}

// Object is what is known of an object's members.
type Object struct {
	Fields []Field
	// Open keeps members that are not declared, after the declared ones; otherwise they are left out.
	Open bool
}

// Fields are the members of a checked object.
type Fields struct {
	// Declared holds one entry for each field of the Object, in its order; nil for what is absent or null.
	Declared [][]byte
	// Extra are the other members as Clean leaves them, none of them nil; empty unless the Object is open.
	Extra []splice.Member
}

// Check checks the members of the object that text holds and returns what stands for them. Issues are
// recorded in c; text must be JSON.
func (o *Object) Check(c *Check, text []byte) Fields {
	if splice.KindOf(text) != splice.Object {
		c.Fail(bytes.TrimSpace(text), "model_attributes_type", "Input should be a valid dictionary or object to extract fields from")
		return Fields{}
	}
	members, ok := c.members(text)
	if !ok {
		return Fields{}
	}
	return o.CheckMembers(c, text, members)
}

// CheckMembers is Check for an object whose members are known already.
func (o *Object) CheckMembers(c *Check, text []byte, members []splice.Member) Fields {
	declared := make([][]byte, len(o.Fields))
	for i, f := range o.Fields {
		at := find(members, nil, f.Name)
		switch {
		case at >= 0:
			c.Within(f.Name, func() { declared[i] = f.Rule(c, members[at].Value) })
		case f.Required:
			c.Within(f.Name, func() { c.Fail(bytes.TrimSpace(text), "missing", "Field required") })
		case f.Default != "":
			declared[i] = []byte(f.Default)
		}
	}
	if !o.Open {
		return Fields{Declared: declared}
	}
	var extra []splice.Member
	for _, m := range members {
		if o.knows(m.Key) || private(m.Key) {
			continue
		}
		if value := Clean(m.Value); value != nil {
			extra = append(extra, splice.Member{Key: m.Key, Value: value})
		}
	}
	return Fields{Declared: declared, Extra: extra}
}

func (o *Object) knows(key string) bool {
	for i := range o.Fields {
		if o.Fields[i].Name == key {
			return true
		}
	}
	return false
}

// Rule makes a rule that accepts such an object.
func (o *Object) Rule() Rule {
	return func(c *Check, raw []byte) []byte {
		var fields Fields
		if c.failed(func() { fields = o.Check(c, raw) }) {
			return nil
		}
		return o.Append(make([]byte, 0, len(raw)), fields)
	}
}

// Append writes checked members as a JSON object, the declared ones first. Fields named in without are left
// out.
func (o *Object) Append(dst []byte, fields Fields, without ...string) []byte {
	dst = append(dst, '{')
	for i, value := range fields.Declared {
		if !slices.Contains(without, o.Fields[i].Name) {
			dst = appendMember(dst, o.Fields[i].Name, value)
		}
	}
	for _, m := range fields.Extra {
		if !slices.Contains(without, m.Key) {
			dst = appendMember(dst, m.Key, m.Value)
		}
	}
	return append(dst, '}')
}

// appendMember writes one member, after a comma unless it is the first; nothing for a nil value.
func appendMember(dst []byte, key string, value []byte) []byte {
	if value == nil {
		return dst
	}
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = append(AppendString(dst, key), ':')
	return append(dst, value...)
}

func appendElement(dst, value []byte) []byte {
	if dst[len(dst)-1] != '[' {
		dst = append(dst, ',')
	}
	if value == nil {
		return append(dst, "null"...)
	}
	return append(dst, value...)
}

// AppendString writes text as a JSON string, without the escapes meant for HTML pages.
func AppendString(dst []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			return append(dst, splice.Quote(text)...)
		}
	}
	return append(append(append(dst, '"'), text...), '"')
}
