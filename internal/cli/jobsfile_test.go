package cli_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"headrace/internal/apptest"
)

// narrow is the gateway at addr with a max_body of n bytes.
func narrow(t *testing.T, addr string, n int64) string {
	t.Helper()
	gateway := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: addr})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/v1/limits":
			_, _ = fmt.Fprintf(w, `{"max_body_bytes":%d}`, n)
		case r.ContentLength > n:
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		default:
			gateway.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// A file's lines go in as many requests as the gateway's limit wants; a line that makes no job is named and keeps no other
// from being placed, and one without text is none.
func TestJobsFileLines(t *testing.T) {
	t.Parallel()
	addr, model := apptest.Up(t, "")
	var lines []string
	for i := range 10 { // together more than may be sent
		lines = append(lines, fmt.Sprintf(`{"input":"%d%s"}`, i, strings.Repeat("x", 300)))
	}
	lines = append(lines, "", `"text"`, "null", `{"input":`, `{"input":"<a>"}`, "  ", `{"nothing":"here"}`, `{"input":"`+strings.Repeat("x", 1200)+`"}`, `{"input":"last"}`)
	file := apptest.Write(t, "lines.jsonl", strings.Join(lines, "\r\n")+"\n\n")
	args := []string{"jobs", "submit", "emb", "--file", file, "--url", narrow(t, addr, 1000)}
	code, out, errs := run(t.Context(), args...)
	if placed := ids(out); code != 1 || len(placed) != 13 {
		t.Fatalf("%d, %d jobs: %s", code, len(placed), errs)
	}
	for _, want := range []string{
		"lines.jsonl:13: a line is a JSON object or a text", "lines.jsonl:14: the line is not JSON",
		"lines.jsonl:17: 400 (invalid)", "lines.jsonl:18: the job has ", "4 of 20 lines were refused",
	} {
		if !strings.Contains(errs, want) {
			t.Errorf("%s is not said: %s", want, errs)
		}
	}
	if strings.Contains(errs, "Go value") {
		t.Error(errs)
	}
	if _, again, _ := run(t.Context(), args...); strings.Join(ids(again), " ") != strings.Join(ids(out), " ") {
		t.Errorf("the same file again made %s, then %s", out, again)
	}
	for _, id := range ids(out) {
		if status := jobOf(t, addr, id); status != "succeeded" {
			t.Errorf("%s is %s", id, status)
		}
	}
	if got := len(model.Requests()); got != 13 {
		t.Errorf("13 jobs were run %d times", got)
	}
}
