package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// checkout writes files and gives the folder.
func checkout(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestFiguresCountWhatARoomHolds(t *testing.T) {
	t.Parallel()
	root := checkout(t, map[string]string{
		"broker/a.go": "// Package broker is one.\npackage broker\n\nimport _ \"github.com/nats-io/nats.go\"\n\n// T is one.\ntype T struct{}\n\n" +
			"func (T) A() {}\nfunc (t *T) b() {\n}\n\nfunc (t *T) Error() string { return \"nobody\" }\n",
		"broker/a_test.go":          "package broker\n\nfunc f() {}\n",
		"broker/export_test.go":     "package broker\n\n// whoever\nfunc g() {}\n",
		"broker/testdata/x.go":      "package broken (",
		"broker/generic.go":         "package broker\n\ntype list[T any] struct{}\n\nfunc (l *list[T]) add() {}\n",
		"docs/x.md":                 "A history of the chess board.\nHe comes anew.\n",
		"CHANGELOG.md":              "meanwhile\n",
		"node_modules/a/package.go": "nothing",
	})
	got, err := read(root)
	if err != nil {
		t.Fatal(err)
	}
	r := got.rooms["broker"]
	if r == nil {
		t.Fatalf("rooms: %v", got.rooms)
	}
	if r.files != 2 || r.code != 10 || r.comments != 2 || r.tests != 4 || r.backdoor != 2 || len(r.nats) != 1 {
		t.Errorf("figures: %+v", *r)
	}
	if r.methods["T"] != 3 || r.methods["list"] != 1 {
		t.Errorf("methods: %v", r.methods)
	}
	if want := "broker: T.A"; strings.Join(r.silent, ",") != want {
		t.Errorf("without a comment: %v, want %s", r.silent, want)
	}
	if len(got.words) != 4 {
		t.Errorf("words: %q", got.words)
	}
}

func TestCheckFailsWhenAFigureIsOverItsLimit(t *testing.T) {
	t.Parallel()
	small := checkout(t, map[string]string{"worker/a.go": "package worker\n"})
	large := checkout(t, map[string]string{"worker/a.go": "package worker\n" + strings.Repeat("var _ = 1\n", 2_000)})
	methods := checkout(t, map[string]string{"worker/a.go": "package worker\n\ntype T int\n" + strings.Repeat("func (T) _() {}\n", 26)})
	excepted := checkout(t, map[string]string{"internal/job/a.go": "package job\n\ntype Record int\n" + strings.Repeat("func (Record) _() {}\n", 26)})
	for name, c := range map[string]struct{ root, over string }{
		"within the limits": {small, ""},
		"a large package":   {large, "worker has 2001 lines of code, at most 2000\n"},
		"a wide type":       {methods, "worker.T has 26 methods, at most 25\n"},
		"an exception":      {excepted, ""},
	} {
		var out strings.Builder
		err := run([]string{"-check", "-root", c.root}, &out)
		if out.String() != c.over || (err == nil) != (c.over == "") {
			t.Errorf("%s: %v, %q", name, err, out.String())
		}
	}
}

func TestAFolderWithoutSourcesIsRefused(t *testing.T) {
	t.Parallel()
	if err := run([]string{"-root", t.TempDir()}, new(strings.Builder)); err == nil {
		t.Error("an empty folder was measured")
	}
}
