package dashboard_test

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"headrace/api/dashboard/recent"
	"headrace/api/guard"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/job"
)

func good(id string, began time.Time) recent.Call {
	return recent.Call{
		ID: id, Route: "embeddings", Path: "/v1/embeddings", Status: 200, Began: began, Took: 50 * time.Millisecond, Queue: 12 * time.Millisecond,
		Gather: 2 * time.Millisecond, Upstream: 30 * time.Millisecond, Batch: 2, Asked: 70, Sent: 900,
	}
}

func TestEachPageShowsWhatItIsFor(t *testing.T) {
	t.Parallel()
	now := time.Now()
	failed := recent.Call{ID: "c", Route: "embeddings", Path: "/gateway/embeddings/invocations", Code: fault.UpstreamError, Message: "out of memory", Status: 500, Began: now, Took: time.Second}
	s := newServer(t, newWorld(), newRing(t, good("a", now), good("b", now.Add(4*time.Millisecond)), failed), open())
	for path, want := range map[string][]string{
		"/ui":                   {"33.3 % of the calls on embeddings fail", "Calls a second", "id=\"c-rate\"", "/ui/calls/a?n=1"},
		"/ui?range=24h":         {"The last 24 h"},
		"/ui/calls":             {"upstream_error", "/ui/calls/b?n=2"},
		"/ui/calls?q=status:ok": {"/ui/calls/a?n=1"},
		"/ui/calls?q=slower:x":  {"slower:x is no time"},
		"/ui/calls?q=batch:9":   {"None of the calls"},
		"/ui/calls/a?n=1":       {"10 ms of waiting for a slot, 2 ms of waiting for company, 30 ms in the model server together with 1 other request, and 8 ms in Headrace", "In the same call", "/ui/calls/b?n=2", "4 ms later"},
		"/ui/calls/c":           {"ended after 1 s with upstream_error", "out of memory"},
		"/ui/jobs":              {"/ui/jobs/job-1", "failed"},
		"/ui/jobs/job-1":        {"the model said no", "Attempt 1", "on w1", "Run again", "Erase", "&#34;a&#34;: 1"},
		"/ui/jobs?q=colour:red": {"there is no parameter &#34;colour&#34;"},
		"/ui/routes":            {"Sharing calls pays", "5.5 times", "http://127.0.0.1:9020/x", "Pause its jobs"},
		"/ui/assets/app.css?v=": {":root"},
		"/ui/calls/nope":        {"is not remembered here"},
		"/ui/jobs/nope":         {"there is no job"},
		"/ui/nowhere":           {"There is no page"},
	} {
		w := get(t, s, path)
		for _, text := range want {
			if !strings.Contains(w.Body.String(), text) {
				t.Errorf("%s (%d) does not say %q", path, w.Code, text)
			}
		}
		if strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s shows a credential", path)
		}
		policy := w.Header().Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || strings.Contains(w.Body.String(), " style=") || strings.Contains(w.Body.String(), "onclick") {
			t.Errorf("%s: %s", path, policy)
		}
	}
	if w := get(t, s, "/ui/jobs?q=job-1"); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/ui/jobs/job-1" {
		t.Errorf("the id of a job leads to %d %s", w.Code, w.Header().Get("Location"))
	}
}

func TestEmptyPages(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.table, w.records = inference.NewTable(), nil
	s := newServer(t, w, newRing(t), open())
	for path, want := range map[string]string{"/ui": "All is well", "/ui/calls": "No call was answered yet", "/ui/jobs": "No job was accepted yet", "/ui/routes": "has no route"} {
		if got := get(t, s, path); got.Code != http.StatusOK || !strings.Contains(got.Body.String(), want) {
			t.Errorf("%s: %d, without %q", path, got.Code, want)
		}
	}
}

// hostile is what callers and models may write.
const hostile = `"><script>alert(1)</script>'` + "\x1b[31m\u202egpj.exe\u2066\x00\u0085\xff" + `{{.}}`

func TestForeignTextsStayTexts(t *testing.T) {
	t.Parallel()
	long := hostile + strings.Repeat("x", 200_000)
	w := newWorld()
	w.body = []byte(long)[:9000]
	rec := w.records["job-1"]
	rec.Reason, rec.Provider, rec.Owner, rec.IdempotencyKey, rec.RequestID = long, long, long, long, long
	rec.Error.Message, rec.Error.Code, rec.Tags, rec.Metadata = long, long, []string{long}, map[string]string{long: long}
	rec.Attempts[0].Worker, rec.Attempts[0].Outcome, rec.Attempts[0].Error = long, long, &job.Problem{Code: long, Message: long}
	rec.State, rec.Result = job.Succeeded, &job.Body{Bytes: 9}
	w.ready = errors.New(long)
	w.state.Batching[0].Stage, w.state.Batching[0].Reason = "refuted", long
	c := good("x", time.Now())
	c.ID, c.Path, c.Message, c.Job, c.Code = hostile, long, long, hostile, fault.UpstreamError
	ring := newRing(t, c)
	s := newServer(t, w, ring, open())
	q := url.QueryEscape(hostile)
	for _, path := range []string{
		"/ui", "/ui/calls", "/ui/calls?q=" + q, "/ui/calls?q=status:" + q, "/ui/calls?q=" + q + "%3Ax", "/ui/calls/" + url.PathEscape(hostile), "/ui/jobs", "/ui/jobs?q=" + q, "/ui/jobs?q=tag:" + q,
		"/ui/jobs/job-1", "/ui/jobs/" + url.PathEscape(hostile), "/ui/routes", "/ui/login?x=" + q, "/ui/" + url.PathEscape(hostile),
	} {
		got := get(t, s, path)
		body := got.Body.String()
		if strings.Contains(body, "<script>alert") || strings.ContainsAny(body, "\x1b\u202e\u2066\x00\u0085") {
			t.Errorf("%s lets through what steers", path)
		}
		if len(body) > 300_000 {
			t.Errorf("%s has %d bytes", path, len(body))
		}
	}
}

func TestChangesAreAskedForByOurOwnPages(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := newServer(t, w, newRing(t), open())
	sure := url.Values{"sure": {"yes"}}
	for _, c := range []struct {
		path, site string
		form       url.Values
		status     int
		done       string
	}{
		{"/ui/jobs/job-1/cancel", "cross-site", nil, http.StatusForbidden, ""},
		{"/ui/jobs/job-1/cancel", "same-origin", nil, http.StatusSeeOther, "cancel job-1"},
		{"/ui/jobs/job-1/retry", "same-origin", nil, http.StatusSeeOther, "retry job-1"},
		{"/ui/jobs/job-1/erase", "same-origin", nil, http.StatusBadRequest, ""},
		{"/ui/jobs/job-1/erase", "same-origin", sure, http.StatusSeeOther, "erase job-1"},
		{"/ui/jobs/job-1/explode", "same-origin", nil, http.StatusNotFound, ""},
		{"/ui/jobs/nope/cancel", "same-origin", nil, http.StatusNotFound, ""},
		{"/ui/routes/embeddings/pause", "same-origin", nil, http.StatusSeeOther, "pause embeddings"},
		{"/ui/routes/nope/pause", "same-origin", nil, http.StatusNotFound, ""},
		{"/ui/routes/embeddings/stop", "same-origin", nil, http.StatusNotFound, ""},
	} {
		w.done = nil
		if got := post(t, s, c.path, c.site, c.form); got.Code != c.status || strings.Join(w.done, ",") != c.done {
			t.Errorf("%s from %s: %d, did %q", c.path, c.site, got.Code, w.done)
		}
	}
}

func TestTheFilterOfJobsStandsInTheAddress(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.more = true
	s := newServer(t, w, newRing(t), open())
	got := get(t, s, "/ui/jobs?q="+url.QueryEscape(`route:embeddings status:failed,queued tag:"two words" tag:b code:deadline older:2d`))
	f := w.asked
	if f.Route != "embeddings" || !slices.Equal(f.Tags, []string{"two words", "b"}) || f.ErrorCode != "deadline" || len(f.States) != 2 || time.Since(f.CreatedBefore) < 47*time.Hour || f.Limit != 50 {
		t.Errorf("%+v", f)
	}
	if !strings.Contains(got.Body.String(), "&amp;after=job-1") {
		t.Error("there is no way to older jobs")
	}
	for _, line := range []string{`tag:"open`, "older:x", "two words", "route:", strings.Repeat("x", 600)} {
		if got := get(t, s, "/ui/jobs?q="+url.QueryEscape(line)); !strings.Contains(got.Body.String(), `id="problem"`) {
			t.Errorf("%s is taken", line)
		}
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	const token = "a token that is long enough"
	w := newWorld()
	s := newServer(t, w, newRing(t), guard.New(token, false))
	if got := get(t, s, "/ui/jobs"); got.Code != http.StatusUnauthorized || !strings.Contains(got.Body.String(), `name="token"`) || strings.Contains(got.Body.String(), "job-1") {
		t.Errorf("without a login: %d", got.Code)
	}
	if got := post(t, s, "/ui/jobs/job-1/cancel", "same-origin", nil); got.Code != http.StatusUnauthorized || w.done != nil {
		t.Errorf("a change without a login: %d", got.Code)
	}
	if got := post(t, s, "/ui/login", "same-origin", url.Values{"token": {"wrong"}}); got.Code != http.StatusUnauthorized || got.Header().Get("Set-Cookie") != "" {
		t.Errorf("a wrong token: %d", got.Code)
	}
	got := post(t, s, "/ui/login", "same-origin", url.Values{"token": {token}})
	if got.Code != http.StatusSeeOther || len(got.Result().Cookies()) != 1 {
		t.Fatalf("the token: %d", got.Code)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://10.0.0.1/ui/jobs", http.NoBody)
	r.AddCookie(got.Result().Cookies()[0])
	in := httptest.NewRecorder()
	s.ServeHTTP(in, r)
	if in.Code != http.StatusOK || !strings.Contains(in.Body.String(), "job-1") || !strings.Contains(in.Body.String(), "Log out") {
		t.Errorf("with a login: %d", in.Code)
	}
	if got := get(t, s, "/ui/login?kept"); !strings.Contains(got.Body.String(), "only over HTTPS") {
		t.Error("a browser that keeps no login is not told")
	}
	if out := post(t, s, "/ui/logout", "same-origin", nil); out.Result().Cookies()[0].MaxAge >= 0 {
		t.Error("logging out keeps the cookie")
	}
	closed := newServer(t, w, newRing(t), guard.New("", false))
	if got := get(t, closed, "/ui"); got.Code != http.StatusUnauthorized || !strings.Contains(got.Body.String(), "api.admin_token is not set") {
		t.Errorf("without a token being set: %d", got.Code)
	}
}

// A first view is small: what a browser fetches for it, compressed.
func TestTheFirstViewIsSmall(t *testing.T) {
	t.Parallel()
	var calls []recent.Call
	for range 100 {
		calls = append(calls, good("a", time.Now()))
	}
	s := newServer(t, newWorld(), newRing(t, calls...), open())
	total := 0
	for _, path := range []string{"/ui", "/ui/assets/app.css", "/ui/assets/app.js", "/ui/assets/mark.svg"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1"+path, http.NoBody)
		r.Header.Set("Accept-Encoding", "gzip, br")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != http.StatusOK || w.Header().Get("Content-Encoding") != "gzip" {
			t.Errorf("%s: %d", path, w.Code)
		}
		total += w.Body.Len()
	}
	if total > 30_000 {
		t.Errorf("%d bytes", total)
	}
}

// A page that listens gets its parts, again when they change, and lets go at its end.
func TestPartsComeByThemselves(t *testing.T) {
	t.Parallel()
	w, ring := newWorld(), newRing(t)
	server := httptest.NewServer(newServer(t, w, ring, open()))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/ui/live/now", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/event-stream") {
		t.Fatal(kind)
	}
	lines := bufio.NewScanner(resp.Body)
	until := func(text string) {
		for lines.Scan() {
			if strings.Contains(lines.Text(), text) {
				return
			}
		}
		t.Errorf("the stream ended before %q: %v", text, lines.Err())
	}
	until("No call was answered yet")
	ring.Add(good("fresh", time.Now()))
	until("/ui/calls/fresh")
}
