package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gorilla/mux"

	"headrace/api/problem"
	"headrace/internal/fault"
)

// switchboard brings each request to its operation and writes its errors.
type switchboard struct{ *chassis }

// router maps paths and methods to operations. The paths of calls come first, as calls are most of the
// traffic. It is the only place that knows mux.
func (b *switchboard) router(ops []operation) *mux.Router {
	router := mux.NewRouter().SkipClean(true)
	var order []string
	methods := make(map[string][]operation)
	for _, op := range ops {
		if _, ok := methods[op.path]; !ok {
			order = append(order, op.path)
		}
		methods[op.path] = append(methods[op.path], op)
	}
	for _, path := range order {
		router.Handle(path, b.serve(methods[path]))
	}
	router.NotFoundHandler = b.unknown(router, methods)
	return router
}

// paths lists the templates of every path that a router knows.
func paths(router *mux.Router) []string {
	var all []string
	// The callback returns no error, so Walk does not either.
	_ = router.Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		if template, err := route.GetPathTemplate(); err == nil {
			all = append(all, template)
		}
		return nil
	})
	return all
}

// serve dispatches the methods of one path.
func (b *switchboard) serve(ops []operation) http.Handler {
	var allow []string
	for _, op := range ops {
		allow = append(allow, op.method)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := placed(mux.Vars(r))
		reply := asReply(w)
		if ops[0].named && !answers(b.table.Load(), name) {
			b.fail(reply, r, problem.NoRoute(problem.VoiceOf(r.URL.Path), name))
			return
		}
		at := slices.IndexFunc(ops, func(op operation) bool {
			return op.method == r.Method || op.heads && r.Method == http.MethodHead
		})
		if at < 0 {
			w.Header().Set("Allow", strings.Join(allow, ", "))
			b.fail(reply, r, fault.New(fault.MethodNotAllowed, "Method Not Allowed"))
			return
		}
		if ops[at].guarded && b.guard != nil {
			if err := b.guard.Admit(r); err != nil {
				w.Header().Set("WWW-Authenticate", "Bearer")
				b.fail(reply, r, err)
				return
			}
		}
		if err := ops[at].handle(reply, r, name); err != nil {
			b.fail(reply, r, err)
		}
	})
}

// placed is what stands for the placeholder of a path, which has one at most.
func placed(vars map[string]string) string {
	for _, value := range vars {
		return value
	}
	return ""
}

// asReply is the middleware's writer.
func asReply(w http.ResponseWriter) *replyWriter {
	if reply, ok := w.(*replyWriter); ok {
		return reply
	}
	return &replyWriter{ResponseWriter: w}
}

// fail writes an error in the voice of the path.
func (c *chassis) fail(w *replyWriter, r *http.Request, err error) {
	e := fault.From(err)
	if e.Code == fault.Internal {
		c.log.ErrorContext(r.Context(), "internal error while answering a request", "request_id", w.id, "path", r.URL.Path, "error", err)
	}
	w.fail(r, e)
}

// unknown answers for paths that do not exist: a redirect where only the trailing slash is too many or
// missing, else 404. The redirect names the path alone: the host of a request is its sender's word. What is meant for
// a proxy, CONNECT and targets that name a host, is redirected nowhere.
func (b *switchboard) unknown(router *mux.Router, methods map[string][]operation) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reply := asReply(w)
		path := r.URL.Path + "/"
		if strings.HasSuffix(r.URL.Path, "/") {
			path = strings.TrimRight(r.URL.Path, "/")
		}
		proxied := r.Method == http.MethodConnect || r.URL.Host != ""
		if proxied || path == "" || strings.HasPrefix(path, "//") || !b.exists(router, methods, path) {
			b.fail(reply, r, problem.NoPath(r.URL.Path))
			return
		}
		address := path
		if r.URL.RawQuery != "" {
			address += "?" + r.URL.RawQuery
		}
		w.Header().Set("Location", quoteLocation(address))
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
}

func (b *switchboard) exists(router *mux.Router, methods map[string][]operation, path string) bool {
	var match mux.RouteMatch
	probe := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: path}}
	if !router.Match(probe, &match) || match.Route == nil {
		return false
	}
	template, err := match.Route.GetPathTemplate()
	if err != nil || len(methods[template]) == 0 {
		return false
	}
	return !methods[template][0].named || answers(b.table.Load(), placed(match.Vars))
}

// quoteLocation escapes what may not stand in an address.
func quoteLocation(address string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(address) {
		c := address[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("_.-~:/%#?=@[]!$&'()*+,", c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
