package api_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"headrace/api"
	"headrace/internal/fault"
)

// Browsers are led to the pages, other clients to /docs, as always; and without pages everything is as it was.
func TestTheRootLeadsBrowsersToThePages(t *testing.T) {
	t.Parallel()
	pages := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("page " + r.URL.Path)) })
	with := newServer(t, &fakeBroker{}, func(_ *api.Config, d *api.Deps) { d.Pages = pages })
	without := newServer(t, &fakeBroker{})
	const browser = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	for _, c := range []struct {
		server       *api.Server
		accept, want string
	}{
		{with, browser, "/ui"}, {with, "Accept: */*", "/docs"}, {with, "X-None: 1", "/docs"}, {without, browser, "/docs"},
	} {
		w := do(t, c.server, http.MethodGet, "/", "", c.accept)
		if w.Code != http.StatusTemporaryRedirect || w.Header().Get("Location") != c.want {
			t.Errorf("%s: %d to %q, want %q", c.accept, w.Code, w.Header().Get("Location"), c.want)
		}
	}
	for _, path := range []string{"/ui", "/ui/calls/x"} {
		if w := do(t, with, http.MethodGet, path, ""); w.Body.String() != "page "+path || w.Header().Get("X-Request-Id") == "" {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		if w := do(t, without, http.MethodGet, path, ""); w.Code != http.StatusNotFound {
			t.Errorf("%s without pages: %d", path, w.Code)
		}
	}
	if w := do(t, with, http.MethodGet, "/uix", ""); w.Code != http.StatusNotFound {
		t.Errorf("/uix: %d", w.Code)
	}
}

type observed struct {
	mu  sync.Mutex
	all []api.Answered
}

func (o *observed) Answered(a api.Answered) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, a)
}

// What is told of a call is enough to say why it was slow or failed.
func TestWhatIsToldOfACall(t *testing.T) {
	t.Parallel()
	o := &observed{}
	s := newServer(t, &fakeBroker{}, func(_ *api.Config, d *api.Deps) { d.Observe = o })
	body := `{"model":"embeddings","input":["a","b"]}`
	good := do(t, s, http.MethodPost, "/v1/embeddings", body, "X-Request-Id: mine")
	bad := do(t, s, http.MethodPost, "/gateway/embeddings/invocations", `{"input":1}`)
	if len(o.all) != 2 {
		t.Fatalf("%d calls were told of", len(o.all))
	}
	a := o.all[0]
	if a.ID != "mine" || a.Path != "/v1/embeddings" || a.Route != "embeddings" || a.Code != "" || a.Status != http.StatusOK || a.Batch != 3 ||
		a.Queue != 1500*time.Microsecond || a.Upstream != 2*time.Millisecond || a.Asked != int64(len(body)) || a.Sent != int64(good.Body.Len()) || a.Took <= 0 {
		t.Errorf("%+v", a)
	}
	if a = o.all[1]; a.Code != fault.Invalid || a.Status != bad.Code || a.Message == "" || a.Path != "/gateway/embeddings/invocations" || !strings.HasPrefix(a.Route, "emb") {
		t.Errorf("%+v, answered %d", a, bad.Code)
	}
}

type closedDoor struct{}

func (closedDoor) Admit(*http.Request) error {
	return fault.New(fault.Unauthorized, "This wants api.admin_token.")
}

// What shows or changes the work of others is guarded, and nothing else is.
func TestWhatTheGuardGuards(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fakeBroker{}, func(_ *api.Config, d *api.Deps) {
		d.Guard, d.Jobs, d.List = closedDoor{}, struct{ api.Jobs }{}, struct{ api.JobList }{}
	})
	for _, path := range []string{"GET /v1/jobs", "GET /v1/dead", "POST /v1/dead/redrive", "POST /v1/dead/x/redrive", "DELETE /v1/jobs/x", "POST /v1/queues/chat/pause", "POST /v1/queues/chat/resume"} {
		method, path, _ := strings.Cut(path, " ")
		w := do(t, s, method, path, "")
		if w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), "admin_token") || w.Header().Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
	}
	for _, path := range []string{"POST /v1/jobs", "GET /v1/routes", "GET /v1/limits", "GET /readyz", "POST /v1/embeddings"} {
		method, path, _ := strings.Cut(path, " ")
		if w := do(t, s, method, path, ""); w.Code == http.StatusUnauthorized {
			t.Errorf("%s %s: %d", method, path, w.Code)
		}
	}
}
