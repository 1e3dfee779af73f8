package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"headrace/internal/mlflowtest"
)

// canary is part of every secret of the tests below, and of nothing else.
const canary = "canary7391"

// secretRoutes are routes whose addresses and headers hold secrets: a good one, and one for each way in which a call fails.
func secretRoutes(t *testing.T, file string) string {
	t.Helper()
	ill, cut, garbage := mlflowtest.New(t), mlflowtest.New(t), mlflowtest.New(t)
	ill.Reply(mlflowtest.Failure(http.StatusInternalServerError, "INTERNAL_ERROR", "out of memory"))
	cut.Reply(mlflowtest.Reply{Fault: mlflowtest.Cut, Body: []byte(`{"predictions": [[1]]}`)})
	garbage.Reply(mlflowtest.Reply{Fault: mlflowtest.Garbage})
	var routes strings.Builder
	for name, url := range map[string]string{
		"emb": instant(t).URL, "ill": ill.URL, "cut": cut.URL, "garbage": garbage.URL, "away": mlflowtest.ClosedURL(t),
		"tls": strings.Replace(instant(t).URL, "http:", "https:", 1), "unknown": "http://no-such-host.invalid:9",
	} {
		routes.WriteString(route("route", name, "llm/v1/embeddings", url+"/?token="+canary+"query") +
			fmt.Sprintf("headers = {Authorization = \"Bearer %sheader\", X-Env = \"env:HEADRACE_TEST_CANARY\", X-File = \"file:%s\"}\n", canary, file))
	}
	return routes.String()
}

// No secret of a configuration is in what Headrace prints, logs, answers or measures: at start, at reload, at calls and jobs
// that fail, in check, probe, import and the listings.
func TestNoSecretIsShown(t *testing.T) {
	t.Setenv("HEADRACE_TEST_CANARY", canary+"env")
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return filepath.ToSlash(path)
	}
	file := write("secret", canary+"file\n")
	c := config{
		api: freeAddr(t), broker: freeAddr(t), routes: secretRoutes(t, file),
		extra: fmt.Sprintf("expose = true\nuser = \"headrace\"\npassword = \"%spassword\"", canary),
	}
	path, client := c.write(t), newClient(t)
	p := start(t, "up", "up", "--config", path, "--log-level", "debug")
	works(t, client, c.api, "emb")
	shown := make(map[string]string) // what was shown, by where
	failingCalls(t, client, c.api, shown)
	text := read(t, path)
	// Each is refused, and said in the log.
	for i, wrong := range []string{
		strings.Replace(text, `password = "`, `password = `, 1),
		strings.Replace(text, `"http://no-such-host`, `"http://u:`+canary+`@no-such-host`, 1),
		strings.Replace(text, `"http://no-such-host.invalid:9`, `"http://no-such-host.invalid:port`, 1),
		strings.Replace(text, `Bearer `, `Bearer\n`, 1),
	} {
		rewrite(t, path, wrong)
		eventually(t, 10*time.Second, "the mistake is logged", func() bool { return strings.Count(p.out.String(), "the old one stays") > i })
		broken := start(t, fmt.Sprint("check of mistake ", i), "check", "--config", path)
		if broken.exited(10*time.Second) != 2 {
			t.Errorf("%d is valid:\n%s", i, broken.out.String())
		}
		shown[broken.name] = broken.out.String()
	}
	rewrite(t, path, text+"# changed\n")
	eventually(t, 10*time.Second, "the file is taken", func() bool { return strings.Contains(p.out.String(), "the configuration has changed") })

	commands(t, c, path, write, shown)
	p.signal(syscall.SIGTERM)
	p.exited(30 * time.Second)
	shown["up"] = p.out.String()
	for where, text := range shown {
		for line := range strings.Lines(text) {
			if strings.Contains(line, canary) {
				t.Errorf("%s: %s", where, line)
			}
		}
	}
	if len(shown) < 30 || len(shown["up"]) < 1000 {
		t.Errorf("only %d places were looked at", len(shown))
	}
}

// failingCalls makes calls and jobs that fail in every way, and reads every listing.
func failingCalls(t *testing.T, client *http.Client, addr string, shown map[string]string) {
	t.Helper()
	for _, name := range []string{"ill", "cut", "garbage", "away", "tls", "unknown"} {
		a := post(t, client, addr, "/v1/embeddings", `{"model":"`+name+`","input":"x"}`)
		if a.status < 400 {
			t.Errorf("%s: %s", name, a)
		}
		shown["call of "+name] = a.String() + string(a.body)
		job := `{"route":"` + name + `","id":"job-` + name + `","retry":{"max_attempts":1},"input":{"input":"x"}}`
		if a := post(t, client, addr, "/v1/jobs", job); a.status != http.StatusAccepted {
			t.Errorf("a job of %s: %s", name, a)
		}
		ended := get(t, client, addr, "/v1/jobs/job-"+name+"?wait=30")
		if !strings.Contains(string(ended.body), `"failed"`) {
			t.Errorf("the job of %s: %s", name, ended)
		}
		shown["job of "+name] = string(ended.body)
	}
	for _, path := range []string{
		"/v1/routes", "/v1/routes/away", "/metrics", "/readyz", "/v1/models", "/api/2.0/gateway/routes/", "/api/2.0/gateway/routes/away",
		"/api/2.0/endpoints/", "/api/3.0/gateway/endpoint/away", "/v1/jobs", "/v1/dead", "/v1/queues", "/openapi.json",
	} {
		shown[path] = string(get(t, client, addr, path).body)
	}
}

// commands runs the commands that read a configuration, and roles that cannot reach their broker.
func commands(t *testing.T, c config, path string, write func(name, text string) string, shown map[string]string) {
	t.Helper()
	for _, args := range [][]string{
		{"check", "--config", path},
		{"check", "--json", "--config", path},
		{"check", "--probe", "--config", path},
		{"check", "--probe", "--json", "--config", path},
		{"routes", "--url", "http://" + c.api},
		{"routes", "--json", "--url", "http://" + c.api},
		{"query", "away", "x", "--url", "http://" + c.api},
		{"jobs", "get", "job-away", "--url", "http://" + c.api},
		{"import", write("broken.yaml", "endpoints:\n  - name: a\n    model:\n      config:\n        openai_api_key: \""+canary+"\n        x: [")},
		{"import", "-o", filepath.Join(t.TempDir(), "x.toml"), write("openai.yaml", "endpoints:\n  - name: a\n    endpoint_type: llm/v1/chat\n    model:\n      provider: openai\n"+
			"      name: gpt\n      config:\n        openai_api_key: "+canary+"\n        openai_api_base: http://u:"+canary+"@h\n")},
	} {
		p := start(t, strings.Join(args[:2], " ")+strconv.Itoa(len(shown)), args...)
		p.exited(60 * time.Second)
		shown[p.name] = p.out.String()
	}
	creds := write("nats.creds", "-----BEGIN NATS USER JWT-----\n"+canary+"\n")
	for name, extra := range map[string]string{
		"a wrong password":        fmt.Sprintf("url = \"nats://u:%s@%s\"", canary, c.broker),
		"a wrong password beside": fmt.Sprintf("url = \"nats://%s\"\nuser = \"other\"\npassword = \"%s\"", c.broker, canary),
		"a broker that is away":   fmt.Sprintf("url = \"nats://u:%s@127.0.0.1:1\"", canary),
		"broken credentials":      fmt.Sprintf("url = \"nats://%s\"\ncredentials = %q", c.broker, creds),
	} {
		other := config{api: freeAddr(t), broker: freeAddr(t), routes: c.routes, extra: extra}
		p := start(t, name, "worker", "--config", other.write(t), "--log-level", "debug")
		eventually(t, 20*time.Second, name+" is told", func() bool { return strings.Contains(p.out.String(), "roker") })
		p.signal(syscall.SIGTERM)
		p.exited(30 * time.Second)
		shown[name] = p.out.String()
	}
}
