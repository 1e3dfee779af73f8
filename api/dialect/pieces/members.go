package pieces

import (
	"headrace/api/schema"
	"headrace/internal/splice"
)

// members are those of an object that was read.
type members []splice.Member

// membersOf reads an object; nil for what is none.
func membersOf(value []byte) members {
	if splice.KindOf(value) != splice.Object {
		return nil
	}
	all, err := schema.Members(value)
	if err != nil {
		return nil
	}
	return all
}

// get is the value of a member; nil when it is absent or null.
func (all members) get(key string) []byte {
	for _, m := range all {
		if m.Key == key && splice.KindOf(m.Value) != splice.Null {
			return m.Value
		}
	}
	return nil
}

// str is a member that is a text, decoded; "" for what is none.
func (all members) str(key string) string {
	text, err := splice.Unquote(all.get(key))
	if err != nil {
		return ""
	}
	return text
}

// elements are those of a list; nil for what is none.
func elements(value []byte) [][]byte {
	if splice.KindOf(value) != splice.Array {
		return nil
	}
	all, err := splice.Elements(value)
	if err != nil {
		return nil
	}
	return all
}

// with is an object with other values for some of its members, those that it lacks at its end. A value "" takes a member
// away.
func with(of members, changes ...[2]string) string {
	text := []byte("{")
	add := func(key, value string) {
		if value == "" {
			return
		}
		if len(text) > 1 {
			text = append(text, ',')
		}
		text = append(append(schema.AppendString(text, key), ':'), value...)
	}
	done := make(map[string]bool, len(changes))
	for _, m := range of {
		value := string(m.Value)
		for _, c := range changes {
			if c[0] == m.Key {
				value = c[1]
			}
		}
		if !done[m.Key] {
			add(m.Key, value)
		}
		done[m.Key] = true
	}
	for _, c := range changes {
		if !done[c[0]] {
			add(c[0], c[1])
		}
	}
	return string(append(text, '}'))
}
