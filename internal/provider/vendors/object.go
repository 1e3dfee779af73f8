package vendors

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"

	"headrace/internal/splice"
)

// Members are those of an object, in order; of a key that occurs twice the last value counts.
type Members []splice.Member

// MembersOf reads an object; nil for what is none.
func MembersOf(value []byte) Members {
	if splice.KindOf(value) != splice.Object {
		return nil
	}
	all, err := splice.Members(value)
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
func (all Members) Get(key string) []byte {
	for _, m := range all {
		if m.Key == key && splice.KindOf(m.Value) != splice.Null {
			return m.Value
		}
	}
	return nil
}

// Without is all members but one. It changes the slice.
func (all Members) Without(key string) Members {
	return slices.DeleteFunc(all, func(m splice.Member) bool { return m.Key == key })
}

// Text is a member that is a string, decoded; "" for what is none.
func (all Members) Text(key string) string { return Text(all.Get(key)) }

// Text decodes a string; "" for what is none.
func Text(value []byte) string {
	text, err := splice.Unquote(value)
	if err != nil {
		return ""
	}
	return text
}

// Elements are those of a list; nil for what is none.
func Elements(value []byte) [][]byte {
	if splice.KindOf(value) != splice.Array {
		return nil
	}
	all, err := splice.Elements(value)
	if err != nil {
		return nil
	}
	return all
}

// Int is a whole number; 0 for what is none.
func Int(value []byte) int64 {
	f, err := strconv.ParseFloat(string(value), 64)
	if err != nil || f != float64(int64(f)) {
		return 0
	}
	return int64(f)
}

// Quoted is s as a JSON string, without the escapes meant for HTML pages.
func Quoted(s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return strconv.AppendQuoteToASCII(nil, s) // strings can always be encoded
	}
	return bytes.TrimSpace(b.Bytes())
}

// List writes a list of values.
func List(values ...[]byte) []byte {
	return append(append([]byte{'['}, bytes.Join(values, []byte(","))...), ']')
}

// Object writes an object. The zero value is an empty one.
type Object struct{ text []byte }

// Add writes a member; nothing for a nil value.
func (o *Object) Add(key string, value []byte) {
	if value == nil {
		return
	}
	if len(o.text) == 0 {
		o.text = append(o.text, '{')
	} else {
		o.text = append(o.text, ',')
	}
	o.text = append(append(o.text, Quoted(key)...), ':')
	o.text = append(o.text, value...)
}

// AddText writes a member that is a string.
func (o *Object) AddText(key, text string) { o.Add(key, Quoted(text)) }

// AddInt writes a member that is a whole number.
func (o *Object) AddInt(key string, n int64) { o.Add(key, strconv.AppendInt(nil, n, 10)) }

// Bytes is the object as JSON.
func (o *Object) Bytes() []byte {
	if len(o.text) == 0 {
		return []byte("{}")
	}
	return append(o.text, '}')
}
