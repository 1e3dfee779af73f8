package mutants_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// root is where the module is, seen from here.
const root = "../.."

// edit replaces a text that is in exactly one file of the module, once. Neither paths nor lines are named, so that files may
// be moved and parted.
type edit struct{ old, new string }

// tree is the module's own source, without tests, and what was changed of it.
type tree struct {
	files   map[string]string // by absolute path
	changed map[string]bool
}

func readTree() (*tree, error) {
	t := &tree{files: make(map[string]string), changed: make(map[string]bool)}
	top, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	outside := []string{filepath.Join(top, "e2e"), filepath.Join(top, "bench"), filepath.Join(top, "docs")}
	return t, filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (slices.Contains(outside, path) || strings.HasPrefix(entry.Name(), ".")):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		t.files[path] = string(text)
		return err
	})
}

// apply makes edits, and adds a file beside the first of them when there is more than they say.
func (t *tree) apply(name string, edits []edit, more string) error {
	var beside string
	for i, e := range edits {
		var in []string
		for path, text := range t.files {
			for range strings.Count(text, e.old) {
				in = append(in, path)
			}
		}
		if len(in) != 1 {
			slices.Sort(in)
			return fmt.Errorf("%s: its text %d must be in the source once, and is there %d times %v; write down what it is called now:\n%s", name, i+1, len(in), in, e.old)
		}
		if e.new == e.old {
			return fmt.Errorf("%s: its text %d is left as it is", name, i+1)
		}
		t.files[in[0]] = strings.Replace(t.files[in[0]], e.old, e.new, 1)
		t.changed[in[0]] = true
		if beside == "" {
			beside = in[0]
		}
	}
	if more == "" {
		return nil
	}
	clause := regexp.MustCompile(`(?m)^package \w+$`).FindString(t.files[beside])
	if clause == "" {
		return errors.New("no package clause in " + beside)
	}
	path := filepath.Join(filepath.Dir(beside), strings.ReplaceAll(name, " ", "_")+"_mutant.go")
	t.files[path], t.changed[path] = clause+"\n"+more, true
	return nil
}

// overlay writes the changed files into dir, and what `go build -overlay` reads; it gives the path of that.
func (t *tree) overlay(dir string) (string, error) {
	replaced := make(map[string]string)
	for path := range t.changed {
		replaced[path] = filepath.Join(dir, fmt.Sprintf("%d-%s", len(replaced), filepath.Base(path)))
		if err := os.WriteFile(replaced[path], []byte(t.files[path]), 0o600); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, text, 0o600)
}
