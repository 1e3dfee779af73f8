package cli_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"headrace/internal/apptest"
	"headrace/internal/cli"
)

// run runs one command to its end.
func run(ctx context.Context, args ...string) (code int, out, errs string) {
	var stdout, stderr bytes.Buffer
	code = cli.Main(ctx, args, cli.Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr})
	return code, stdout.String(), stderr.String()
}

const served = `endpoints:
  - name: emb
    endpoint_type: llm/v1/embeddings
    model: {provider: mlflow-model-serving, name: m, config: {model_server_url: "http://127.0.0.1:9020"}}
`

func TestImport(t *testing.T) {
	t.Parallel()
	good := apptest.Write(t, "config.yaml", served)
	code, out, errs := run(t.Context(), "import", good)
	if code != 0 || !strings.Contains(out, `name = "emb"`) || !strings.Contains(errs, "1 route was translated") {
		t.Fatalf("%d\n%s\n%s", code, out, errs)
	}
	to := filepath.Join(t.TempDir(), "gateway.toml")
	if code, _, errs := run(t.Context(), "import", good, "-o", to); code != 0 {
		t.Fatalf("%d\n%s", code, errs)
	}
	if code, out, _ := run(t.Context(), "check", "--config", to); code != 0 || !strings.Contains(out, "valid: 1 route\n") {
		t.Errorf("%d %s", code, out)
	}
	if code, _, errs := run(t.Context(), "import", good, "-o", to); code != 2 || !strings.Contains(errs, "--force") {
		t.Errorf("overwriting: %d %s", code, errs)
	}
	if code, _, _ := run(t.Context(), "import", good, "-o", to, "--force"); code != 0 {
		t.Errorf("overwriting by force: %d", code)
	}
	some := apptest.Write(t, "config.yaml", served+"  - {name: x, endpoint_type: llm/v1/chat, model: {provider: cohere, name: y, config: {}}}\n")
	if code, out, errs := run(t.Context(), "import", some); code != 1 || !strings.Contains(out, `"emb"`) || !strings.Contains(errs, ":5: not translated: endpoints[1].model.provider") {
		t.Errorf("%d\n%s\n%s", code, out, errs)
	}
	for _, bad := range [][]string{{"import"}, {"import", "a", "b"}, {"import", "/nowhere.yaml"}, {"import", apptest.Write(t, "x.yaml", "- {")}, {"import", apptest.Write(t, "x.yaml", "a: 1")}} {
		if code, out, errs := run(t.Context(), bad...); code != 2 || out != "" || errs == "" {
			t.Errorf("%v: %d %q %q", bad, code, out, errs)
		}
	}
}

func TestRoutesCommand(t *testing.T) {
	t.Parallel()
	addr, _ := apptest.Up(t, "")
	apptest.Eventually(t, "its worker and its replica are known", func() bool {
		code, out, _ := run(t.Context(), "routes", "--url", "http://"+addr)
		return code == 0 && strings.Contains(out, "emb") && strings.Contains(out, "NAME") && strings.Contains(out, "(unknown)")
	})
	if code, out, _ := run(t.Context(), "routes", "--url", "http://"+addr+"/", "--json"); code != 0 || !strings.HasPrefix(out, `{"routes":`) {
		t.Errorf("%d %s", code, out)
	}
	if code, _, errs := run(t.Context(), "routes", "--url", "http://127.0.0.1:1"); code != 1 || !strings.Contains(errs, "--url") {
		t.Errorf("%d %s", code, errs)
	}
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	if code, _, errs := run(t.Context(), "routes", "--url", other.URL); code != 1 || !strings.Contains(errs, "404") {
		t.Errorf("%d %s", code, errs)
	}
}

// A key that stands in MLflow's file goes to a file that its owner alone can read, and is shown nowhere.
func TestImportMovesKeys(t *testing.T) {
	t.Parallel()
	const secret = "sk-s3cret"
	from := apptest.Write(t, "config.yaml", "endpoints:\n- {name: x, endpoint_type: llm/v1/chat, model: {provider: openai, name: y, config: {openai_api_key: "+secret+"}}}\n")
	to := filepath.Join(t.TempDir(), "gateway.toml")
	key := filepath.Join(filepath.Dir(to), "keys", "x.key")
	for _, more := range []string{"", "--force"} {
		code, out, errs := run(t.Context(), strings.Fields("import "+from+" -o "+to+" "+more)...)
		if code != 0 || !strings.Contains(errs, "1 key was moved to "+filepath.Dir(key)) || strings.Contains(out+errs, secret) {
			t.Fatalf("%d\n%s\n%s", code, out, errs)
		}
		text, err := os.ReadFile(key)
		at, statErr := os.Stat(key)
		if err != nil || statErr != nil || string(text) != secret+"\n" || at.Mode().Perm() != 0o600 {
			t.Errorf("%q, %v, %v", text, err, at)
		}
		if err := os.Chmod(key, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if code, out, _ := run(t.Context(), "check", "--config", to); code != 0 || !strings.Contains(out, "valid: 1 route\n") || strings.Contains(out, "warning") {
		t.Errorf("%d %s", code, out)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := run(t.Context(), "check", "--config", to); code != 0 || !strings.Contains(out, "warning: ") || !strings.Contains(out, "openai_api_key") {
		t.Errorf("without the key: %d %s", code, out)
	}
	code, out, errs := run(t.Context(), "import", from)
	if code != 1 || !strings.Contains(errs, ":2: not translated: endpoints[0].model.config.openai_api_key") || !strings.Contains(errs, "--keys") || strings.Contains(out+errs, secret) {
		t.Errorf("%d\n%s\n%s", code, out, errs)
	}
}

// Wrong usage is 2 and says what is right, on the error stream; help is an answer, on the standard output.
func TestUsage(t *testing.T) {
	t.Parallel()
	empty := apptest.Write(t, "g.toml", "")
	for _, test := range []struct {
		args string
		code int
		out  string // said on stdout
		errs string // said on stderr
	}{
		{"", 2, "", "Usage:"},
		{"help", 0, "Usage:", ""},
		{"jobs --help", 0, "Exit status:", ""},
		{"help jobs submit", 0, "headrace jobs submit ROUTE", ""},
		{"jobs submit --help", 0, "headrace jobs submit ROUTE", ""},
		{"jobs help", 2, "", `there is no command "help"`},
		{"version --help", 0, "Usage:", ""},
		{"help nonsense", 2, "", `there is no command "nonsense"`},
		{"help jobs nonsense", 2, "", `there is no command "nonsense"`},
		{"nonsense", 2, "", `there is no command "nonsense"`},
		{"job ls", 2, "", "did you mean jobs?"},
		{"jobs", 2, "", "headrace jobs: name a command"},
		{"jobs nonsense", 2, "", "`headrace jobs --help` lists them"},
		{"jobs sumbit emb x", 2, "", "did you mean submit?"},
		{"queues stop emb", 2, "", `there is no command "stop"`},
		{"up --nonsense", 2, "", "unknown flag: --nonsense; see `headrace up --help`"},
		{"up extra", 2, "", "write --config extra"},
		{"check other.toml", 2, "", "write --config other.toml"},
		{"up --config /nowhere.toml", 2, "", "there is no such file"},
		{"worker --route x --config " + empty, 2, "", "no such route"},
		{"worker --provider cohere --config " + empty, 2, "", "no such provider; there are mlflow-model-serving, openai, azure, anthropic"},
		{"worker --provider MLflow_Model-SERVING --route x --config " + empty, 2, "", "no such route"},
		{"check --config " + apptest.Write(t, "g.toml", "[api]\nlisten = 5\n"), 2, "", "api.listen"},
		{"jobs get", 2, "", "it takes ID"},
		{"jobs get a b", 2, "", "it takes ID, and was given 2 arguments"},
		{"jobs cancel", 2, "", "at least one ID"},
		{"jobs ls job_1", 2, "", "headrace jobs get job_1"},
		{"jobs ls --limit 0", 2, "", "a number from 1"},
		{"jobs ls --limit x", 2, "", "--limit"},
		{"jobs ls --since yesterday", 2, "", "a duration such as 2h"},
		{"jobs redrive", 2, "", "--all"},
		{"jobs redrive a --all", 2, "", "either IDs or flags"},
		{"jobs wait a --timeout 5", 2, "", "missing unit"},
		{"jobs submit emb x --timeout 5s", 2, "", "--timeout is for --wait"},
		{"jobs submit emb x --again", 2, "", "are for --file"},
		{"jobs submit emb x --metadata y", 2, "", "write KEY=VALUE"},
		{"jobs submit emb x --run-at soon", 2, "", "write a time such as"},
		{"jobs submit emb x --deadline 0s", 2, "", "write a time such as"},
		{"jobs submit emb x --ttl never", 2, "", "write a duration"},
		{"jobs submit emb --file /nowhere", 2, "", "no such file"},
		{"jobs submit emb x --file /dev/null", 2, "", "beside --file"},
		{"jobs submit emb --file /dev/null --run-at 2h", 2, "", "with --file it takes a time"},
		{"jobs submit emb --file /dev/null --key-prefix a/b", 2, "", "letters, digits"},
		{"jobs submit emb --file /dev/null --run a/b", 2, "", "letters, digits"},
		{"check --config " + apptest.Write(t, "g.toml", "[broker]\nurl = \"nats://h:4222\"\n"), 0, "warning: ", ""},
		{"check --json --config " + apptest.Write(t, "g.toml", "[broker]\nurl = \"nats://h:4222\"\n"), 0, `"key": "broker.durability"`, ""},
	} {
		code, out, errs := run(t.Context(), strings.Fields(test.args)...)
		if code != test.code || !strings.Contains(out, test.out) || !strings.Contains(errs, test.errs) ||
			(out == "") != (test.out == "") || (errs == "") != (test.errs == "") {
			t.Errorf("%s: %d\n%s\n%s", test.args, code, out, errs)
		}
	}
	for _, args := range []string{"version", "--version"} {
		if code, out, _ := run(t.Context(), args); code != 0 || !regexp.MustCompile(`^headrace \S+ \(.*go1.*/.*\)\n$`).MatchString(out) {
			t.Errorf("%s: %d %s", args, code, out)
		}
	}
}

// An address without its scheme is told from a gateway that does not run.
func TestAddressWithoutScheme(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"query", "emb", "text"}, {"query", "emb", "--data", "{}"}, {"routes"}, {"jobs", "ls"}, {"jobs", "get", "job_1"}, {"jobs", "submit", "emb", "text"},
	} {
		for _, address := range []string{"127.0.0.1:5000", "localhost:5000", "gateway", "", "http://", "ftp://h", "http://[::1"} {
			code, out, errs := run(t.Context(), append(args, "--url", address)...)
			if code != 2 || out != "" || !strings.Contains(errs, "begins with http:// or https://") {
				t.Errorf("%v --url %q: %d\n%s%s", args, address, code, out, errs)
			}
		}
	}
}

// A text goes to a split in the form of its type, which is described in another place than a route's.
func TestQueryOfSplit(t *testing.T) {
	t.Parallel()
	gateway := http.NewServeMux()
	gateway.HandleFunc("GET /api/3.0/gateway/route/ab", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"name":"ab","task_type":"llm/v1/embeddings","destinations":[],"routing_strategy":"TRAFFIC_SPLIT"}`)
	})
	gateway.HandleFunc("POST /v1/routes/ab/invocations", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	gateway.HandleFunc("GET /v1/routes/{name}", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"detail":"The route '`+r.PathValue("name")+`' is not present","code":"not_found"}`)
	})
	s := httptest.NewServer(gateway)
	defer s.Close()
	if code, out, errs := run(t.Context(), "query", "--url", s.URL, "ab", "one", "two"); code != 0 || out != `{"input":["one","two"]}`+"\n" {
		t.Errorf("%d %s%s", code, out, errs)
	}
	if code, _, errs := run(t.Context(), "query", "--url", s.URL, "nope", "one"); code != 1 || !strings.Contains(errs, "'nope' is not present") {
		t.Errorf("%d %s", code, errs)
	}
}
