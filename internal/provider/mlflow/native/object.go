package native

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"

	"headrace/internal/fault"
	"headrace/internal/splice"
)

// members are the members of an object by name; of a name that occurs twice the last counts. It is nil when value is no
// object.
func members(value []byte) []splice.Member {
	if splice.KindOf(value) != splice.Object {
		return nil
	}
	all, err := splice.Members(value)
	if err != nil {
		return nil
	}
	seen := make(map[string]int, len(all))
	var kept []splice.Member
	for _, m := range all {
		if at, again := seen[m.Key]; again {
			kept[at].Value = m.Value
			continue
		}
		seen[m.Key] = len(kept)
		kept = append(kept, m)
	}
	return kept
}

// get is the value of a member; nil when it is absent or null.
func get(from []splice.Member, key string) []byte {
	for _, m := range from {
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

// text decodes a string; "" for what is none.
func text(value []byte) string {
	s, err := splice.Unquote(value)
	if err != nil {
		return ""
	}
	return s
}

// quoted is s as a JSON string, without the escapes meant for HTML pages.
func quoted(s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return strconv.AppendQuoteToASCII(nil, s) // strings can always be encoded
	}
	return bytes.TrimSpace(b.Bytes())
}

// object writes an object.
type object struct{ text []byte }

// add writes a member; nothing for a nil value.
func (o *object) add(key string, value []byte) {
	if value == nil {
		return
	}
	if len(o.text) == 0 {
		o.text = append(o.text, '{')
	} else {
		o.text = append(o.text, ',')
	}
	o.text = append(append(o.text, quoted(key)...), ':')
	o.text = append(o.text, value...)
}

func (o *object) bytes() []byte {
	if len(o.text) == 0 {
		return []byte("{}")
	}
	return append(o.text, '}')
}

// list writes a list of values.
func list(values ...[]byte) []byte {
	return append(append([]byte{'['}, bytes.Join(values, []byte(","))...), ']')
}

// wrong is an error about a member of a caller's request.
func wrong(param, format string, args ...any) error {
	e := fault.New(fault.Invalid, format, args...)
	e.Param = param
	return e
}

// dropped collects the names of members that do not reach the model.
type dropped []string

func (d *dropped) add(name string) {
	if !slices.Contains(*d, name) {
		*d = append(*d, name)
	}
}

// whole makes an integer of a whole float: 7.0 becomes 7. Other values stay.
func whole(value []byte) []byte {
	digits, fraction, ok := bytes.Cut(value, []byte("."))
	if !ok || splice.KindOf(value) != splice.Number || len(bytes.Trim(fraction, "0")) > 0 {
		return value
	}
	return digits
}
