package mlflow

import (
	"bytes"
	"strconv"

	"headrace/internal/splice"
)

// maxRowDepth is how deeply a row may be nested to be compared with others.
const maxRowDepth = 8

// shapeOf describes the kinds of all values in a row: two rows of one shape become the same types in Python, alone
// and together. s is a text, i an integer, f a float, b a boolean; the names of an object count, and their order,
// because pandas takes the columns from the first record. It says no to what changes its neighbours' types or
// meets limits: null, NaN, integers near the end of 64 bits, names that occur twice, deep nesting.
func shapeOf(row []byte) (string, bool) {
	text, ok := appendShape(nil, splice.NewReader(row), 0)
	return string(text), ok
}

func appendShape(text []byte, r *splice.Reader, depth int) ([]byte, bool) {
	if depth > maxRowDepth {
		return nil, false
	}
	switch r.Kind() {
	case splice.Array:
		return appendList(text, r, depth)
	case splice.Object:
		return appendObject(text, r, depth)
	case splice.Invalid, splice.Null, splice.NonFinite:
		return nil, false
	case splice.Bool, splice.Number, splice.String:
	}
	v, err := r.Value()
	if err != nil || v.NonFinite {
		return nil, false
	}
	switch v.Kind {
	case splice.String:
		return append(text, 's'), true
	case splice.Bool:
		return append(text, 'b'), true
	case splice.Number:
		if bytes.ContainsAny(v.Raw, ".eE") {
			return append(text, 'f'), true
		}
		return append(text, 'i'), len(v.Raw) <= 18
	case splice.Invalid, splice.Null, splice.NonFinite, splice.Array, splice.Object:
	}
	return nil, false
}

// appendList writes runs of equal elements with their number: [3f2i] is three floats and two integers.
func appendList(text []byte, r *splice.Reader, depth int) ([]byte, bool) {
	text = append(text, '[')
	var run []byte
	n, ok := 0, true
	flush := func() {
		if n > 0 {
			text = append(strconv.AppendInt(text, int64(n), 10), run...)
		}
	}
	err := r.Array(func(int) error {
		var s []byte
		if ok {
			s, ok = appendShape(nil, r, depth+1)
		}
		if !ok {
			return &splice.SyntaxError{}
		}
		if n > 0 && !bytes.Equal(s, run) {
			flush()
			n = 0
		}
		run, n = s, n+1
		return nil
	})
	flush()
	return append(text, ']'), ok && err == nil
}

func appendObject(text []byte, r *splice.Reader, depth int) ([]byte, bool) {
	text = append(text, '{')
	seen, ok := make(map[string]bool), true
	err := r.Object(func(key string) error {
		if ok = !seen[key]; ok {
			seen[key] = true
			text, ok = appendShape(append(append(text, encoded(key)...), ':'), r, depth+1)
		}
		if !ok {
			return &splice.SyntaxError{}
		}
		text = append(text, ',')
		return nil
	})
	return append(text, '}'), ok && err == nil
}
