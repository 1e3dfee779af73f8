package cli_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"headrace/internal/apptest"
	"headrace/internal/mlflowtest"
)

// The command line places jobs and follows them.
func TestJobsCommand(t *testing.T) {
	t.Parallel()
	addr, _ := apptest.Up(t, "")
	jobs := func(want int, args ...string) string {
		t.Helper()
		code, out, errs := run(t.Context(), append(append([]string{"jobs"}, args...), "--url", "http://"+addr)...)
		if code != want {
			t.Fatalf("jobs %v: %d\n%s%s", args, code, out, errs)
		}
		return out + errs
	}
	if out := jobs(0, "submit", "emb", "one text", "another", "--wait"); !strings.Contains(out, "succeeded") {
		t.Error(out)
	}
	id, _, _ := strings.Cut(jobs(0, "submit", "emb", "--data", `{"input":"x"}`, "--key", "k", "--priority", "batch"), " ")
	if again, _, _ := strings.Cut(jobs(0, "submit", "emb", "--data", `{"input":"x"}`, "--key", "k", "--priority", "batch"), " "); again != id {
		t.Errorf("the key made %s and %s", id, again)
	}
	if out := jobs(0, "result", id); !strings.Contains(out, `"embedding"`) {
		t.Error(out)
	}
	if out := jobs(0, "wait", id); !strings.Contains(out, "succeeded") {
		t.Error(out)
	}
	if out := jobs(0, "get", id, "--json"); !strings.Contains(out, `"object":"job"`) {
		t.Error(out)
	}
	if out := jobs(0, "events", id); !strings.Contains(out, "succeeded") {
		t.Error(out)
	}
	if out := jobs(0, "cancel", id); !strings.Contains(out, "succeeded") {
		t.Error(out)
	}
	if out := jobs(1, "retry", id); !strings.Contains(out, "conflict") {
		t.Error(out)
	}
	if out := jobs(1, "get", "nothing"); !strings.Contains(out, "not_found") {
		t.Error(out)
	}
	if out := jobs(0, "ls", "--status", "succeeded,failed", "--route", "emb", "--priority", "batch"); !strings.Contains(out, "\n"+id+" ") || strings.Count(out, "\n") != 2 {
		t.Errorf("listed: %s", out)
	}
	if out := jobs(0, "ls", "--limit", "1", "--json"); strings.Count(out, `"object":"job"`) != 1 {
		t.Errorf("listed: %s", out)
	}
	if out := jobs(1, "ls", "--status", "lost"); !strings.Contains(out, `"lost"`) {
		t.Error(out)
	}
	var lines strings.Builder
	for i := range 450 {
		fmt.Fprintf(&lines, "{\"input\":\"text %d\"}\n", i)
	}
	file := apptest.Write(t, "lines.jsonl", lines.String())
	first, second := jobs(0, "submit", "emb", "--file", file), jobs(0, "submit", "emb", "--file", file)
	if n := strings.Count(first, "line-"); n != 450 || len(ids(first)) != 450 || !slices.Equal(ids(first), ids(second)) {
		t.Errorf("%d jobs, then others", n)
	}
	mixed := apptest.Write(t, "mixed.jsonl", `{"route":"emb","input":{"input":"x"}}`+"\n"+`{"route":"nope","input":{}}`+"\n")
	if out := jobs(1, "submit", "--file", mixed); !strings.Contains(out, "mixed.jsonl:2: 404") || !strings.Contains(out, "1 of 2 lines") {
		t.Error(out)
	}
	for _, args := range [][]string{{}, {"nonsense"}, {"get"}, {"submit", "emb"}, {"submit", "emb", "x", "--data", "{}"}, {"submit", "--file", "/nowhere"}, {"ls", "x"}, {"get", ""}} {
		jobs(2, args...)
	}
	for _, data := range []string{"{bad", "-"} { // nothing comes from standard input
		if out := jobs(2, "submit", "emb", "--data", data); !strings.Contains(out, "--data is not JSON") || strings.Contains(out, "RawMessage") {
			t.Error(out)
		}
	}
}

// A result that looks like a job is a result.
func TestJobsResultOfAnyShape(t *testing.T) {
	t.Parallel()
	model := mlflowtest.New(t)
	model.Reply(mlflowtest.JSON(`{"predictions":[1],"object":"job"}`))
	addr, _ := apptest.Up(t, fmt.Sprintf("[[endpoints]]\nname = \"raw\"\nendpoint_type = \"mlflow/v1/invocations\"\n[endpoints.model]\n"+
		"provider = \"mlflow-model-serving\"\nname = \"m\"\n[endpoints.model.config]\nmodel_server_url = %q\n", model.URL))
	_, placed, _ := run(t.Context(), "jobs", "submit", "raw", "--data", `{"inputs":[1]}`, "--url", "http://"+addr)
	id, _, _ := strings.Cut(placed, " ")
	code, out, errs := run(t.Context(), "jobs", "result", id, "--url", "http://"+addr)
	if code != 0 || !strings.Contains(out, `"predictions":[1]`) {
		t.Errorf("%d %s%s", code, out, errs)
	}
}

func ids(text string) []string {
	return regexp.MustCompile(`line-[0-9a-f]+`).FindAllString(text, -1)
}

// A file that was cut off in the middle is placed from the start again: no line becomes two jobs, and none is left out.
func TestJobsFileGoesOn(t *testing.T) {
	t.Parallel()
	addr, model := apptest.Up(t, "")
	const n = 1000
	file := manyLines(t, n)
	cut, cancel := context.WithCancel(t.Context())
	defer cancel()
	var batches atomic.Int64
	front := between(t, addr, func(w http.ResponseWriter, r *http.Request, on http.Handler) {
		if r.Method == http.MethodPost && batches.Add(1) == 3 {
			_, err := io.Copy(io.Discard, r.Body) // otherwise the server does not notice that the client leaves
			cancel()
			if err == nil {
				<-r.Context().Done()
			}
			return
		}
		on.ServeHTTP(w, r)
	})
	if code, out, _ := run(cut, "jobs", "submit", "emb", "--file", file, "--url", front); code == 0 || len(ids(out)) != 400 {
		t.Fatalf("cut off in the third of five batches: %d, %d jobs", code, len(ids(out)))
	}
	code, out, errs := run(t.Context(), "jobs", "submit", "emb", "--file", file, "--url", front)
	if got := len(ids(out)); code != 0 || got != n {
		t.Fatalf("%d, %d jobs: %s", code, got, errs)
	}
	seen := make(map[string]bool, n)
	for _, id := range ids(out) {
		seen[id] = true
	}
	if len(seen) != n {
		t.Errorf("%d lines became %d jobs", n, len(seen))
	}
	for id := range seen {
		if status := jobOf(t, addr, id); status != "succeeded" {
			t.Errorf("%s is %s", id, status)
		}
	}
	if got := len(model.Requests()); got != n {
		t.Errorf("%d lines were run %d times", n, got)
	}
}

// manyLines writes a file of inputs.
func manyLines(t *testing.T, n int) string {
	t.Helper()
	var lines strings.Builder
	for i := range n {
		fmt.Fprintf(&lines, "{\"input\":\"line %d\"}\n", i)
	}
	return apptest.Write(t, "lines.jsonl", lines.String())
}

// between starts a proxy in front of a gateway, and gives its address. do passes requests on, or does not.
func between(t *testing.T, addr string, do func(w http.ResponseWriter, r *http.Request, on http.Handler)) string {
	t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: addr})
	proxy.ErrorLog = log.New(io.Discard, "", 0) // a gateway that is restarted refuses connections
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { do(w, r, proxy) }))
	t.Cleanup(front.Close)
	return front.URL
}

// A gateway that is away for a moment, or has no room, is asked again for the lines that it has not taken.
func TestJobsFileWaits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config  string
		answers []int // to batches, before they are passed on
	}{
		"the gateway is restarted": {answers: []int{http.StatusServiceUnavailable, 0, http.StatusServiceUnavailable}},
		"the queue is full":        {config: "[jobs]\nmax_waiting = 100\n[worker]\nslots = 4"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, model := apptest.Up(t, c.config)
			hold := make(chan struct{})
			release := sync.OnceFunc(func() { close(hold) })
			t.Cleanup(release)
			model.Handle(mlflowtest.Held(hold, mlflowtest.Embeddings(4)))
			var batches atomic.Int64
			front := between(t, addr, func(w http.ResponseWriter, r *http.Request, on http.Handler) {
				if r.Method == http.MethodPost {
					i := int(batches.Add(1)) - 1
					if i > 0 {
						release() // until then the jobs of the first batch wait
					}
					if i < len(c.answers) && c.answers[i] != 0 {
						w.WriteHeader(c.answers[i])
						return
					}
				}
				on.ServeHTTP(w, r)
			})
			const n = 400
			file := manyLines(t, n)
			code, out, errs := run(t.Context(), "jobs", "submit", "emb", "--file", file, "--url", front)
			if got := len(ids(out)); code != 0 || got != n {
				t.Fatalf("%d, %d jobs: %s", code, got, errs)
			}
			if !strings.Contains(errs, "503") {
				t.Errorf("nobody was told: %s", errs)
			}
			for _, id := range ids(out) {
				if status := jobOf(t, addr, id); status != "succeeded" {
					t.Errorf("%s is %s", id, status)
				}
			}
			if got := len(model.Requests()); got != n {
				t.Errorf("%d lines were run %d times", n, got)
			}
		})
	}
}
