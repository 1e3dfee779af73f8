package mlflowyaml_test

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"headrace/internal/config"
	"headrace/internal/config/mlflowyaml"
	"headrace/internal/inference"
)

// vendorCase is one configuration of a vendor's model, and what the loader of one MLflow version made of it.
type vendorCase struct {
	ID      string            `json:"id"`
	Era     string            `json:"era"`
	YAML    string            `json:"yaml"`
	Env     map[string]string `json:"env"`
	Files   map[string]string `json:"files"`
	Files64 map[string]string `json:"files_b64"`
	OK      bool              `json:"ok"`
	Error   string            `json:"error"`
	Loaded  []struct {
		Name     string             `json:"name"`
		Type     string             `json:"type"`
		Model    *string            `json:"model_name"`
		Provider string             `json:"provider"`
		Config   map[string]*string `json:"config"`
	} `json:"loaded"`
}

func vendorCases(t *testing.T) []vendorCase {
	t.Helper()
	all := recordings[vendorCase](t, "testdata/vendors.jsonl")
	if len(all) < 360 {
		t.Fatalf("%d cases", len(all))
	}
	return all
}

// workspace has the files of a case below a folder, which stands for DIR, CWD and HOME.
func workspace(t *testing.T, c *vendorCase) (dir string) {
	t.Helper()
	dir = filepath.ToSlash(t.TempDir())
	put := func(path string, text []byte) {
		path = place(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for path, text := range c.Files {
		put(path, []byte(text))
	}
	for path, text := range c.Files64 {
		bytes, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		put(path, bytes)
	}
	c.YAML = place(dir, c.YAML)
	return dir
}

func place(dir, text string) string {
	return strings.NewReplacer("DIR/", dir+"/dir/", "CWD/", dir+"/cwd/", "HOME/", dir+"/home/").Replace(text)
}

// wouldFail are the reasons for which an entry that MLflow loads is left out: no call could succeed.
func wouldFail(left []mlflowyaml.Left) bool {
	reasons := []string{
		"every call would fail", "would refuse every call", "the model needs a name", "Anthropic has no embeddings", "Azure is asked for a deployment",
		"Azure needs the address",
	}
	return slices.ContainsFunc(left, func(l mlflowyaml.Left) bool {
		return !l.Ignored && l.Line > 0 && slices.ContainsFunc(reasons, func(r string) bool { return strings.Contains(l.Message, r) })
	})
}

// laterKey says that a version ignores a key which later ones know.
func laterKey(era, key string) bool {
	return strings.HasSuffix(key, ".anthropic_api_base") && !strings.HasPrefix(era, "3.") || strings.HasSuffix(key, ".anthropic_version") && strings.HasPrefix(era, "2.8.")
}

// Whatever MLflow's loaders accept is translated to the same model, address and key, unless no call could succeed; whatever
// they refuse is listed, but for variables that are not set here.
func TestRecordedConfigurationsOfVendors(t *testing.T) {
	t.Parallel()
	same, failing, unset, refused := 0, 0, 0, 0
	for _, c := range vendorCases(t) {
		dir := workspace(t, &c)
		got, err := mlflowyaml.Translate([]byte(c.YAML), mlflowyaml.Options{Keys: dir + "/keys", IsFile: func(path string) bool {
			if !filepath.IsAbs(path) {
				path = dir + "/cwd/" + path
			}
			at, err := os.Stat(path)
			return err == nil && at.Mode().IsRegular()
		}})
		where := c.ID + " of " + c.Era
		if err != nil {
			t.Errorf("%s: %v", where, err)
			continue
		}
		cfg, err := config.Parse("gateway.toml", []byte(got.TOML))
		switch {
		case err != nil:
			t.Errorf("%s: the translation is not valid: %v\n%s", where, err, got.TOML)
		case !c.OK && !got.Complete():
			refused++
		case !c.OK && strings.Contains(c.Error, "Environment variable"):
			unset++
		case !c.OK && strings.Contains(c.YAML, "provider: azure\n"), // MLflow 3's name for openai
			!c.OK && strings.Contains(c.Error, "File name too long"): // 2.8 took every key for a path
			same++
		case !c.OK:
			t.Errorf("%s: MLflow refuses it: %s\n%s", where, c.Error, got.TOML)
		case !got.Complete() && wouldFail(got.Left):
			failing++
		case !got.Complete() && laterKey(c.Era, got.Left[0].Key):
			refused++ // later versions know the key, and refuse its value
		case !got.Complete():
			t.Errorf("%s: it is left out: %v", where, got.Left)
		default:
			same++
			if why := vendorDiffers(t, c, cfg.Table, got, dir); why != "" {
				t.Errorf("%s: %s\n%s", where, why, got.TOML)
			}
		}
	}
	t.Logf("%d are the same, %d refused by both, %d left out because no call could succeed, %d name a variable that is not set", same, refused, failing, unset)
}

// vendorDiffers says where a route is not what MLflow loaded.
func vendorDiffers(t *testing.T, c vendorCase, table *inference.Table, got *mlflowyaml.Translation, dir string) string {
	t.Helper()
	for _, want := range c.Loaded {
		setting := func(name string) string {
			if text := want.Config[name]; text != nil {
				return place(dir, *text)
			}
			return ""
		}
		r := table.Route(want.Name)
		if r == nil || r.Vendor == nil || string(r.Type) != want.Type || want.Model != nil && r.Model != *want.Model {
			return "there is no such route"
		}
		v, prefix := r.Vendor, "openai"
		if want.Provider == "anthropic" {
			prefix = "anthropic"
			if version := setting("anthropic_version"); version != "" && v.Version != version {
				return "its version is " + v.Version
			}
		} else if v.Version != setting("openai_api_version") || v.Deployment != setting("openai_deployment_name") || v.Organization != setting("openai_organization") {
			return "it is asked in another way"
		}
		if base := setting(prefix + "_api_base"); base != "" && base != "https://api.openai.com/v1" && r.Servers[0] != strings.TrimSpace(base) {
			return "its address is " + r.Servers[0]
		}
		if key, ours := setting(prefix+"_api_key"), keyOf(t, c, got, dir); strings.TrimSpace(key) != ours {
			return "its key is " + ours + ", not " + key
		}
	}
	return ""
}

// keyOf is the key that a translation names.
func keyOf(t *testing.T, c vendorCase, got *mlflowyaml.Translation, dir string) string {
	t.Helper()
	for line := range strings.Lines(got.TOML) {
		name, value, ok := strings.Cut(line, " = ")
		if !ok || !strings.HasSuffix(name, "_api_key") {
			continue
		}
		var at string
		if err := json.Unmarshal([]byte(value), &at); err != nil {
			t.Fatal(err)
		}
		if variable, ok := strings.CutPrefix(at, "env:"); ok {
			return strings.TrimSpace(place(dir, c.Env[variable]))
		}
		path := strings.TrimPrefix(at, "file:")
		for _, k := range got.Keys {
			if k.Path == path {
				return string(k.Text)
			}
		}
		text, err := os.ReadFile(path)
		if err != nil {
			text, err = os.ReadFile(dir + "/cwd/" + filepath.Base(path))
		}
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	return ""
}

// A key that stands in the file is named by the path of the file that it is moved to, once for all that share it, and is
// left out where there is no folder for it.
func TestKeysAreMoved(t *testing.T) {
	t.Parallel()
	const text = `endpoints:
  - name: a
    endpoint_type: llm/v1/chat
    model: {provider: openai, name: m, config: {openai_api_key: sk-s3cret}}
  - name: b
    endpoint_type: llm/v1/embeddings
    model: {provider: openai, name: m, config: {openai_api_key: " sk-s3cret "}}
  - name: c
    endpoint_type: llm/v1/chat
    model: {provider: Anthropic, name: m, config: {anthropic_api_key: sk-s3cret-2, colour: red}}
`
	got, err := mlflowyaml.Translate([]byte(text), mlflowyaml.Options{Keys: "/k"})
	if err != nil {
		t.Fatal(err)
	}
	if !got.Complete() || len(got.Left) != 1 || len(got.Keys) != 2 || strings.Contains(got.TOML, "s3cret") {
		t.Fatalf("left %v, %d keys\n%s", got.Left, len(got.Keys), got.TOML)
	}
	if k := got.Keys[0]; k.Path != "/k/a.key" || k.Text != "sk-s3cret" || strings.Count(got.TOML, `"file:/k/a.key"`) != 2 || strings.Count(got.TOML, `"file:/k/c.key"`) != 1 {
		t.Errorf("%s\n%s", k.Path, got.TOML)
	}
	if got, err = mlflowyaml.Translate([]byte(text), mlflowyaml.Options{}); err != nil || got.Routes != 0 || len(got.Keys) != 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	for i, l := range got.Left[:3] {
		if l.Line != 4+3*i || !strings.Contains(l.Message, "--keys") || strings.Contains(l.String(), "s3cret") {
			t.Errorf("%s", l)
		}
	}
}
