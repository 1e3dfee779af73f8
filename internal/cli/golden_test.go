package cli_test

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

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
