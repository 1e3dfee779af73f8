package splice

import (
	"slices"
	"strconv"
)

// Fields are the members of an object, each key once.
type Fields []Member

// FieldsOf lists the members of an object in order of their first mention; of a key that is there twice the last value counts.
// It is nil for what is no object, and for what is not JSON.
func FieldsOf(value []byte) Fields {
	if KindOf(value) != Object {
		return nil
	}
	all, err := Members(value)
	if err != nil {
		return nil
	}
	at := make(map[string]int, len(all))
	kept := all[:0]
	for _, m := range all {
		if i, again := at[m.Key]; again {
			kept[i].Value = m.Value
			continue
		}
		at[m.Key] = len(kept)
		kept = append(kept, m)
	}
	return kept
}

// Get is the value of a member; nil when it is absent or null.
func (all Fields) Get(key string) []byte {
	for _, m := range all {
		if m.Key == key && KindOf(m.Value) != Null {
			return m.Value
		}
	}
	return nil
}

// Text is a member that is a string, decoded; "" for what is none.
func (all Fields) Text(key string) string { return TextOf(all.Get(key)) }

// Without is all members but one. It changes the slice.
func (all Fields) Without(key string) Fields {
	return slices.DeleteFunc(all, func(m Member) bool { return m.Key == key })
}

// ListOf lists the elements of a list. It is nil for what is no list, and for what is not JSON.
func ListOf(value []byte) [][]byte {
	if KindOf(value) != Array {
		return nil
	}
	all, err := Elements(value)
	if err != nil {
		return nil
	}
	return all
}

// TextOf decodes a string; "" for what is none.
func TextOf(value []byte) string {
	text, err := Unquote(value)
	if err != nil {
		return ""
	}
	return text
}

// IntOf is a whole number, 7.0 too; 0 for what is none.
func IntOf(value []byte) int64 {
	f, err := strconv.ParseFloat(string(value), 64)
	if err != nil || f != float64(int64(f)) {
		return 0
	}
	return int64(f)
}
