package api

import (
	"net/http"

	"headrace/api/dialect"
	"headrace/api/problem"
)

// list answers GET /api/2.0/gateway/routes/ and GET /api/2.0/endpoints/.
func (t *catalogue) list(l dialect.Listing) handler {
	return func(w *replyWriter, r *http.Request, _ string) error {
		from, err := dialect.PageStart(r.URL.RawQuery)
		if err != nil {
			return err
		}
		var out dialect.Output
		l.Page(&out, t.table.Load(), from)
		return writeOutput(w, &out)
	}
}

// get answers for one entry.
func (t *catalogue) get(l dialect.Listing) handler {
	return func(w *replyWriter, _ *http.Request, name string) error {
		route := t.table.Load().Route(name)
		if route == nil {
			return problem.Absent(l.Word, name)
		}
		var out dialect.Output
		l.Entry(&out, route)
		return writeOutput(w, &out)
	}
}
