package app_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/goleak"

	"headrace/internal/apptest"
	"headrace/internal/mlflowtest"
	"headrace/internal/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, natstest.Leaks()...) }

func freeAddr(t *testing.T) string {
	t.Helper()
	return apptest.FreeAddr(t)
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	return apptest.Get(t, url)
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	return apptest.Write(t, name, text)
}

// up runs everything in this process until the test ends, and gives the address.
func up(t *testing.T, more string) string {
	t.Helper()
	addr, _ := apptest.Up(t, more)
	return addr
}

func upWith(t *testing.T, more string) (string, *mlflowtest.Server) {
	t.Helper()
	return apptest.Up(t, more)
}

func upFrom(t *testing.T, addr, path string) {
	t.Helper()
	apptest.UpFrom(t, addr, path)
}

func post(t *testing.T, url, prefer, body string) (int, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	if prefer != "" {
		req.Header.Set("Prefer", prefer)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	reply, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(reply), err
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	apptest.Eventually(t, what, is)
}

// The page is what Prometheus wants, and docs/operations.md names just what is on it.
func TestMetrics(t *testing.T) {
	t.Parallel()
	ops := freeAddr(t)
	addr := up(t, fmt.Sprintf("ops_listen = %q", ops))
	for _, path := range []string{"/endpoints/emb/invocations", "/v1/jobs"} {
		body := `{"input": "x"}`
		if path == "/v1/jobs" {
			body = `{"route": "emb", "input": {"input": "x"}}`
		}
		eventually(t, path+" is accepted", func() bool {
			status, _, err := post(t, "http://"+addr+path, "", body)
			return err == nil && status < 300
		})
	}
	var page string
	eventually(t, "a job has ended", func() bool {
		_, page = get(t, "http://"+addr+"/metrics")
		// The worker counts what it ran in a moment after it has stored the end.
		return strings.Contains(page, `headrace_jobs_finished_total{state="succeeded"} 1`) && strings.Contains(page, "headrace_job_attempts_total{")
	})
	problems, err := promlint.New(strings.NewReader(page)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "headrace_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	served := names(regexp.MustCompile(`(?m)^# TYPE (headrace_\w+)`), page)
	doc, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	table, _, _ := strings.Cut(string(doc), "## Prometheus")
	documented := names(regexp.MustCompile("`(headrace_\\w+)`"), table)
	// Nothing waits now, nothing was lost, and nothing streams.
	rare := []string{"headrace_jobs_waiting", "headrace_jobs_oldest_seconds", "headrace_job_interruptions_total", "headrace_job_leases_lost_total", "headrace_open_streams", "headrace_first_piece_seconds"}
	for _, name := range documented {
		if !slices.Contains(served, name) && !slices.Contains(rare, name) {
			t.Errorf("%s is documented and not served", name)
		}
	}
	for _, name := range served {
		if !slices.Contains(documented, name) {
			t.Errorf("%s is served and not documented", name)
		}
	}
	if status, _ := get(t, "http://"+ops+"/metrics"); status != http.StatusOK {
		t.Errorf("ops_listen answers %d", status)
	}
	for _, rule := range names(regexp.MustCompile(`\b(headrace_\w+)`), strings.Join(regexp.MustCompile(`(?m)^ *expr: .*$`).FindAllString(string(doc), -1), "\n")) {
		if name := strings.TrimSuffix(rule, "_bucket"); !slices.Contains(served, name) && !slices.Contains(rare, name) {
			t.Errorf("an alert uses %s, which is not served", name)
		}
	}
}

func names(pattern *regexp.Regexp, text string) []string {
	var all []string
	for _, match := range pattern.FindAllStringSubmatch(text, -1) {
		all = append(all, match[1])
	}
	slices.Sort(all)
	return slices.Compact(all)
}
