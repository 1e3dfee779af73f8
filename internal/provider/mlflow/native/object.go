package native

import (
	"bytes"
	"slices"

	"headrace/internal/fault"
	"headrace/internal/splice"
)

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
