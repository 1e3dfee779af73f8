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
