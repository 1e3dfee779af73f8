package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"headrace/internal/apptest"
)

// The commands of docs/jobs.md run as they stand there.
func TestShellExamples(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "jobs.md"))
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)<!-- shell -->\n```sh\n(.*?)```").FindAllStringSubmatch(string(doc), -1)
	if len(examples) != 2 {
		t.Fatalf("%d examples", len(examples))
	}
	addr, _ := apptest.Up(t, "")
	bin := filepath.Join(t.TempDir(), "headrace")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "headrace")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for i, wants := range [][]string{
		{`"embedding"`, "invoice-1  emb  succeeded", "\ninvoice-1 ", "batch", "STARTED/S"},
		{"lines, 4 placed, 0 there", "0 placed, 4 there", "go on with --run ", "nightly-0131-", "standard input: 4 lines, 2 placed, 2 there already"},
	} {
		text := strings.ReplaceAll(strings.ReplaceAll(examples[i][1], "submit embeddings", "submit emb"), "--route embeddings", "--route emb")
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", text)
		cmd.Dir = t.TempDir()
		cmd.Env = append(os.Environ(), "HEADRACE_URL=http://"+addr, "PATH="+filepath.Dir(bin)+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s%v: %s", text, err, out)
		}
		for _, want := range wants {
			if !strings.Contains(string(out), want) {
				t.Errorf("%q is not in\n%s", want, out)
			}
		}
	}
}
