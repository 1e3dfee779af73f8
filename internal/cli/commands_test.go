package cli_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
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
	if code != 0 || !strings.Contains(out, `name = "emb"`) || !strings.Contains(errs, "1 routes were translated") {
		t.Fatalf("%d\n%s\n%s", code, out, errs)
	}
	to := filepath.Join(t.TempDir(), "gateway.toml")
	if code, _, errs := run(t.Context(), "import", good, "-o", to); code != 0 {
		t.Fatalf("%d\n%s", code, errs)
	}
	if code, out, _ := run(t.Context(), "check", "--config", to); code != 0 || !strings.Contains(out, "1 routes") {
		t.Errorf("%d %s", code, out)
	}
	if code, _, errs := run(t.Context(), "import", good, "-o", to); code != 2 || !strings.Contains(errs, "--force") {
		t.Errorf("overwriting: %d %s", code, errs)
	}
	if code, _, _ := run(t.Context(), "import", good, "-o", to, "--force"); code != 0 {
		t.Errorf("overwriting by force: %d", code)
	}
	some := apptest.Write(t, "config.yaml", served+"  - {name: x, endpoint_type: llm/v1/chat, model: {provider: openai, name: y, config: {}}}\n")
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

// Wrong usage is 2 and says what is right.
func TestUsage(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args []string
		code int
		says string
	}{
		{nil, 2, "usage"},
		{[]string{"help"}, 0, "usage"},
		{[]string{"nonsense"}, 2, `no command "nonsense"`},
		{[]string{"up", "--nonsense"}, 2, "nonsense"},
		{[]string{"up", "extra"}, 2, "extra"},
		{[]string{"up", "--config", "/nowhere.toml"}, 2, "there is no such file"},
		{[]string{"worker", "--config", apptest.Write(t, "g.toml", ""), "--route", "x"}, 2, "no such route"},
		{[]string{"worker", "--config", apptest.Write(t, "g.toml", ""), "--provider", "openai"}, 2, "no such provider; mlflow-model-serving is"},
		{[]string{"worker", "--config", apptest.Write(t, "g.toml", ""), "--provider", "MLflow_Model-SERVING", "--route", "x"}, 2, "no such route"},
		{[]string{"check", "--config", apptest.Write(t, "g.toml", "[api]\nlisten = 5\n")}, 2, "api.listen"},
		{[]string{"version", "--help"}, 0, "usage"},
	} {
		code, out, errs := run(t.Context(), test.args...)
		if code != test.code || !strings.Contains(out+errs, test.says) {
			t.Errorf("%v: %d\n%s%s", test.args, code, out, errs)
		}
	}
	if code, out, _ := run(t.Context(), "version"); code != 0 || !strings.HasPrefix(out, "headrace ") {
		t.Errorf("%d %s", code, out)
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
