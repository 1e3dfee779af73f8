package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"headrace/internal/config"
)

const sourceText = `
[[routes]]
name = "one"
route_type = "llm/v1/completions"
[routes.model]
provider = "mlflow-model-serving"
name = "m"
[routes.model.config]
model_server_url = "http://127.0.0.1:9010"
`

func newSource(t *testing.T, path string) (*config.Source, *config.Config) {
	t.Helper()
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return config.NewSource(cfg), cfg
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func second() string { return strings.ReplaceAll(sourceText, `"one"`, `"two"`) }

// A change counts at the second look, once; equal routes keep their identity.
func TestSourceChange(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gateway.toml")
	write(t, path, sourceText)
	s, was := newSource(t, path)
	look := func(wantNew bool) *config.Config {
		t.Helper()
		next, err := s.Look()
		if err != nil || (next != nil) != wantNew {
			t.Fatalf("got %v, %v; want a new one: %t", next, err, wantNew)
		}
		return next
	}
	look(false)
	write(t, path, sourceText+second())
	look(false) // it may still be written
	next := look(true)
	look(false)
	write(t, path, sourceText+second()+"[[endpoints]]\nname = \"three\"\nendpoint_type = \"llm/v1/chat\"\nmodel = {provider = \"mlflow-model-serving\", "+
		"config = {model_server_url = \"http://127.0.0.1:9010\"}}\n[[splits]]\nname = \"split\"\ntask_type = \"llm/v1/chat\"\n"+
		"destinations = [{name = \"three\", traffic_percentage = 100}]\n")
	look(false)
	if split := look(true).Table.Split("split"); split == nil || split.Pick(0) != "three" {
		t.Errorf("the split is %+v", split)
	}
	if next.Table.Len() != 2 || next.Table.Route("one") != was.Table.Route("one") {
		t.Errorf("%d routes; the unchanged one was replaced: %t", next.Table.Len(), next.Table.Route("one") != was.Table.Route("one"))
	}
}

// What is invalid or gone is told once, and a later valid file counts again.
func TestSourceInvalid(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gateway.toml")
	write(t, path, sourceText)
	s, _ := newSource(t, path)
	told := func(what string, want bool) {
		t.Helper()
		_, first := s.Look()
		_, err := s.Look()
		if first != nil || (err != nil) != want {
			t.Fatalf("%s: got %v, then %v", what, first, err)
		}
	}
	write(t, path, "nonsense = [")
	told("invalid", true)
	told("invalid, later", false)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	told("gone", true)
	told("gone, later", false)
	write(t, path, sourceText+second())
	if _, err := s.Look(); err != nil {
		t.Fatal(err)
	}
	if next, err := s.Look(); err != nil || next == nil || next.Table.Len() != 2 {
		t.Errorf("got %v, %v", next, err)
	}
}

// Kubernetes mounts a ConfigMap as links: gateway.toml -> ..data/gateway.toml, ..data -> a directory that is
// swapped for another one by renaming a link.
func TestSourceSymlinkSwap(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mount := func(name, text string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name, "gateway.toml"), text)
		link := filepath.Join(dir, "..data_tmp")
		if err := os.Symlink(name, link); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(link, filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	mount("..1", sourceText)
	path := filepath.Join(dir, "gateway.toml")
	if err := os.Symlink(filepath.Join("..data", "gateway.toml"), path); err != nil {
		t.Fatal(err)
	}
	s, _ := newSource(t, path)
	mount("..2", sourceText+second())
	if err := os.RemoveAll(filepath.Join(dir, "..1")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Look(); err != nil {
		t.Fatal(err)
	}
	if next, err := s.Look(); err != nil || next == nil || next.Table.Len() != 2 {
		t.Errorf("got %v, %v", next, err)
	}
}

// A secret that lies in a file of its own can be rotated.
func TestSourceSecretFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, token := filepath.Join(dir, "gateway.toml"), filepath.Join(dir, "token")
	write(t, token, "first\n")
	write(t, path, sourceText+"[routes.model.config.headers]\nAuthorization = \"file:"+filepath.ToSlash(token)+"\"\n")
	s, _ := newSource(t, path)
	write(t, token, "second\n")
	if _, err := s.Look(); err != nil {
		t.Fatal(err)
	}
	next, err := s.Look()
	if err != nil || next == nil {
		t.Fatalf("got %v, %v", next, err)
	}
	if got := next.Table.Route("one").Headers["Authorization"]; got != "second" {
		t.Errorf("got %q", got)
	}
}

// A file that is named before it is there is waited for: nothing else needs to change.
func TestSourceWaitsForFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, token, ca := filepath.Join(dir, "gateway.toml"), filepath.Join(dir, "token"), filepath.Join(dir, "ca.pem")
	write(t, path, sourceText)
	s, _ := newSource(t, path)
	look := func() (*config.Config, error) {
		t.Helper()
		if next, err := s.Look(); next != nil || err != nil {
			t.Fatalf("at the first look: %v, %v", next, err)
		}
		return s.Look()
	}
	write(t, path, sourceText+"tls_ca = \""+filepath.ToSlash(ca)+"\"\nheaders = {Authorization = \"file:"+filepath.ToSlash(token)+"\"}\n")
	if _, err := look(); err == nil || !strings.Contains(err.Error(), "Authorization") || !strings.Contains(err.Error(), "tls_ca") {
		t.Fatalf("without the files: %v", err)
	}
	if next, err := look(); next != nil || err != nil {
		t.Fatalf("told twice: %v, %v", next, err)
	}
	write(t, token, "secret\n")
	if _, err := look(); err == nil || strings.Contains(err.Error(), "Authorization") {
		t.Fatalf("with the first file: %v", err)
	}
	write(t, ca, "pem")
	next, err := look()
	if err != nil || next == nil {
		t.Fatalf("with both files: %v, %v", next, err)
	}
	if got := next.Table.Route("one").Headers["Authorization"]; got != "secret" {
		t.Errorf("got %q", got)
	}
}

// A change between the reading of a configuration and the first look is not lost.
func TestSourceChangedSinceItWasRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gateway.toml")
	write(t, path, sourceText)
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, sourceText+second())
	s := config.NewSource(cfg)
	if _, err := s.Look(); err != nil {
		t.Fatal(err)
	}
	if next, err := s.Look(); err != nil || next == nil || next.Table.Len() != 2 {
		t.Errorf("got %v, %v", next, err)
	}
}

func TestNeedRestart(t *testing.T) {
	t.Parallel()
	parse := func(text string) *config.Config {
		t.Helper()
		cfg, err := config.Parse("gateway.toml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	old := parse(sourceText)
	if keys := config.NeedRestart(old, parse("[worker]\nslots = 3\ntimeout = \"9s\"\n[api]\nsync_timeout = \"9s\"\n"+sourceText)); keys != nil {
		t.Errorf("%v take effect at once", keys)
	}
	keys := config.NeedRestart(old, parse("[api]\nlisten = \"127.0.0.1:5001\"\n[broker]\ndata_dir = \"other\"\n"+sourceText))
	if want := []string{"api.listen", "broker.data_dir"}; !slices.Equal(keys, want) {
		t.Errorf("got %v, want %v", keys, want)
	}
}
