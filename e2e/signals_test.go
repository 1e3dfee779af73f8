package e2e_test

import (
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"headrace/internal/mlflowtest"
)

// SIGHUP reads the file at once, says what has changed or why the file was refused, and ends nothing.
func TestHangupReloads(t *testing.T) {
	t.Parallel()
	model, client := instant(t), newClient(t)
	c := config{api: freeAddr(t), broker: freeAddr(t), routes: route("endpoint", "emb", "llm/v1/embeddings", model.URL)}
	path := c.write(t)
	p := start(t, "up", "up", "--config", path)
	works(t, client, c.api, "emb")
	says := func(n int, what string) {
		t.Helper()
		eventually(t, 10*time.Second, what, func() bool { return strings.Count(p.out.String(), what) >= n })
	}
	p.signal(syscall.SIGHUP)
	says(1, "the configuration is unchanged")
	text := read(t, path)
	rewrite(t, path, text+route("endpoint", "new", "llm/v1/embeddings", model.URL))
	p.signal(syscall.SIGHUP)
	says(1, `"added":"new"`)
	works(t, client, c.api, "new")
	rewrite(t, path, text+"[nonsense")
	p.signal(syscall.SIGHUP)
	says(1, "the old one stays")
	p.signal(syscall.SIGHUP)
	says(2, "the old one stays") // also when it was said before
	rewrite(t, path, "")
	p.signal(syscall.SIGHUP)
	says(1, "a reload does not take the last route away")
	works(t, client, c.api, "emb")
	p.signal(syscall.SIGTERM)
	if code := p.exited(20 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

// While a model server hangs, the first Ctrl-C says what is waited for and the second ends the process; the job that ran is
// handed back, which is no interruption, and the next process runs it.
func TestSecondInterruptEndsAtOnce(t *testing.T) {
	t.Parallel()
	model, client := mlflowtest.New(t), newClient(t)
	release := make(chan struct{})
	model.Handle(mlflowtest.Held(release, mlflowtest.Embeddings(8)))
	routes := strings.Replace(route("endpoint", "emb", "llm/v1/embeddings", model.URL), "[endpoints.model]", "slots = 2\n[endpoints.model]", 1)
	c := config{api: freeAddr(t), broker: freeAddr(t), data: t.TempDir(), routes: routes}
	path := c.write(t)
	p := start(t, "up", "up", "--config", path)
	ready(t, client, c.api)
	eventually(t, 20*time.Second, "a job is accepted", func() bool {
		return post(t, client, c.api, "/v1/jobs", `{"route":"emb","id":"one","input":{"input":"x"}}`).status == http.StatusAccepted
	})
	model.WaitRequests(1)
	called := make(chan answer, 1)
	go func() { called <- post(t, client, c.api, "/v1/embeddings", `{"model":"emb","input":"y"}`) }()
	model.WaitRequests(2)
	p.signal(syscall.SIGINT)
	eventually(t, 10*time.Second, "what it waits for", func() bool {
		return strings.Contains(p.out.String(), "headrace is stopping: waiting up to 20 s for 1 call, 1 job; press Ctrl-C again to stop now\n")
	})
	p.signal(syscall.SIGINT)
	if code := p.exited(10 * time.Second); code != 130 {
		t.Errorf("exit status %d, want 130", code)
	}
	if a := <-called; a.status != http.StatusServiceUnavailable || !strings.Contains(string(a.body), "shutting down") {
		t.Errorf("the call got %s", a)
	}
	close(release)
	start(t, "next", "up", "--config", path)
	ready(t, client, c.api)
	a := get(t, client, c.api, "/v1/jobs/one?wait=60")
	if body := string(a.body); !strings.Contains(body, `"status":"succeeded"`) || !strings.Contains(body, `"outcome":"returned"`) {
		t.Errorf("the job: %s", body)
	}
}

// An address that cannot be listened on is named with its key and what to do.
func TestStartErrorsNameTheKey(t *testing.T) {
	t.Parallel()
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	used, routes := taken.Addr().String(), route("endpoint", "emb", "llm/v1/embeddings", "http://127.0.0.1:1")
	for _, s := range []struct {
		role   string
		config config
		want   string
	}{
		{"up", config{api: "192.0.2.1:5000", broker: freeAddr(t)}, "headrace: api.listen: cannot listen on 192.0.2.1:5000: this machine has no such address; set api.listen"},
		{"up", config{api: used, broker: freeAddr(t)}, "headrace: api.listen: cannot listen on " + used + ": another program uses it; stop that one, or set api.listen"},
		{"broker", config{api: freeAddr(t), broker: used}, "headrace: broker.listen: cannot listen on " + used + ": another program uses it; stop that one, or set broker.listen"},
		{"worker", config{api: freeAddr(t), broker: freeAddr(t), extra: "[worker]\nops_listen = \"" + used + "\""}, "headrace: worker.ops_listen: cannot listen on " + used},
	} {
		s.config.routes = routes
		p := start(t, s.role, s.role, "--config", s.config.write(t))
		if code := p.exited(20 * time.Second); code != 1 || !strings.Contains(p.out.String(), s.want) {
			t.Errorf("%s: exit status %d, want %s in:\n%s", s.role, code, s.want, p.out.String())
		}
	}
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "data", "up", "--config", config{api: freeAddr(t), broker: freeAddr(t), data: file, routes: routes}.write(t))
	if code := p.exited(20 * time.Second); code != 1 || strings.Count(p.out.String(), "broker: ") > 1 || !strings.Contains(p.out.String(), "data_dir") {
		t.Errorf("exit status %d:\n%s", code, p.out.String())
	}
}

// A process that is started right after another one was killed waits for its ports and its directory.
func TestStartsRightAfterAKill(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	c := config{api: freeAddr(t), broker: freeAddr(t), data: t.TempDir(), extra: "expose = true", routes: route("endpoint", "emb", "llm/v1/embeddings", instant(t).URL)}
	path := c.write(t)
	first := start(t, "first", "up", "--config", path)
	works(t, client, c.api, "emb")
	next := start(t, "next", "up", "--config", path)
	eventually(t, 10*time.Second, "it tries again", func() bool { return strings.Contains(next.out.String(), "trying again") })
	first.signal(syscall.SIGKILL)
	first.exited(5 * time.Second)
	works(t, client, c.api, "emb")
	select {
	case <-next.done:
		t.Error("the next one has ended")
	default:
	}
}

// Listening where other machines can connect is warned of at start and by check, unless it is said to be meant.
func TestExposureIsWarnedOf(t *testing.T) {
	t.Parallel()
	_, port, err := net.SplitHostPort(freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	routes := route("endpoint", "emb", "llm/v1/embeddings", instant(t).URL)
	c := config{api: "0.0.0.0:" + port, broker: freeAddr(t), routes: routes}
	path := c.write(t)
	const warning = "api.listen: other machines can reach 0.0.0.0:"
	if p := start(t, "check", "check", "--config", path); p.exited(10*time.Second) != 0 || !strings.Contains(p.out.String(), warning) {
		t.Errorf("check:\n%s", p.out.String())
	}
	p := start(t, "up", "up", "--config", path)
	eventually(t, 20*time.Second, "it is ready", func() bool {
		return strings.Contains(p.out.String(), "headrace is ready: http://[::]:"+port+" (all addresses of this machine, IPv4 and IPv6) serves 1 route;")
	})
	if !strings.Contains(p.out.String(), warning) {
		t.Error("no warning at start")
	}
	rewrite(t, path, strings.Replace(read(t, path), "[api]\n", "[api]\nexposed = true\n", 1))
	if p := start(t, "check again", "check", "--config", path); p.exited(10*time.Second) != 0 || strings.Contains(p.out.String(), "warning") {
		t.Errorf("check with api.exposed:\n%s", p.out.String())
	}
}
