package dashboard

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"

	"headrace/api/problem"
	"headrace/internal/fault"
)

// Root is where the pages begin.
const Root = "/ui"

//go:embed page/*.html
var pageFiles embed.FS

//go:embed assets/*
var assetFiles embed.FS

// Deps are what the pages show, and what they act through. All are needed but Disk.
type Deps struct {
	Routes  Routes
	Calls   Calls
	Jobs    Jobs
	Bodies  Bodies
	Queues  Queues
	Finder  Finder
	Guard   Guard
	Disk    Disk // nil: this process does not know
	Version string
	Log     *slog.Logger
}

// Server serves the pages. It starts nothing; a stream of events ends with its request.
type Server struct {
	Deps

	mux    http.Handler
	pages  map[string]*template.Template
	assets map[string]asset
	board  board
}

type asset struct {
	body []byte
	kind string
	hash string
}

// New makes the pages.
func New(deps Deps) (*Server, error) {
	if deps.Routes == nil || deps.Calls == nil || deps.Jobs == nil || deps.Bodies == nil || deps.Queues == nil || deps.Finder == nil || deps.Guard == nil {
		return nil, errors.New("dashboard: routes, calls, jobs, bodies, queues, a finder and a guard are needed")
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{Deps: deps, pages: make(map[string]*template.Template), assets: make(map[string]asset)}
	if err := s.read(); err != nil {
		return nil, fmt.Errorf("dashboard: %w", err)
	}
	s.mux = http.NewCrossOriginProtection().Handler(s.guarded(s.routes()))
	return s, nil
}

// read parses what is embedded.
func (s *Server) read() error {
	for name, kind := range map[string]string{"app.css": "text/css; charset=utf-8", "app.js": "text/javascript; charset=utf-8", "mark.svg": "image/svg+xml"} {
		body, err := assetFiles.ReadFile("assets/" + name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		s.assets[name] = asset{body, kind, hex.EncodeToString(sum[:6])}
	}
	funcs := template.FuncMap{
		"took": took, "size": size, "count": count, "clock": clock, "plain": plain, "plural": plural, "share": share,
		"ms":      func(ms float64) string { return took(time.Duration(ms * float64(time.Millisecond))) },
		"count64": func(n uint64) string { return count(int(n)) }, "pages": menu,
		"asset": func(name string) string { return Root + "/assets/" + name + "?v=" + s.assets[name].hash },
	}
	base, err := template.New("layout.html").Funcs(funcs).ParseFS(pageFiles, "page/layout.html", "page/parts.html")
	if err != nil {
		return err
	}
	for _, name := range []string{"now", "calls", "call", "jobs", "job", "routes", "login", "error"} {
		page, err := base.Clone()
		if err != nil {
			return err
		}
		if s.pages[name], err = page.ParseFS(pageFiles, "page/"+name+".html"); err != nil {
			return err
		}
	}
	return nil
}

// routes maps paths to pages.
func (s *Server) routes() http.Handler {
	mux, jobs := http.NewServeMux(), jobPages{s}
	for pattern, p := range map[string]page{
		Root:                    {"now", "Now", s.now},
		Root + "/calls":         {"calls", "Calls", s.listCalls},
		Root + "/calls/{id...}": {"call", "Calls", s.showCall},
		Root + "/jobs":          {"jobs", "Jobs", jobs.listJobs},
		Root + "/jobs/{id}":     {"job", "Jobs", jobs.showJob},
		Root + "/routes":        {"routes", "Routes", s.listRoutes},
		Root + "/{$}":           {"error", "", toRoot},
		Root + "/{rest...}":     {"error", "", noPage},
	} {
		mux.HandleFunc("GET "+pattern, s.shown(p))
	}
	mux.HandleFunc("GET "+Root+"/assets/{name}", s.serveAsset)
	mux.HandleFunc("GET "+Root+"/live/now", s.live("now", s.now, time.Second))
	mux.HandleFunc("GET "+Root+"/live/routes", s.live("routes", s.listRoutes, time.Second))
	mux.HandleFunc("GET "+Root+"/live/jobs/{id}", s.live("job", jobs.showJob, time.Second))
	mux.HandleFunc("POST "+Root+"/jobs/{id}/{verb}", jobs.changeJob)
	mux.HandleFunc("POST "+Root+"/routes/{name}/{verb}", s.changeQueue)
	return mux
}

// ServeHTTP serves what is below Root.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	s.mux.ServeHTTP(w, r)
}

// menu is the navigation.
func menu() []struct{ Name, Link string } {
	return []struct{ Name, Link string }{{"Now", Root}, {"Calls", Root + "/calls"}, {"Jobs", Root + "/jobs"}, {"Routes", Root + "/routes"}}
}

// page is one page: its template, its place in the navigation, and what makes its view.
type page struct {
	name string
	nav  string
	view func(r *http.Request, now time.Time) (any, error)
}

// frame is what the layout shows around a view.
type frame struct {
	Title   string
	Nav     string
	Live    string // where its events come from; "" for none
	Version string
	Guarded bool // the reader has logged in, and can log out
	View    any
}

// titled views have a name of their own.
type titled interface{ title() string }

// living views say where their events come from; "" for none.
type living interface{ events() string }

// redirect is an error that leads elsewhere.
type redirect string

func (to redirect) Error() string { return "see " + string(to) }

func toRoot(*http.Request, time.Time) (any, error) { return nil, redirect(Root) }

func noPage(r *http.Request, _ time.Time) (any, error) {
	return nil, fault.New(fault.NotFound, "There is no page %s.", problem.Quotable(r.URL.Path))
}

// shown makes the handler of a page.
func (s *Server) shown(p page) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		view, err := p.view(r, time.Now())
		if err != nil {
			s.fail(w, r, err)
			return
		}
		f := frame{Nav: p.nav, Title: p.nav, View: view}
		if v, ok := view.(titled); ok {
			f.Title = v.title()
		}
		if v, ok := view.(living); ok {
			f.Live = v.events()
		}
		s.write(w, r, http.StatusOK, p.name, f)
	}
}

// fail shows an error as a page.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if to, ok := errors.AsType[redirect](err); ok {
		http.Redirect(w, r, string(to), http.StatusSeeOther) //nolint:gosec // only pages of ours are redirects
		return
	}
	f := fault.From(err)
	message := f.Message
	if f.Code == fault.Internal {
		s.Log.ErrorContext(r.Context(), "a page of the dashboard failed", "path", r.URL.Path, "error", err)
		message = "Headrace made a mistake; its log says more."
	}
	s.write(w, r, problem.MeaningOf(problem.Headrace, f).Status, "error", frame{Title: "Not shown", View: errorView{string(f.Code), message}})
}

type errorView struct{ Code, Message string }

func (s *Server) write(w http.ResponseWriter, r *http.Request, status int, name string, f frame) {
	f.Version, f.Guarded = s.Version, s.Guard.Known() && name != "login"
	var b bytes.Buffer
	if err := s.pages[name].ExecuteTemplate(&b, "layout.html", f); err != nil {
		s.Log.ErrorContext(r.Context(), "a page of the dashboard could not be made", "page", name, "error", err)
		http.Error(w, "Headrace made a mistake; its log says more.", http.StatusInternalServerError)
		return
	}
	send(w, r, status, "text/html; charset=utf-8", b.Bytes())
}

// send writes a reply, compressed for those who read that: a page then has a tenth of its bytes. It has no secret whose length
// could tell.
func send(w http.ResponseWriter, r *http.Request, status int, kind string, body []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Vary", "Accept-Encoding")
	if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.WriteHeader(status)
		_, _ = w.Write(body) // an error means that the reader has gone
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	w.WriteHeader(status)
	packed := gzip.NewWriter(w)
	_, _ = packed.Write(body) // as above
	_ = packed.Close()
}

func (s *Server) serveAsset(w http.ResponseWriter, r *http.Request) {
	a, ok := s.assets[path.Base(r.URL.Path)]
	if !ok {
		s.fail(w, r, fault.New(fault.NotFound, "There is no such file."))
		return
	}
	if r.URL.Query().Get("v") == a.hash {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	send(w, r, http.StatusOK, a.kind, a.body)
}
