package cli_test

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"headrace/internal/cli"
)

// golden compares a text with a file of testdata; UPDATE_GOLDEN=1 writes the file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != strings.ReplaceAll(string(want), "\r\n", "\n") {
		t.Errorf("%s has changed (UPDATE_GOLDEN=1 go test ./internal/cli accepts it):\n%s", path, got)
	}
}

// What people read stays as it is, with colours and without.
func TestOutput(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	jobs := []string{
		`{"id":"job_1","route":"embeddings","status":"succeeded","priority":"standard","attempt":2,"max_attempts":4,"run":1,"tags":["a","b"],"metadata":{"order":"4711"},` +
			`"created_at":"2026-01-31T11:57:00Z","started_at":"2026-01-31T11:57:01Z","finished_at":"2026-01-31T11:57:03.5Z","result_expires_at":"2026-02-01T11:57:03Z","result_info":{"bytes":8452}}`,
		`{"id":"job_2","route":"iris","status":"failed","status_reason":"upstream_error","priority":"batch","attempt":4,"max_attempts":4,"run":2,"interruptions":1,` +
			`"created_at":"2026-01-31T06:00:00Z","started_at":"2026-01-31T06:00:01Z","finished_at":"2026-01-31T06:10:00Z","error":{"code":"upstream_error","detail":"the model server answered 400:\nno \u001b[31msuch thing"}}`,
		`{"id":"my-own-id","route":"iris","status":"queued","priority":"interactive","attempt":0,"max_attempts":4,"run":1,"created_at":"2026-01-31T11:59:59.75Z",` +
			`"deadline":"2026-02-01T12:00:00Z","queue":{"position_estimate":12,"estimated_start_at":null,"paused":true}}`,
		`{"id":"job_4","route":"iris","status":"scheduled","priority":"standard","attempt":0,"max_attempts":4,"run":1,"created_at":"2026-01-28T12:00:00Z","run_at":"2026-01-31T14:00:00Z"}`,
	}
	const queues = `[{"name":"embeddings","paused":true,"waiting":{"interactive":1,"standard":20,"batch":3000},"oldest_queued_at":{"standard":"2026-01-31T11:00:00Z","batch":null},` +
		`"started_per_second":{"standard":1.25},"max_waiting":10000,"workers":2,"slots":8},{"name":"iris","paused":false,"waiting":{},"oldest_queued_at":{},"started_per_second":{},"max_waiting":10000}]`
	const routes = `[{"name":"embeddings","type":"llm/v1/embeddings","family":"routes","workers":1,"slots":4,"waiting":3,"paused":true,"replicas":[{"url":"http://127.0.0.1:9020","state":"up"},` +
		`{"url":"http://127.0.0.1:9021","state":"down"}]},{"name":"iris","type":"mlflow/v1/invocations","family":"endpoints","paused":false}]`
	const attempts = `[{"n":1,"run":1,"worker":"w1","started_at":"2026-01-31T11:00:00Z","ended_at":"2026-01-31T11:01:00Z","outcome":"failed","error":{"code":"upstream_timeout","detail":"no answer in 60s"}},` +
		`{"n":2,"run":1,"worker":"w2","started_at":"2026-01-31T11:59:00Z","ended_at":null,"outcome":"running"}]`
	for name, coloured := range map[string]bool{"plain": false, "coloured": true} {
		var b strings.Builder
		add := func(text string, err error) {
			if err != nil {
				t.Error(err)
			}
			b.WriteString(text + "\n")
		}
		add(cli.JobTable(jobs, at, coloured))
		for _, job := range jobs {
			add(cli.JobDetails(job, at, coloured))
		}
		add(cli.QueueTable(queues, at, coloured))
		add(cli.RouteTable(routes, coloured))
		add(cli.AttemptTable(attempts, at, coloured))
		if strings.Contains(b.String(), "\x1b[31msuch") {
			t.Error("a gateway's words steer the terminal")
		}
		golden(t, "output-"+name+".txt", b.String())
	}
}

// Each command has a help with an example.
func TestHelp(t *testing.T) {
	t.Setenv("HEADRACE_URL", "")
	t.Setenv("HEADRACE_CONFIG", "")
	for _, command := range []string{
		"", "up", "broker", "api", "worker", "check", "import", "query", "routes", "version", "queues", "queues pause", "queues resume",
		"jobs", "jobs submit", "jobs get", "jobs wait", "jobs result", "jobs events", "jobs ls", "jobs input", "jobs attempts",
		"jobs cancel", "jobs retry", "jobs delete", "jobs dead", "jobs redrive",
	} {
		words := strings.Fields(command)
		code, out, errs := run(t.Context(), append([]string{"help"}, words...)...)
		if code != 0 || errs != "" || command != "version" && !strings.Contains(out, "Examples:\n  headrace "+strings.TrimSuffix(command, " ")) && command != "" {
			t.Errorf("%s: %d\n%s%s", command, code, out, errs)
		}
		if _, same, _ := run(t.Context(), append(words, "--help")...); same != out {
			t.Errorf("%s --help says:\n%s", command, same)
		}
		golden(t, "help-"+strings.Join(append([]string{"headrace"}, words...), "-")+".txt", out)
	}
}

func TestLengthsOfTime(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]time.Duration{
		"0ms": 0, "250ms": 250 * time.Millisecond, "4s": 4 * time.Second, "4.2s": 4200 * time.Millisecond, "59s": 59 * time.Second, "2m": 2 * time.Minute,
		"3m20s": 200 * time.Second, "59m": 59 * time.Minute, "1h": time.Hour, "5h10m": 310 * time.Minute, "24h": 24*time.Hour - time.Second, "3d": 80 * time.Hour, "-5s": -5 * time.Second,
	} {
		if got := cli.InWords(d); got != want {
			t.Errorf("%v is %s, not %s", d, got, want)
		}
	}
}

// A binary names its commit, and whether files had changed since.
func TestCommit(t *testing.T) {
	t.Parallel()
	settings := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "true"}}
	for want, n := range map[string]int{"": 0, "0123456789ab": 1, "0123456789ab+changes": 2} {
		if got := cli.CommitOf(&debug.BuildInfo{Settings: settings[:n]}); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}
