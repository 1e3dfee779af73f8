package splice

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
)

// tolerance is how far a float may be from the other, relative to the length of the vector it is part of: padding and
// the order of sums move the last digits, and a component near 0 has none of its own.
const tolerance = 1e-6

// Same says whether two answers, raw JSON values, are the same for a caller: floats within a millionth, everything
// else equal, texts by what they say and objects whatever the order of their keys. Where they differ, why is for
// people and quotes nothing.
func Same(a, b []byte) (same bool, why string) {
	if bytes.Equal(a, b) {
		if _, err := Whole(a); err != nil {
			return false, "it is not JSON"
		}
		return true, ""
	}
	va, errA := Whole(a)
	vb, errB := Whole(b)
	if errA != nil || errB != nil {
		return false, "it is not JSON"
	}
	why = differ(va, vb, 0)
	return why == "", why
}

// differ says what differs; "" when nothing does. norm is the length of the vector around numbers, 0 outside one.
func differ(a, b Value, norm float64) string {
	if bytes.Equal(a.Raw, b.Raw) {
		return ""
	}
	if a.Kind != b.Kind {
		return fmt.Sprintf("%s and %s", a.Kind, b.Kind)
	}
	switch a.Kind {
	case Number:
		return numbersDiffer(a.Raw, b.Raw, norm)
	case String:
		x, errA := Unquote(a.Raw)
		y, errB := Unquote(b.Raw)
		if errA == nil && errB == nil && x == y {
			return ""
		}
		return "different texts"
	case Array:
		return listsDiffer(a, b)
	case Object:
		return objectsDiffer(a, b)
	case Invalid, Null, Bool, NonFinite:
	}
	return "different values"
}

func numbersDiffer(a, b []byte, norm float64) string {
	float := func(n []byte) bool { return bytes.ContainsAny(n, ".eE") }
	if float(a) != float(b) {
		return "an integer and a float"
	}
	x, errA := strconv.ParseFloat(string(a), 64)
	y, errB := strconv.ParseFloat(string(b), 64)
	if !float(a) || errA != nil || errB != nil {
		return "different numbers"
	}
	if math.Abs(x-y) <= tolerance*max(math.Abs(x), math.Abs(y), norm) {
		return ""
	}
	return "numbers further apart than a millionth"
}

func listsDiffer(a, b Value) string {
	if a.Len != b.Len {
		return fmt.Sprintf("lists of %d and %d elements", a.Len, b.Len)
	}
	norm := 0.0
	if a.Numbers {
		norm = length(a.Raw)
	}
	x, errA := values(a.Raw)
	y, errB := values(b.Raw)
	if errA != nil || errB != nil {
		return "it is not JSON"
	}
	for i := range x {
		if why := differ(x[i], y[i], norm); why != "" {
			return fmt.Sprintf("element %d: %s", i, why)
		}
	}
	return ""
}

func objectsDiffer(a, b Value) string {
	x, errA := Members(a.Raw)
	y, errB := Members(b.Raw)
	if errA != nil || errB != nil || len(x) != len(y) {
		return "objects with different keys"
	}
	other := make(map[string][]byte, len(y))
	for _, m := range y {
		other[m.Key] = m.Value
	}
	for i, m := range x {
		raw, ok := other[m.Key]
		if !ok {
			return "objects with different keys"
		}
		va, errA := Whole(m.Value)
		vb, errB := Whole(raw)
		if errA != nil || errB != nil {
			return "it is not JSON"
		}
		if why := differ(va, vb, 0); why != "" {
			return fmt.Sprintf("member %d: %s", i, why)
		}
	}
	return ""
}

func values(list []byte) ([]Value, error) {
	var all []Value
	r := NewReader(list)
	err := r.Array(func(int) error {
		v, err := r.Value()
		all = append(all, v)
		return err
	})
	return all, err
}

// length is the Euclidean length of a list of numbers.
func length(list []byte) float64 {
	all, err := values(list)
	if err != nil {
		return 0
	}
	sum := 0.0
	for _, v := range all {
		if x, err := strconv.ParseFloat(string(v.Raw), 64); err == nil && !math.IsNaN(x) && !math.IsInf(x, 0) {
			sum += x * x
		}
	}
	return math.Sqrt(sum)
}
