package e2e_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// node runs a script with the npm packages of its folder, which are installed into an ignored one.
func node(t *testing.T, addr, name string, args ...string) {
	t.Helper()
	script(t, "../e2e/env.sh", "node")
	bin, err := filepath.Abs(filepath.Join("..", ".cache", "py", "node", "bin"))
	if err != nil {
		t.Fatal(err)
	}
	// Node looks for packages beside the script.
	dir := filepath.Join("..", ".cache", "node", name)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"package.json", "package-lock.json", name + ".mjs"} {
		text, err := os.ReadFile(filepath.Join("clients", name, file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "openai", "package.json")); err != nil {
		script(t, "env", "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "npm", "ci", "--prefix", dir, "--no-audit", "--no-fund", "--silent")
	}
	out := script(t, filepath.Join(bin, "node"), append([]string{filepath.Join(dir, name+".mjs"), "http://" + addr}, args...)...)
	if !strings.Contains(out, "\nok: ") {
		t.Errorf("%s: %s", name, out)
	}
}

// The code in docs/clients.md is what the scripts run.
func TestClientsDocument(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(filepath.Join("..", "docs", "clients.md"))
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Glob(filepath.Join("clients", "*", "*.*"))
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, path := range scripts {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range regexp.MustCompile(`(?s)(?:#|//) >>> [^\n]*\n(.*?)\n(?:#|//) <<<`).FindAllSubmatch(text, -1) {
			shown++
			code := strings.Trim(strings.ReplaceAll(string(part[1]), "  # noqa: E402", ""), "\n")
			if !strings.Contains(string(doc), code) {
				t.Errorf("docs/clients.md does not show what %s runs:\n%s", path, code)
			}
		}
	}
	if shown != 7 {
		t.Errorf("%d parts are shown", shown)
	}
}
