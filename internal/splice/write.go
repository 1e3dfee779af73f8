package splice

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// Quote is s as a JSON string, without the escapes meant for HTML pages.
func Quote(s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return strconv.AppendQuoteToASCII(nil, s) // strings can always be encoded
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// ListWith writes a list of raw values.
func ListWith(values ...[]byte) []byte {
	return append(append([]byte{'['}, bytes.Join(values, []byte(","))...), ']')
}

// ObjectWriter writes an object. The zero value is an empty one.
type ObjectWriter struct{ text []byte }

// Add writes a member with a raw value; nothing for a nil value.
func (o *ObjectWriter) Add(key string, value []byte) {
	if value == nil {
		return
	}
	if len(o.text) == 0 {
		o.text = append(o.text, '{')
	} else {
		o.text = append(o.text, ',')
	}
	o.text = append(append(o.text, Quote(key)...), ':')
	o.text = append(o.text, value...)
}

// AddText writes a member that is a string.
func (o *ObjectWriter) AddText(key, text string) { o.Add(key, Quote(text)) }

// AddInt writes a member that is a whole number.
func (o *ObjectWriter) AddInt(key string, n int64) { o.Add(key, strconv.AppendInt(nil, n, 10)) }

// Bytes is the object as JSON.
func (o *ObjectWriter) Bytes() []byte {
	if len(o.text) == 0 {
		return []byte("{}")
	}
	return append(o.text, '}')
}
