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
	if splice.KindOf(body) != splice.Object {
		return nil, uncut(route, n, "it is not an object")
	}
	found, err := splice.Members(body)
	if err != nil {
		return nil, uncut(route, n, "it is not JSON")
	}
	if len(found) != 1 || found[0].Key != "predictions" {
		return nil, uncut(route, n, `it has other members than one "predictions"`)
	}
	list := found[0].Value
	if splice.KindOf(list) != splice.Array {
		return nil, uncut(route, n, "predictions is "+splice.KindOf(list).String()+", not a list")
	}
	rows, err := splice.Elements(list)
	if err != nil {
		return nil, uncut(route, n, "it is not JSON")
	}
	if n == 1 && len(rows) > 1 && kind == inference.Completions && texts(rows) {
		return [][]byte{list}, nil // all predictions for the one prompt; in company they are one element
	}
	if n == 1 && len(rows) > 0 && kind == inference.Embeddings && numbers(rows) {
		return [][]byte{list}, nil // some servers answer one text with a flat list
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
	if len(rows) == 1 && splice.KindOf(rows[0]) == splice.Array {
		elements, err := splice.Elements(rows[0])
		if err != nil {
			return provider.Reply{}, false
		}
		if len(elements) > 0 && texts(elements) {
			switch kind {
			case inference.Completions:
				list = rows[0]
			case inference.Raw:
				return provider.Reply{}, false
			case inference.Chat, inference.Embeddings:
			}
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

// texts says that all elements are strings.
func texts(elements [][]byte) bool {
	for _, e := range elements {
		if splice.KindOf(e) != splice.String {
			return false
		}
	}
	return true
}
