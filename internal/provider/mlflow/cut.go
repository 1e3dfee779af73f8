package mlflow

import (
	"bytes"
	"unicode/utf8"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/splice"
)

// Cut finds the rows of a merged reply: the elements of a `predictions` list with exactly as many as were asked
// for, in an object that holds nothing else, since anything else may speak of all callers. An object of lists, such
// as {"candidates": [...]}, is not cut: nothing tells whether the lists run along the rows.
func (*Provider) Cut(route *inference.Route, kind inference.Type, n int, reply provider.Reply) ([][]byte, error) {
	body := inUTF8(reply)
	if mediaOf(reply.ContentType) != mediaJSON || reply.Status >= 300 || !utf8.Valid(body) {
		return nil, uncut(route, n, "it is no JSON of status 200")
	}
	rows, why := predictionsOf(body)
	if why != "" {
		return nil, uncut(route, n, why)
	}
	if n == 1 && len(rows) > 1 && kind == inference.Completions && texts(rows) {
		return whole(body), nil // all predictions for the one prompt; in company they are one element
	}
	if n == 1 && len(rows) > 0 && kind == inference.Embeddings && numbers(rows) {
		return whole(body), nil // some servers answer one text with a flat list
	}
	if len(rows) != n {
		return nil, uncut(route, n, "predictions has another number of elements")
	}
	if kind == inference.Embeddings {
		for _, row := range rows {
			if k := splice.KindOf(row); k != splice.Array && k != splice.Object {
				return nil, uncut(route, n, "predictions holds "+k.String()+" where a row of numbers is expected")
			}
		}
	}
	return rows, nil
}

// predictionsOf finds the elements of predictions in one pass, since a merged reply is long; why says what is wrong.
func predictionsOf(body []byte) (rows [][]byte, why string) {
	r := splice.NewReader(body)
	if r.Kind() != splice.Object {
		return nil, "it is not an object"
	}
	members, kind := 0, splice.Invalid
	err := r.Object(func(key string) error {
		if members++; key != "predictions" {
			members++ // it is one too many
		}
		if kind = r.Kind(); kind != splice.Array || members > 1 {
			return nil
		}
		return r.Array(func(int) error {
			row, err := r.Value()
			rows = append(rows, row.Raw)
			return err
		})
	})
	if err == nil {
		err = r.End()
	}
	switch {
	case err != nil:
		return nil, "it is not JSON"
	case members != 1:
		return nil, `it has other members than one "predictions"`
	case kind != splice.Array:
		return nil, "predictions is " + kind.String() + ", not a list"
	}
	return rows, ""
}

// whole is the list of a reply to one row, as that row's only element.
func whole(body []byte) [][]byte {
	found, err := splice.Members(body)
	if err != nil || len(found) != 1 {
		return nil // predictionsOf has read it
	}
	return [][]byte{found[0].Value}
}

// uncut never quotes the reply: it belongs to several callers.
func uncut(route *inference.Route, n int, why string) error {
	return fault.New(fault.UpstreamBadResponse,
		"the model server's reply to a call of %d rows on route %q cannot be divided between the callers: %s", n, route.Name, why)
}

// Whole makes the reply that a request would have had alone. One prompt alone has its predictions as the list
// itself, and in company as one element of it: a prompt with two masks is answered ["love","to"] alone and
// ["race",["love","to"]] beside another. On a raw route a single row that is a list of texts may be either, so the
// request has to be asked alone.
func (*Provider) Whole(kind inference.Type, like provider.Reply, rows [][]byte) (provider.Reply, bool) {
	reply := provider.Reply{Status: like.Status, Reason: like.Reason, ContentType: "application/json"}
	list := listOf(rows)
	if len(rows) == 1 && kind != inference.Embeddings && textsIn(rows[0]) {
		switch kind {
		case inference.Completions:
			list = rows[0]
		case inference.Raw:
			return provider.Reply{}, false
		case inference.Chat, inference.Embeddings:
		}
	}
	reply.Body = bytes.Join([][]byte{[]byte(`{"predictions": `), list, {'}'}}, nil)
	return reply, true
}

// listOf writes rows as a list with the blanks that Python writes.
func listOf(rows [][]byte) []byte {
	return append(append([]byte{'['}, bytes.Join(rows, []byte(", "))...), ']')
}

// numbers says that all elements are numbers, NaN included.
func numbers(elements [][]byte) bool {
	for _, e := range elements {
		if k := splice.KindOf(e); k != splice.Number && k != splice.NonFinite {
			return false
		}
	}
	return true
}

// textsIn says that a row is a list of texts and nothing else. Most rows are lists of many numbers: the first element
// tells.
func textsIn(row []byte) bool {
	if splice.KindOf(row) != splice.Array || splice.KindOf(bytes.TrimLeft(row, " \t\r\n")[1:]) != splice.String {
		return false
	}
	elements, err := splice.Elements(row)
	return err == nil && texts(elements)
}

// texts says that all elements are strings.
func texts(elements [][]byte) bool {
	for _, e := range elements {
		if splice.KindOf(e) != splice.String {
			return false
		}
	}
	return true
}
