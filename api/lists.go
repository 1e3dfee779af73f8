package api

import (
	"net/http"
	"strconv"

	"headrace/api/dialect"
	"headrace/internal/fault"
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
			return absent(l.Word, name)
		}
		var out dialect.Output
		l.Entry(&out, route)
		return writeOutput(w, &out)
	}
}

func absent(word, name string) error {
	return fault.New(fault.NotFound, "The %s '%s' is not present or active on the server. Please verify the %s name.",
		word, replaceInvalid(name), word)
}

func writeOutput(w http.ResponseWriter, out *dialect.Output) error {
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(out.Len()))
	w.WriteHeader(http.StatusOK)
	_, _ = out.WriteTo(w) // an error means that the caller has gone
	return nil
}
