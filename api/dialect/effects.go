package dialect

import (
	"slices"
	"strconv"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/splice"
)

// checkedInt is a checked integer; 0 when there is none.
func checkedInt(raw []byte) int {
	n, err := strconv.Atoi(string(raw))
	if err != nil {
		return 0
	}
	return n
}

// enoughChoices checks that a reply has as many choices as n asked for. One choice is what there is without n.
func enoughChoices(a *Asked, res *inference.Result) error {
	if a.choices <= 1 {
		return nil
	}
	least := len(res.Items)
	if len(a.Request.Items) > 1 {
		least = 1
		if len(res.Groups) > 0 {
			least = slices.Min(res.Groups)
		}
	}
	if least >= a.choices {
		return nil
	}
	e := fault.New(fault.Invalid, "n is %d, but the model gave %d for a prompt; leave n out, and ask several times for several answers", a.choices, least)
	e.Param = "n"
	return e
}

// rightLength checks that the vectors of a reply have as many numbers as dimensions asked for.
func rightLength(a *Asked, res *inference.Result) error {
	if a.dimensions == 0 {
		return nil
	}
	for _, row := range res.Items {
		v, err := splice.Whole(row)
		if err != nil || v.Len == a.dimensions {
			continue // what is no list is told of where it is written
		}
		e := fault.New(fault.Invalid, "dimensions is %d, but the model's vectors have %d numbers; leave dimensions out", a.dimensions, v.Len)
		e.Param = "dimensions"
		return e
	}
	return nil
}
