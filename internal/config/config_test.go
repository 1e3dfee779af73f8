package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headrace/internal/config"
	"headrace/internal/inference"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRepositoryFile(t *testing.T) {
	t.Parallel()
	c, err := config.Load("../../gateway.toml")
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		name, url string
		kind      inference.Type
	}{
		{"embeddings", "http://127.0.0.1:9020", inference.Embeddings},
		{"fillmask", "http://127.0.0.1:9010", inference.Completions},
	}
	if c.Table.Len() != len(want) {
		t.Fatalf("%d routes, want %d", c.Table.Len(), len(want))
	}
	for _, w := range want {
		r := c.Table.Route(w.name)
		if r == nil || r.Type != w.kind || !slices.Equal(r.Servers, []string{w.url}) || r.Slots != 1 ||
			r.Timeout != time.Minute || r.SyncTimeout != 65*time.Second || r.MaxWaiting != 10_000 || r.MaxReply != 64<<20 {
			t.Errorf("%s: %+v", w.name, r)
		}
	}
	empty, err := config.Parse("empty.toml", nil)
	if err != nil {
		t.Fatal(err)
	}
	if empty.API.Listen != c.API.Listen || empty.API.MaxBody != c.API.MaxBody || empty.Broker.MaxMemory != c.Broker.MaxMemory ||
		empty.Worker != c.Worker || empty.Broker != c.Broker {
		t.Errorf("the file does not state the defaults:\nfile  %+v %+v %+v\nempty %+v %+v %+v",
			c.API, c.Broker, c.Worker, empty.API, empty.Broker, empty.Worker)
	}
}

const good = `
[[routes]]
name = "a"
route_type = "llm/v1/embeddings"
[routes.model]
provider = "MLFLOW_Model-Serving"
name = "m"
[routes.model.config]
model_server_url = "http://h:1"
`

// edit replaces one line of good.
func edit(old, replacement string) string {
	return strings.Replace(good, old, replacement, 1)
}

func TestProblems(t *testing.T) {
	t.Setenv("HEADRACE_TEST_EMPTY", "")
	for _, c := range []struct {
		name, text, key string
		line            int
		want            string // part of message and hint
	}{
		{"syntax", "a = = 1\n", "", 1, "not TOML"},
		{"unknown key", "[api]\nlistn = \"x\"\n", "api.listn", 2, "did you mean listen?"},
		{"unknown table", "\n[brokr]\nurl = \"\"\n", "brokr", 2, "did you mean broker?"},
		{"key of later", "[api]\nzzz = 1\n", "api.zzz", 2, "known here: "},
		{"wrong type", "[api]\nmax_body = true\n", "api.max_body", 2, `for example max_body = "32MiB"`},
		{"bad size", "[api]\nmax_body = \"32 bananas\"\n", "api.max_body", 2, "is not a size"},
		{"no size", "[api]\nmax_body = 0\n", "api.max_body", 2, "more than 0"},
		{"body larger than all", "[api]\nmax_body = \"1GiB\"\n", "api.max_body", 2, "never fit"},
		{"reply larger than all", "[worker]\nmax_reply = \"1GiB\"\n", "worker.max_reply", 2, "never fit"},
		{"duration without unit", "[api]\nsync_timeout = \"60\"\n", "api.sync_timeout", 2, "is not a duration"},
		{"duration as number", "[api]\nsync_timeout = 60\n", "api.sync_timeout", 2, "must be a duration in quotes"},
		{"negative duration", "[worker]\ntimeout = \"-1s\"\n", "worker.timeout", 2, "longer than nothing"},
		{"address", "[api]\nlisten = \"localhost\"\n", "api.listen", 2, "is not host:port"},
		{"port", "[api]\nlisten = \"localhost:99999\"\n", "api.listen", 2, "is not host:port"},
		{"small budget", "[worker]\nmax_inflight_bytes = \"1MiB\"\n", "worker.max_inflight_bytes", 2, "api.max_body is 33554432 bytes"},
		{"small budget of the front end", "[broker]\n[api]\nmax_inflight_bytes = \"1MiB\"\n", "api.max_inflight_bytes", 3, "or api.max_body smaller"},
		{"same address", "[api]\nlisten = \"127.0.0.1:4222\"\n", "api.listen", 2, "choose another port"},
		{"same address below", "[api]\nlisten = \"127.0.0.1:7\"\n[broker]\nlisten = \"127.0.0.1:7\"\n", "broker.listen", 4, "choose another port"},
		{"open broker", "[broker]\nlisten = \"0.0.0.0:4222\"\n", "broker.listen", 2, "anybody could connect"},
		{"expose and url", "[broker]\nexpose = true\nurl = \"nats://h:4222\"\n", "broker.expose", 2, "drop one"},
		{"nats url", "[broker]\nurl = \"h:4222\"\n", "broker.url", 2, "is not the address of a NATS server"},
		{"durability", "[broker]\ndurability = \"pwer\"\n", "broker.durability", 2, "did you mean power?"},
		{"replicated", "[broker]\ndurability = \"replicated\"\n", "broker.durability", 2, "external cluster"},
		{"server without url", "[broker]\ndurability = \"server\"\n", "broker.durability", 2, "set broker.url"},
		{"syncs of no server", "[broker]\nserver_syncs = true\n", "broker.server_syncs", 2, "which is empty"},
		{"password alone", "[broker]\npassword = \"x\"\n", "broker.password", 2, "set broker.user too"},
		{"user alone", "[broker]\nurl = \"\"\nuser = \"x\"\n", "broker.user", 3, "set broker.password too"},
		{"env missing", "[broker]\nuser = \"env:HEADRACE_TEST_EMPTY\"\npassword = \"x\"\n", "broker.user", 2, "is not set"},
		{"file missing", "[broker]\nuser = \"a\"\npassword = \"file:/no/such\"\n", "broker.password", 3, "no such file"},
		{"short token", "[api]\nadmin_token = \"secret\"\n", "api.admin_token", 2, "has 6 bytes, and needs 16"},
		{"many calls", "[api]\nrecent_calls = 20001\n", "api.recent_calls", 2, "at most 20000"},
		{"proxy", "[api]\ntrusted_proxies = [\"10.0.0.0/8\", \"x\"]\n", "api.trusted_proxies[1]", 2, "is neither"},
		{"no name", edit(`name = "a"`, ``), "routes[0].name", 2, "a name is required"},
		{"name", edit(`name = "a"`, `name = "a b"`), "routes[0].name", 3, "use letters"},
		{"unicode name", edit(`name = "a"`, `name = "naïve"`), "routes[0].name", 3, "use letters"},
		{"duplicate", good + strings.ReplaceAll(strings.ReplaceAll(good, "routes", "endpoints"), "route_type", "endpoint_type"), "endpoints[0].name", 12, "already the name of routes[0]"},
		{"type", edit("llm/v1/embeddings", "llm/v1/embedings"), "routes[0].route_type", 4, "did you mean llm/v1/embeddings?"},
		{"type key", edit("route_type", "endpoint_type"), "routes[0].endpoint_type", 4, "it is called route_type"},
		{"no type", edit(`route_type = "llm/v1/embeddings"`, ""), "routes[0].route_type", 2, "a type is required"},
		{"provider", edit("MLFLOW_Model-Serving", "cohere"), "routes[0].model.provider", 6, "not a provider"},
		{"no url", edit(`model_server_url = "http://h:1"`, ""), "routes[0].model.config.model_server_url", 8, "required"},
		{"empty list", edit(`"http://h:1"`, "[]"), "routes[0].model.config.model_server_url", 9, "empty"},
		{"url scheme", edit("http://h:1", "h:1"), "routes[0].model.config.model_server_url", 9, "must begin with http"},
		{"url password", edit("http://h:1", "http://u:p@h:1"), "routes[0].model.config.model_server_url", 9, "headers"},
		{"url twice", edit(`"http://h:1"`, `["http://h:1", "http://h:1"]`), "routes[0].model.config.model_server_url", 9, "listed twice"},
		{"route, not [[routes]]", "[routes]\nname = \"a\"\n", "routes", 1, "two brackets"},
		{"fallback that is not there", edit(`name = "a"`, "name = \"a\"\nfallbacks = [\"b\"]"), "routes[0].fallbacks", 4, "there is no route"},
		{"fallback to itself", edit(`name = "a"`, "name = \"a\"\nfallbacks = [\"a\"]"), "routes[0].fallbacks", 4, "the route itself"},
		{"fallback of another type", strings.Replace(good, "name = \"a\"", "name = \"a\"\nfallbacks = [\"c\"]", 1) + strings.NewReplacer("\"a\"", "\"c\"", "embeddings", "chat").Replace(good), "routes[0].fallbacks", 4, "of the type"},
		{"no model", "[[routes]]\nname = \"a\"\nroute_type = \"llm/v1/chat\"\n", "routes[0].model", 1, "a model is required"},
		{"nan", edit(`name = "a"`, "name = \"a\"\nnan = \"nul\""), "routes[0].nan", 4, "did you mean null?"},
		{"tokens of a chat", edit(`name = "a"`, "name = \"a\"\ntokens = \"yes\""), "routes[0].tokens", 4, "true or false"},
		{"template", edit(`name = "a"`, "name = \"a\"\nchat_template = \"{{\""), "routes[0].chat_template", 4, "template"},
		{"template's field", edit(`name = "a"`, "name = \"a\"\nchat_template = \"{{.Foo}}\""), "routes[0].chat_template", 4, "can't evaluate field Foo"},
		{"template's message", edit(`name = "a"`, "name = \"a\"\nchat_template = \"{{range .Messages}}{{.role}}{{end}}\""), "routes[0].chat_template", 4, "field role"},
		{"template's function", edit(`name = "a"`, "name = \"a\"\nchat_template = \"{{index .Messages 7}}\""), "routes[0].chat_template", 4, "out of range"},
		{"limit", good + "[routes.limit]\ncalls = 2\nrenewal_period = \"week\"\n", "routes[0].limit.renewal_period", 12, "is not a period"},
		{"negative limit", good + "[routes.limit]\ncalls = -2\nrenewal_period = \"day\"\n", "routes[0].limit.calls", 11, "must be between"},
		{"header's name", good + "[routes.model.config.headers]\n\"X Y\" = \"x\"\n", "routes[0].model.config.headers.X Y", 11, "use letters"},
		{"header's value", good + "[routes.model.config.headers]\nX = \"a\\nb\"\n", "routes[0].model.config.headers.X", 11, "on one line"},
		{"long name", edit(`name = "a"`, `name = "`+strings.Repeat("a", 129)+`"`), "routes[0].name", 3, "129 characters"},
		{"tls_ca missing", edit(`"http://h:1"`, "\"http://h:1\"\ntls_ca = \"/no/such\""), "routes[0].model.config.tls_ca", 10, "this process can read"},
		{"count", "[worker]\nslots = -1\n", "worker.slots", 2, "for example slots = 1"},
		{"long duration", "[worker]\ntimeout = \"25h\"\n", "worker.timeout", 2, "24h at most"},
		{"list of numbers", "[api]\ntrusted_proxies = [1]\n", "api.trusted_proxies[0]", 2, `for example trusted_proxies = ["10.0.0.0/8"]`},
		{"header", good + "[routes.model.config.headers]\nHost = \"x\"\n", "routes[0].model.config.headers.Host", 11, "itself"},
		{"output", good + "[routes.output]\n", "routes[0].output.field", 10, "required"},
	} {
		_, err := config.Parse("g.toml", []byte(c.text))
		invalid, ok := errors.AsType[*config.InvalidError](err)
		if !ok {
			t.Errorf("%s: got %v, want problems", c.name, err)
			continue
		}
		for _, p := range invalid.Problems {
			if p.Line == 0 || p.Hint == "" {
				t.Errorf("%s: %q lacks its line or a hint", c.name, p)
			}
		}
		i := slices.IndexFunc(invalid.Problems, func(p config.Problem) bool { return p.Key == c.key })
		if i < 0 {
			t.Errorf("%s: no problem at %q:\n%v", c.name, c.key, err)
			continue
		}
		p := invalid.Problems[i]
		if p.Line != c.line || !strings.Contains(p.Message+" ("+p.Hint, c.want) {
			t.Errorf("%s: got %q, want line %d and %q", c.name, p, c.line, c.want)
		}
	}
}

// Problems are logged while Headrace runs, so they hold no password.
func TestProblemsShowNoPassword(t *testing.T) {
	t.Setenv("HEADRACE_TEST_NATS", "natss://admin:s3cret@h:4222,nats://s3cret@h,s3cret@h")
	text := edit(`"http://h:1"`, `["http://u:s3cret@h:1", "http://u:s3cret@h:1", "ftp://s3cret@h", "u:s3cret@h", "http://u:s3 cret@h", "http://h/a@b#c"]`)
	_, err := config.Parse("g.toml", []byte("[broker]\nurl = \"env:HEADRACE_TEST_NATS\"\n"+text))
	if err == nil || strings.Contains(err.Error(), "s3") {
		t.Fatalf("got %v", err)
	}
	for _, shown := range []string{`"http://...@h:1" must not hold a password`, `"ftp://...@h"`, `"...@h"`, `"natss://...@h:4222"`, `"http://h/a@b#c"`} {
		if !strings.Contains(err.Error(), shown) {
			t.Errorf("%s is not shown:\n%v", shown, err)
		}
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	t.Parallel()
	_, err := config.Parse("g.toml", []byte("[api]\nlisten = 1\nmax_body = -1\nfoo = 1\n[worker]\nslots = -3\n[[routes]]\nnope = 1\n"))
	invalid, ok := errors.AsType[*config.InvalidError](err)
	if !ok || len(invalid.Problems) < 7 {
		t.Fatalf("got %v, want at least seven problems", err)
	}
	if !slices.IsSortedFunc(invalid.Problems, func(a, b config.Problem) int { return a.Line - b.Line }) {
		t.Errorf("not in the order of lines:\n%v", err)
	}
}

func TestValues(t *testing.T) {
	t.Setenv("HEADRACE_TEST_TOKEN", "secret")
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("p w\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse("g.toml", []byte(`
[broker]
user = "u"
password = "file:`+filepath.ToSlash(file)+`"
listen = "0.0.0.0:4222"
[worker]
slots = 3
timeout = "1.5s"
`+good+`
[routes.model.config.headers]
Authorization = "env:HEADRACE_TEST_TOKEN"
[routes.limit]
calls = 5
renewal_period = "2 MINUTES"
[[endpoints]]
name = "b"
endpoint_type = "mlflow/v1/invocations"
chat_template = "{{range .Messages}}{{.Role}}: {{.Content}}\n{{end}}{{(index .Messages 1).Content}}"
slots = 7
timeout = "3s"
nan = "error"
model = { provider = "mlflow-model-serving", config = { model_server_url = ["http://h:1/", "https://i/x"] } }
`))
	if err != nil {
		t.Fatal(err)
	}
	a, b := c.Table.Route("a"), c.Table.Route("b")
	if c.Broker.Password != "p w" || a.Headers["Authorization"] != "secret" || a.Slots != 3 || a.Timeout != 1500*time.Millisecond ||
		a.Provider != config.ProviderMLflow || a.Limit.Window != 2*time.Minute || a.Limit.Calls != 5 || a.Family != inference.Routes {
		t.Errorf("a: %+v", a)
	}
	if b.Slots != 7 || b.Timeout != 3*time.Second || !b.NaNError || b.Family != inference.Endpoints || len(b.Servers) != 2 || b.Model != "" {
		t.Errorf("b: %+v", b)
	}
}

func TestDurabilityIsWhatTheServerGives(t *testing.T) {
	t.Parallel()
	const url = "url = \"nats://h:4222\"\n"
	for _, tt := range []struct {
		name, broker, promised string
		warned                 bool
	}{
		{"embedded, nothing said", "", "power", false},
		{"embedded, power", "durability = \"power\"\n", "power", false},
		{"embedded, process", "durability = \"process\"\n", "process", false},
		{"external, nothing said", url, "server", true},
		{"external, power", url + "durability = \"power\"\n", "server", true},
		{"external, process", url + "durability = \"process\"\n", "server", true},
		{"external, server", url + "durability = \"server\"\n", "server", false},
		{"external, replicated", url + "durability = \"replicated\"\n", "replicated", false},
		{"external that syncs, nothing said", url + "server_syncs = true\n", "power", false},
		{"external that syncs, power", url + "server_syncs = true\ndurability = \"power\"\n", "power", false},
		{"external that syncs, process", url + "server_syncs = true\ndurability = \"process\"\n", "process", false},
		{"external that syncs, replicated", url + "server_syncs = true\ndurability = \"replicated\"\n", "replicated", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := config.Parse("g.toml", []byte("[broker]\n"+tt.broker+good))
			if err != nil {
				t.Fatal(err)
			}
			if c.Broker.Durability != tt.promised {
				t.Errorf("promises %q, want %q", c.Broker.Durability, tt.promised)
			}
			if warned := len(c.Warnings) == 1 && c.Warnings[0].Key == "broker.durability" &&
				strings.Contains(c.Warnings[0].Hint, "broker.server_syncs"); warned != tt.warned || len(c.Warnings) > 1 {
				t.Errorf("warnings %v, want one: %v", c.Warnings, tt.warned)
			}
		})
	}
}

func TestKeysAreExplained(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"../../gateway.toml", "../../docs/configuration.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range config.KnownKeys() {
			if !strings.Contains(string(text), key) {
				t.Errorf("%s does not mention %s", file, key)
			}
		}
	}
}

func TestParseSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"1": 1, "32MiB": 32 << 20, "1.5 KiB": 1536, "10MB": 10e6, "2GiB": 2 << 30, "7B": 7, "1kB": 1000, "1TiB": 1 << 40,
		"": -1, "MiB": -1, "-1": -1, "1e99": -1, "NaN": -1, "1 MiBi": -1, "0x10": -1,
	} {
		got, err := config.ParseSize(text)
		if want < 0 {
			if err == nil {
				t.Errorf("%q: got %d, want an error", text, got)
			}
		} else if err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(good)
	f.Add("[api]\nx = '''\n[[routes]]\n'''\ny = [\n1,\n]\n\"a.b\".c = 1\n")
	f.Add("\xef\xbb\xbf[broker]\nurl=\"nats://x\"")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := config.Parse("f.toml", []byte(text))
		if (c == nil) == (err == nil) {
			t.Fatalf("config %v and error %v", c, err)
		}
		invalid, ok := errors.AsType[*config.InvalidError](err)
		if err != nil && (!ok || len(invalid.Problems) == 0) {
			t.Fatalf("an error without a problem: %v", err)
		}
		lines := strings.Count(text, "\n") + 1
		for i := 0; ok && i < len(invalid.Problems); i++ {
			if p := invalid.Problems[i]; p.Line < 0 || p.Line > lines+1 || p.Message == "" {
				t.Fatalf("impossible problem %+v in %d lines", p, lines)
			}
		}
	})
}

// The address of a model server may have a path and a query, as in MLflow.
func TestServerAddresses(t *testing.T) {
	t.Parallel()
	for address, problem := range map[string]string{
		"http://127.0.0.1:9020": "", "https://models.example/team/m": "", "http://[::1]:9020/": "", "http://h/base?key=1&x=%20": "",
		"http://h/#part": "fragment", "ftp://h": "http://", "127.0.0.1:9020": "URL", "http://u:p@h": "password", "http://h:0": "port",
		"http://h:99999": "port", "http://": "no host", "": "http://",
	} {
		if got := config.CheckURL(address); (got == "") != (problem == "") || !strings.Contains(got, problem) {
			t.Errorf("%q %s", address, got)
		}
	}
}
