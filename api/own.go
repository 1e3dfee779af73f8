package api

import (
	"bytes"

	"headrace/internal/fault"
	"headrace/internal/inference"
)

// ownDialect is the body form of Headrace's own paths: MLflow's newer one, without what MLflow lets a model server
// answer wrongly. Token ids are taken where the route says that its model takes them, and a flat list of them is one
// text; a list of nothing is refused.
type ownDialect struct{ *endpointsDialect }

func (d *ownDialect) read(route *inference.Route, body parsed) (*asked, error) {
	a, err := d.endpointsDialect.read(route, body)
	if err != nil || route.Type != inference.Embeddings {
		return a, err
	}
	if len(a.request.Items) == 0 {
		return nil, nothingToEmbed([]byte("[]"))
	}
	all := append(append([]byte("["), bytes.Join(a.request.Items, []byte(","))...), ']')
	a.request.Items, _, err = oneOrMany(route, "input", all, a.request.Items)
	return a, err
}

func nothingToEmbed(input []byte) error {
	return invalid([]fault.Issue{{Loc: []any{"input"}, Type: "too_short", Msg: "there is nothing to embed in the list", In: input}})
}
