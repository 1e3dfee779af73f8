package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"headrace/internal/config"
	"headrace/internal/inference"
)

// vendorFile is a configuration with one endpoint; more are lines of its config.
func vendorFile(kind, provider, more string) string {
	return fmt.Sprintf("[[endpoints]]\nname = \"v\"\nendpoint_type = \"llm/v1/%s\"\n[endpoints.model]\nprovider = %q\nname = \"m-1\"\n[endpoints.model.config]\n%s\n", kind, provider, more)
}

func TestRoutesToVendors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(" sk-file\r\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TEST_VENDOR_KEY", "sk-env")
	const key = "openai_api_key = \"env:TEST_VENDOR_KEY\"\n"
	const azure = key + "openai_api_type = \"Azure\"\nopenai_api_base = \"https://r.example\"\n"
	for name, c := range map[string]struct {
		provider, more string
		server         string
		want           inference.Vendor
	}{
		"OpenAI":                {"OpenAI", key, "https://api.openai.com/v1", inference.Vendor{API: inference.OpenAIAPI, Key: "sk-env"}},
		"a key in a file":       {"openai", "openai_api_key = \"file:" + filepath.ToSlash(path) + "\"", "https://api.openai.com/v1", inference.Vendor{API: inference.OpenAIAPI, Key: "sk-file"}},
		"a server of one's own": {"openai", `openai_api_base = "http://127.0.0.1:8000/v1"`, "http://127.0.0.1:8000/v1", inference.Vendor{API: inference.OpenAIAPI}},
		"organization and version": {
			"openai", key + "openai_organization = \"o\"\nopenai_api_version = \"v\"", "https://api.openai.com/v1",
			inference.Vendor{API: inference.OpenAIAPI, Key: "sk-env", Organization: "o", Version: "v"},
		},
		"chats for completions": {"openai", key + `openai_completions = "chat"`, "https://api.openai.com/v1", inference.Vendor{API: inference.OpenAIAPI, Key: "sk-env", CompletionsByChat: true}},
		"Azure": {
			"azure", azure + "openai_deployment_name = \"d\"\nopenai_api_version = \"v\"", "https://r.example",
			inference.Vendor{API: inference.OpenAIAPI, Key: "sk-env", Azure: inference.AzureKey, Deployment: "d", Version: "v"},
		},
		"Azure's newer form": {
			"openai", key + "openai_api_type = \"azuread\"\nopenai_api_base = \"https://r.example/openai/v1/\"", "https://r.example/openai/v1/",
			inference.Vendor{API: inference.OpenAIAPI, Key: "sk-env", Azure: inference.AzureToken},
		},
		"Anthropic": {
			"anthropic", `anthropic_api_key = "env:TEST_VENDOR_KEY"`, "https://api.anthropic.com/v1",
			inference.Vendor{API: inference.AnthropicAPI, Key: "sk-env", Version: "2023-06-01", MaxTokens: 8192, Sampling: inference.SamplingPass},
		},
		"a newer version of Anthropic's": {
			"anthropic", "anthropic_api_base = \"http://127.0.0.1:1/v1\"\nanthropic_version = \"2026-10-21\"\nmax_tokens = 100", "http://127.0.0.1:1/v1",
			inference.Vendor{API: inference.AnthropicAPI, Version: "2026-10-21", MaxTokens: 100, Sampling: inference.SamplingDrop},
		},
	} {
		got, err := config.Parse("g.toml", []byte(vendorFile("chat", c.provider, c.more)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		r := got.Table.Route("v")
		if *r.Vendor != c.want || !slices.Equal(r.Servers, []string{c.server}) {
			t.Errorf("%s: got %+v with the key %q at %v", name, *r.Vendor, string(r.Vendor.Key), r.Servers)
		}
		if r.Timeout != 5*time.Minute || r.SyncTimeout <= r.Timeout || r.Slots != 64 || r.LearnSlots || r.Batch.Shares() || !r.Native() {
			t.Errorf("%s: the route is %+v", name, r)
		}
		if err := got.Keys(nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestProblemsOfRoutesToVendors(t *testing.T) {
	t.Setenv("TEST_VENDOR_KEY", "sk-env")
	const key = "openai_api_key = \"env:TEST_VENDOR_KEY\"\n"
	const other = "anthropic_api_key = \"env:TEST_VENDOR_KEY\"\n"
	for name, c := range map[string]struct{ text, key, want string }{
		"no key":             {vendorFile("chat", "openai", ""), "openai_api_key", `"env:OPENAI_API_KEY"`},
		"a literal key":      {vendorFile("chat", "openai", `openai_api_key = "sk-s3cret"`), "openai_api_key", `"file:PATH"`},
		"MLflow's form":      {vendorFile("chat", "anthropic", `anthropic_api_key = "$s3cret"`), "anthropic_api_key", `"env:ANTHROPIC_API_KEY"`},
		"type":               {vendorFile("chat", "openai", key+`openai_api_type = "azur"`), "openai_api_type", "did you mean azure?"},
		"deployment":         {vendorFile("chat", "openai", key+`openai_deployment_name = "d"`), "openai_deployment_name", "only Azure"},
		"Azure, no base":     {vendorFile("chat", "openai", key+"openai_api_type = \"azure\"\nopenai_deployment_name = \"d\"\nopenai_api_version = \"v\""), "openai_api_base", "required"},
		"Azure, no version":  {vendorFile("chat", "openai", key+"openai_api_type = \"azure\"\nopenai_api_base = \"https://h\"\nopenai_deployment_name = \"d\""), "openai_api_version", "required"},
		"Azure, with org":    {vendorFile("chat", "openai", key+"openai_api_type = \"azure\"\nopenai_api_base = \"https://h/openai/v1\"\nopenai_organization = \"o\""), "openai_organization", "leave it out"},
		"base":               {vendorFile("chat", "openai", key+`openai_api_base = "h/v1"`), "openai_api_base", "must begin with http"},
		"completions":        {vendorFile("completions", "openai", key+`openai_completions = "chats"`), "openai_completions", "did you mean chat?"},
		"sampling":           {vendorFile("chat", "anthropic", other+`sampling = "skip"`), "sampling", "one of pass, drop, refuse"},
		"version":            {vendorFile("chat", "anthropic", other+`anthropic_version = ""`), "anthropic_version", "2023-06-01"},
		"embeddings":         {vendorFile("embeddings", "anthropic", other), "provider", "no embeddings"},
		"a key of the other": {vendorFile("chat", "anthropic", other+`openai_api_base = "http://h"`), "openai_api_base", "unknown key"},
		"no model":           {strings.Replace(vendorFile("chat", "openai", key), "name = \"m-1\"\n", "", 1), "model.name", "required"},
		"raw":                {strings.Replace(vendorFile("chat", "openai", key), "llm/v1/chat", "mlflow/v1/invocations", 1), "endpoint_type", "llm/v1/chat"},
		"format":             {strings.Replace(vendorFile("chat", "openai", key), "[endpoints.model]", "format = \"chat\"\n[endpoints.model]", 1), "format", "no effect"},
	} {
		_, err := config.Parse("g.toml", []byte(c.text))
		invalid, ok := errors.AsType[*config.InvalidError](err)
		if !ok || len(invalid.Problems) != 1 {
			t.Errorf("%s: got %v, want one problem", name, err)
			continue
		}
		p := invalid.Problems[0]
		if !strings.HasSuffix(p.Key, c.key) || p.Line == 0 || !strings.Contains(p.Message+" "+p.Hint, c.want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: got %s", name, p)
		}
	}
}

// Only workers need keys: the configuration is valid without them, and says what is missing to those who serve the route.
func TestKeysAreMissingForWorkersOnly(t *testing.T) {
	t.Setenv("TEST_VENDOR_KEY", "")
	path := filepath.ToSlash(filepath.Join(t.TempDir(), "key"))
	for text, says := range map[string]string{
		`openai_api_key = "env:TEST_VENDOR_KEY"`: `the environment variable "TEST_VENDOR_KEY" is not set`,
		`openai_api_key = "file:` + path + `"`:   "no such file",
	} {
		c, err := config.Parse("g.toml", []byte(vendorFile("chat", "openai", text)))
		if err != nil {
			t.Fatal(err)
		}
		if c.Table.Route("v").Vendor.Key != "" {
			t.Error("there is a key")
		}
		if err := c.Keys(nil); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "g.toml:8:") {
			t.Errorf("%s: got %v", text, err)
		}
		if err := c.Keys(func(r *inference.Route) bool { return r.Name != "v" }); err != nil {
			t.Errorf("a worker of other routes: %v", err)
		}
	}
}

// A file with a key is watched like the configuration, and a worker keeps its old keys as long as the new ones cannot be read.
func TestKeyFilesAreWatched(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key, path := filepath.Join(dir, "key"), filepath.Join(dir, "gateway.toml")
	write(t, key, "one\n")
	write(t, path, vendorFile("chat", "openai", `openai_api_key = "file:`+filepath.ToSlash(key)+`"`))
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	s := config.NewSource(c)
	s.NeedKeys(func(*inference.Route) bool { return true })
	look := func() (*config.Config, error) {
		if next, err := s.Look(); next != nil || err != nil {
			return next, err
		}
		return s.Look()
	}
	write(t, key, "two\n")
	next, err := look()
	if err != nil || next == nil || next.Table.Route("v").Vendor.Key != "two" || next.Table.Route("v") == c.Table.Route("v") {
		t.Fatalf("after the change: %v, %v", next, err)
	}
	write(t, key, " \n")
	if next, err := look(); next != nil || err == nil || !strings.Contains(err.Error(), "is empty") || s.Current().Table.Route("v").Vendor.Key != "two" {
		t.Fatalf("an empty file: %v, %v", next, err)
	}
}

func TestKeyThatTravelsInTheClearIsWarnedOf(t *testing.T) {
	t.Setenv("TEST_VENDOR_KEY", "sk-env")
	for base, warned := range map[string]bool{"http://vendor.example/v1": true, "https://vendor.example/v1": false, "http://127.0.0.1:1/v1": false, "http://localhost/v1": false} {
		c, err := config.Parse("g.toml", []byte(vendorFile("chat", "openai", "openai_api_key = \"env:TEST_VENDOR_KEY\"\nopenai_api_base = \""+base+"\"")))
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.ContainsFunc(c.Warnings, func(p config.Problem) bool { return strings.Contains(p.Message, "without encryption") }); got != warned {
			t.Errorf("%s: warnings %v", base, c.Warnings)
		}
	}
}
