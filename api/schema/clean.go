package schema

import (
	"bytes"
	"strings"

	"headrace/internal/splice"
)

// private tells the members that MLflow's gateway drops from every object.
func private(key string) bool { return strings.HasPrefix(key, "_sa") }

// Clean is what the gateway makes of a value it has no rule for: members that are null are left out, at every
// depth; NaN, Infinity and fractions beyond float64 count as null, which stays null in a list. Everything else
// keeps its bytes. nil: the value itself is, or counts as, null. raw must be JSON.
func Clean(raw []byte) []byte {
	v, err := splice.Whole(raw)
	if err != nil || isNull(v) {
		return nil
	}
	if v.Kind != splice.Array && v.Kind != splice.Object {
		return v.Raw
	}
	if !v.NonFinite && !bytes.Contains(v.Raw, []byte("null")) && !bytes.Contains(v.Raw, []byte(`_sa`)) &&
		!bytes.Contains(v.Raw, []byte(`\u00`)) {
		return v.Raw
	}
	return appendClean(make([]byte, 0, len(v.Raw)), v)
}

// isNull tells what is or counts as null. To Python an integer is an integer, however long it is.
func isNull(v splice.Value) bool {
	switch v.Kind {
	case splice.Null, splice.NonFinite:
		return true
	case splice.Number:
		return v.NonFinite && bytes.ContainsAny(v.Raw, ".eE")
	case splice.Invalid, splice.Bool, splice.String, splice.Array, splice.Object:
	}
	return false
}

func appendClean(dst []byte, v splice.Value) []byte {
	switch {
	case isNull(v):
		return append(dst, "null"...)
	case v.Kind == splice.Array:
		dst = append(dst, '[')
		r := splice.NewReader(v.Raw)
		// The text was checked before, so the reader cannot fail.
		_ = r.Array(func(i int) error {
			element, err := r.Value()
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendClean(dst, element)
			return err
		})
		return append(dst, ']')
	case v.Kind == splice.Object:
		return appendCleanObject(dst, v.Raw)
	}
	return append(dst, v.Raw...)
}

func appendCleanObject(dst, raw []byte) []byte {
	members, err := Members(raw)
	if err != nil {
		return append(dst, splice.Nulled(raw)...) // more members than are looked at
	}
	dst = append(dst, '{')
	for _, m := range members {
		v := splice.Value{Raw: m.Value, Kind: splice.KindOf(m.Value)}
		if v.Kind == splice.Number {
			v, _ = splice.Whole(m.Value) // it was scanned before
		}
		if isNull(v) || private(m.Key) {
			continue
		}
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, m.Key), ':')
		dst = appendClean(dst, v)
	}
	return append(dst, '}')
}
