package schema

import (
	"bytes"
	"strings"

	"headrace/internal/splice"
)

// private tells the members that MLflow's gateway drops from every object.
func private(key string) bool { return strings.HasPrefix(key, "_sa") }

// Clean is what the gateway makes of a value it has no rule for: members that are null are left out, at every
// depth; NaN, Infinity and numbers beyond float64 count as null, which stays null in a list. Everything else
// keeps its bytes. nil: the value itself is, or counts as, null. raw must be JSON.
func Clean(raw []byte) []byte {
	v, err := splice.Whole(raw)
	if err != nil || v.Kind == splice.Null {
		return nil
	}
	if v.Kind != splice.Array && v.Kind != splice.Object {
		if v.NonFinite {
			return nil
		}
		return v.Raw
	}
	if !v.NonFinite && !bytes.Contains(v.Raw, []byte("null")) && !bytes.Contains(v.Raw, []byte(`_sa`)) &&
		!bytes.Contains(v.Raw, []byte(`\u00`)) {
		return v.Raw
	}
	return appendClean(make([]byte, 0, len(v.Raw)), splice.Nulled(v.Raw))
}

// appendClean writes a value in which nothing is NaN any more.
func appendClean(dst, raw []byte) []byte {
	switch splice.KindOf(raw) {
	case splice.Array:
		dst = append(dst, '[')
		r := splice.NewReader(raw)
		// The text was checked before, so the reader cannot fail.
		_ = r.Array(func(i int) error {
			v, err := r.Value()
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendClean(dst, v.Raw)
			return err
		})
		return append(dst, ']')
	case splice.Object:
		members, err := Members(raw)
		if err != nil {
			return append(dst, raw...) // more members than are looked at
		}
		dst = append(dst, '{')
		for _, m := range members {
			if splice.KindOf(m.Value) == splice.Null || private(m.Key) {
				continue
			}
			if dst[len(dst)-1] != '{' {
				dst = append(dst, ',')
			}
			dst = append(AppendString(dst, m.Key), ':')
			dst = appendClean(dst, m.Value)
		}
		return append(dst, '}')
	case splice.Invalid, splice.Null, splice.Bool, splice.Number, splice.NonFinite, splice.String:
	}
	return append(dst, raw...)
}
