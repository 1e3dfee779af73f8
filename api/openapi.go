package api

import (
	"context"
	_ "embed" // for the page and the icon
	"net/http"
	"slices"
	"strconv"
	"strings"

	"headrace/api/openapi"
	"headrace/api/problem"
	"headrace/internal/fault"
)

// page is the whole of /docs: it shows /openapi.json without foreign assets.
//
//go:embed assets/docs.html
var page []byte

// icon is /favicon.ico.
//
//go:embed assets/favicon.ico
var icon []byte

func (s *Server) serveOpenAPI(w *replyWriter, _ *http.Request, _ string) error {
	document, err := s.openapi()
	if err != nil { // of our own making: TestOpenAPIExamples would find it
		return err
	}
	writeBytes(w, http.StatusOK, "application/json", document)
	return nil
}

func serveDocs(w *replyWriter, _ *http.Request, _ string) error {
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src 'self'")
	writeBytes(w, http.StatusOK, "text/html; charset=utf-8", page)
	return nil
}

func serveIcon(w *replyWriter, _ *http.Request, _ string) error {
	writeBytes(w, http.StatusOK, "image/vnd.microsoft.icon", icon)
	return nil
}

// pagesPath is where Deps.Pages begin.
const pagesPath = "/ui"

// toPage answers GET /: browsers, which ask for HTML, are led to the pages where there are some.
func (s *Server) toPage(w *replyWriter, r *http.Request, _ string) error {
	to := "/docs"
	if s.pages != nil {
		w.Header().Set("Vary", "Accept")
		if strings.Contains(r.Header.Get("Accept"), "text/html") {
			to = pagesPath
		}
	}
	w.Header().Set("Location", to)
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusTemporaryRedirect)
	return nil
}

// withPages serves the pages, and the rest by next.
func (s *Server) withPages(next http.Handler) http.Handler {
	if s.pages == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != pagesPath && !strings.HasPrefix(r.URL.Path, pagesPath+"/") {
			next.ServeHTTP(w, r)
			return
		}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(s.draining, cancel)() //nolint:contextcheck // the end of another context is what it is about
		s.pages.ServeHTTP(w, r.WithContext(ctx))
	})
}

// describe makes openapi.json out of the operations.
func describe(version string, ops []operation) ([]byte, error) {
	described := make([]openapi.Operation, 0, 2*len(ops))
	for _, op := range withHeads(ops) {
		described = append(described, openapi.Operation{
			Method: op.method, Path: op.path, Tag: op.tag, Summary: op.summary, Parameters: slices.Concat(op.params, op.headers),
			Body: op.body, Optional: op.optional, Examples: op.examples, Answers: answersOf(op),
		})
	}
	return openapi.Make(version, described) //nolint:wrapcheck // it names itself
}

// withHeads adds the HEAD of each operation that has one beside it.
func withHeads(ops []operation) []operation {
	all := make([]operation, 0, 2*len(ops))
	for _, op := range ops {
		all = append(all, op)
		if op.heads {
			op.method, op.summary, op.heads = http.MethodHead, "Its headers.", false
			all = append(all, op)
		}
	}
	return all
}

// answersOf is how an operation succeeds and fails. A HEAD has the same answers without bodies.
func answersOf(op operation) []openapi.Answer {
	var all []openapi.Answer
	for _, a := range op.answers {
		all = append(all, openapi.Answer{
			Status: strconv.Itoa(a.status), What: a.what, Media: a.media(), Schema: a.schema, Headers: a.headers,
		})
	}
	fails := slices.Concat(op.fails, []fault.Code{fault.Internal})
	if op.body != "" {
		fails = slices.Concat(fails, []fault.Code{fault.Invalid, fault.TooLarge, fault.QueueFull, fault.Deadline})
	}
	for _, code := range fault.Codes() { // in their order
		if slices.Contains(fails, code) {
			all = addFailures(all, op, code)
		}
	}
	for i := range all {
		all[i].Headers = append(slices.Clone(all[i].Headers), headerRequestID)
		if op.method == http.MethodHead {
			all[i].Media = ""
		}
	}
	return all
}

// voice is the form of the operation's errors.
func (op operation) voice() problem.Voice {
	return problem.VoiceOf(strings.ReplaceAll(op.path, "{", ""))
}

// addFailures adds what a code is in the voice of an operation. Codes of one status share an answer.
func addFailures(all []openapi.Answer, op operation, code fault.Code) []openapi.Answer {
	v := op.voice()
	a := openapi.Answer{What: whatOf(code), Media: "application/json", Headers: slices.Clone(op.beside)}
	f := fault.New(code, "")
	m := problem.MeaningOf(v, f)
	switch v {
	case problem.MLflow:
		a.Schema = "MLflowError"
	case problem.OpenAI:
		a.Schema = "OpenAIError"
		if m.Vain {
			a.Headers = append(a.Headers, "X-Should-Retry")
		}
	case problem.Headrace:
		a.Schema, a.Media = "Problem", "application/problem+json"
	}
	statuses := []string{strconv.Itoa(m.Status)}
	switch {
	case code == fault.UpstreamError:
		statuses = []string{"4XX", "5XX"} // its own
	case code == fault.Invalid && v == problem.MLflow:
		statuses = []string{"400", "422"}
	case code == fault.Invalid && op.body != "":
		statuses = []string{"400", "415"} // a Content-Encoding other than gzip
	}
	if code == fault.UpstreamError && v == problem.OpenAI { // some of its statuses are vain
		a.Headers = append(a.Headers, "X-Should-Retry")
	}
	if code == fault.UpstreamError || m.Status == http.StatusServiceUnavailable || m.Status == http.StatusTooManyRequests {
		a.Headers = append(a.Headers, "Retry-After")
	}
	for _, status := range statuses {
		a.Status = status
		at := slices.IndexFunc(all, func(was openapi.Answer) bool { return was.Status == status })
		if at < 0 {
			all = append(all, a)
			continue
		}
		all[at].What += " " + a.What
		all[at].Headers = union(all[at].Headers, a.Headers)
	}
	return all
}

// union is a and what of b is not in it.
func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, one := range b {
		if !slices.Contains(all, one) {
			all = append(all, one)
		}
	}
	return all
}

// whatOf says in one sentence when a code is the answer.
func whatOf(code fault.Code) string {
	switch code {
	case fault.Invalid:
		return "The body, a parameter or a header is wrong; the message names it."
	case fault.NotFound:
		return "There is none of this name."
	case fault.MethodNotAllowed:
		return "The path does not have this method; Allow lists those it has."
	case fault.TooLarge:
		return "The body is larger than api.max_body."
	case fault.RateLimited:
		return "The limit of the route is used up for this period."
	case fault.QueueFull:
		return "As much waits, or is held, as the configuration allows."
	case fault.NoWorkers:
		return "No worker serves the route, or the broker is out of reach."
	case fault.UpstreamUnavailable:
		return "The model server refused or dropped the connection, or the worker that ran the call is lost."
	case fault.UpstreamTimeout:
		return "The model server did not answer in time."
	case fault.UpstreamError:
		return "The model server answered with this status."
	case fault.UpstreamBadResponse:
		return "The model server's answer has the wrong shape."
	case fault.Deadline:
		return "The time ran out before the call was run."
	case fault.NotImplemented:
		return "Not implemented: streams, and the limits that MLflow's open-source gateway does not have either."
	case fault.Conflict:
		return "The state of the job does not allow it."
	case fault.KeyReused:
		return "The id or the key was used for another body or other options."
	case fault.Gone:
		return "The input and the result of the job have expired or were erased."
	case fault.Unauthorized:
		return "It wants api.admin_token, in the header Authorization: Bearer."
	case fault.JobFailed:
		return "The job has failed; the message says of what."
	case fault.ShuttingDown:
		return "This process drains."
	case fault.Internal:
	}
	return "The gateway's own fault; the log has its cause under the request id."
}
