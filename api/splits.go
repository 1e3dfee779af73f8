package api

import (
	"hash/fnv"
	"math/rand/v2"
	"net/http"

	"headrace/api/dialect"
	"headrace/api/problem"
	"headrace/internal/inference"
)

// answers tells whether calls can be made under a name: that of a route, or of a split.
func answers(table *inference.Table, name string) bool {
	return table.Route(name) != nil || table.Split(name) != nil
}

// named is the route that a call under a name goes to, and the split it was drawn from, if it was; nil when there is
// neither. A call that may be repeated under a key goes the same way each time.
func named(table *inference.Table, name, key string) (*inference.Route, *inference.Split) {
	if route := table.Route(name); route != nil {
		return route, nil
	}
	split := table.Split(name)
	if split == nil {
		return nil, nil
	}
	return table.Route(split.Pick(draw(key))), split
}

// draw is a number from 0 to 99, by chance or by a key.
func draw(key string) int {
	if key != "" {
		h := fnv.New64a()
		_, _ = h.Write([]byte(key)) // a hash takes everything
		return int(h.Sum64() % 100)
	}
	return rand.IntN(100)
}

// getSplit answers GET /api/3.0/gateway/route/{name}, as MLflow 3 does.
func (t *catalogue) getSplit(w *replyWriter, _ *http.Request, name string) error {
	split := t.table.Load().Split(name)
	if split == nil {
		return problem.Absent("route", name)
	}
	var out dialect.Output
	dialect.AppendTrafficRoute(&out, split)
	return writeOutput(w, &out)
}

// viewSplit is a split as GET /v1/models shows it.
func (t *catalogue) viewSplit(table *inference.Table, split *inference.Split) modelView {
	view := t.viewModel(table.Route(split.Destinations[0].Route))
	view.ID = split.Name
	return view
}
