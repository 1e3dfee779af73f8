package mlflow

import (
	"bytes"

	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/provider/mlflow/native"
	"headrace/internal/splice"
)

// decodeEmbeddings reads the answer to embeddings: rows of numbers, or one flat list of floats. As in
// MLflow the number of rows is not compared with the number of inputs.
func decodeEmbeddings(route *inference.Route, req *inference.Request, reply provider.Reply) (*inference.Result, error) {
	p, err := read(route, req, reply, rowShape)
	if err != nil {
		return nil, err
	}
	if p.value.Kind == splice.Object && splice.KindOf(data(p.value)) == splice.Array { // llm/v1/embeddings, asked with `inputs`
		return native.Decode(native.Embeddings, req, p.value.Raw)
	}
	if p.value.Kind != splice.Array {
		at := ""
		if (p.value.Kind == splice.String || p.value.Kind == splice.Object) && falsy(p.value) {
			at = ".0" // MLflow takes an empty string or object for a row
		}
		return nil, rowShape.wrong(complaint{at: at, rule: notAList, came: "predictions is " + p.value.Kind.String()}, reply)
	}
	if len(p.elements) == 0 {
		return nil, rowShape.wrong(complaint{rule: emptyList, came: "predictions is an empty list"}, reply)
	}
	if flat(p.elements) {
		return flatRow(route, p.elements)
	}
	rows := make([][]byte, 0, len(p.elements))
	numbers := 0
	for i, row := range p.elements {
		raw, err := finite(route, row, i)
		if err != nil {
			return nil, err
		}
		if raw == nil {
			return nil, rowShape.wrongs(rowComplaints(p.elements), reply)
		}
		rows = append(rows, raw)
		numbers += row.Len
	}
	if numbers == 0 {
		return nil, rowShape.wrong(complaint{
			rule: "Value error, One or more lists in the returned prediction response are empty", came: "every row of predictions is empty",
		}, reply)
	}
	return &inference.Result{Items: rows}, nil
}

// data is the member of an object that holds OpenAI's embeddings; nil when they are not in it.
func data(value splice.Value) []byte {
	_, all := members(value.Raw)
	if string(all["object"].Raw) != `"list"` {
		return nil
	}
	return all["data"].Raw
}

// finite is the row as it may be passed on; nil when it is no row of numbers.
func finite(route *inference.Route, row splice.Value, index int) ([]byte, error) {
	switch {
	case row.Kind != splice.Array || !row.Numbers:
		return nil, nil
	case !row.NonFinite:
		return row.Raw, nil
	case hasHugeInteger(row):
		return nil, nil
	case route.NaNError:
		return nil, nonFinite(index)
	}
	return splice.Nulled(row.Raw), nil
}

// flat tells a list that has nothing but floats; MLflow takes integers only inside rows.
func flat(elements []splice.Value) bool {
	for _, e := range elements {
		if !isFloat(e) {
			return false
		}
	}
	return true
}

func isFloat(v splice.Value) bool {
	return v.Kind == splice.NonFinite || v.Kind == splice.Number && bytes.ContainsAny(v.Raw, ".eE")
}

// hasHugeInteger finds an integer beyond float64. Python reads a float of that size as infinite, an integer
// as an integer, and MLflow refuses the latter.
func hasHugeInteger(row splice.Value) bool {
	for _, e := range elementsOf(row.Raw) {
		if e.NonFinite && !isFloat(e) {
			return true
		}
	}
	return false
}

// flatRow joins the floats of a flat list to the one row they are.
func flatRow(route *inference.Route, elements []splice.Value) (*inference.Result, error) {
	row := []byte{'['}
	for i, e := range elements {
		if i > 0 {
			row = append(row, ',')
		}
		if e.NonFinite && route.NaNError {
			return nil, nonFinite(0)
		}
		row = append(row, splice.Nulled(e.Raw)...)
	}
	return &inference.Result{Items: [][]byte{append(row, ']')}}, nil
}

// rowComplaints lists what is wrong with rows, as MLflow would: an element that is no list, or the elements
// of a list that are no numbers.
func rowComplaints(rows []splice.Value) []complaint {
	var bad []complaint
	for i, row := range rows {
		if row.Kind != splice.Array {
			bad = append(bad, complaint{at: dotted(i), rule: notAList, came: name(i) + " is " + row.Kind.String()})
			continue
		}
		if row.Numbers && !row.NonFinite {
			continue
		}
		for j, e := range elementsOf(row.Raw) {
			if e.Kind == splice.NonFinite || e.Kind == splice.Number && (isFloat(e) || !e.NonFinite) {
				continue
			}
			came := e.Kind.String()
			if e.Kind == splice.Number {
				came = "an integer beyond the range of floats"
			}
			bad = append(bad, complaint{at: dotted(i, j), rule: notANumber, came: name(i, j) + " is " + came})
		}
	}
	return bad
}
