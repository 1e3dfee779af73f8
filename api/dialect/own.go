package dialect

import (
	"bytes"

	"headrace/internal/fault"
	"headrace/internal/inference"
)

// ownDialect is the body form of Headrace's own paths: MLflow's newer one, without what MLflow lets a model server
// answer wrongly. Token ids are taken where the route says that its model takes them, and a flat list of them is one
// text; a list of nothing is refused.
type ownDialect struct{ *endpointsDialect }

// Read checks a body of our own paths.
func (d *ownDialect) Read(route *inference.Route, body Body) (*Asked, error) {
	a, err := d.endpointsDialect.Read(route, body)
	if err != nil || route.Type != inference.Embeddings || route.Vendor != nil {
		return a, err
	}
	if len(a.Request.Items) == 0 {
		return nil, nothingToEmbed([]byte("[]"))
	}
	all := append(append([]byte("["), bytes.Join(a.Request.Items, []byte(","))...), ']')
	a.Request.Items, _, err = oneOrMany(route, "input", all, a.Request.Items)
	return a, err
}

func nothingToEmbed(input []byte) error {
	return invalid([]fault.Issue{{Loc: []any{"input"}, Type: "too_short", Msg: "there is nothing to embed in the list", In: input}})
}
