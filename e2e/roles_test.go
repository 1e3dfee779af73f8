package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"headrace/internal/mlflowtest"
)

// fleet is the Procfile's roles as processes of their own.
type fleet struct {
	t       *testing.T
	path    []string // of the configuration of each front end
	config  string
	apis    []string
	broker  *process
	fronts  []*process
	workers []*process
	client  *http.Client
}

// newFleet starts a broker, two front ends and three workers, in an order that makes them wait for each other.
func newFleet(t *testing.T, routes string) *fleet {
	t.Helper()
	f := &fleet{t: t, client: newClient(t)}
	brokerAddr, data := freeAddr(t), t.TempDir()
	for range 2 {
		c := config{api: freeAddr(t), broker: brokerAddr, data: data, routes: routes}
		f.apis = append(f.apis, c.api)
		f.path = append(f.path, c.write(t))
	}
	f.config = f.path[0]
	for i := range 3 {
		f.workers = append(f.workers, f.worker(i))
	}
	for i, path := range f.path {
		f.fronts = append(f.fronts, start(t, fmt.Sprint("api", i), "api", "--config", path))
	}
	f.broker = f.startBroker()
	for _, addr := range f.apis {
		ready(t, f.client, addr)
	}
	return f
}

func (f *fleet) worker(i int) *process {
	f.t.Helper()
	return start(f.t, fmt.Sprint("worker", i), "worker", "--config", f.config)
}

func (f *fleet) startBroker() *process {
	f.t.Helper()
	return start(f.t, "broker", "broker", "--config", f.config)
}

// load calls all front ends from n clients until stop is called, which gives every answer.
func (f *fleet) load(n int) (stop func() []answer) {
	f.t.Helper()
	return load(f.t, f.client, f.apis, n)
}

func load(t *testing.T, c *http.Client, addrs []string, n int) (stop func() []answer) {
	t.Helper()
	var clients sync.WaitGroup
	var over atomic.Bool
	answers := make([][]answer, n)
	for i := range n {
		clients.Go(func() {
			for k := 0; !over.Load(); k++ {
				body := fmt.Sprintf(`{"model":"emb","input":["%d-%d"]}`, i, k)
				answers[i] = append(answers[i], post(t, c, addrs[i%len(addrs)], "/v1/embeddings", body))
			}
		})
	}
	return func() []answer {
		over.Store(true)
		clients.Wait()
		var all []answer
		for _, some := range answers {
			all = append(all, some...)
		}
		return all
	}
}

// tally counts statuses and the longest wait; 0 counts connections that broke.
func tally(answers []answer) (count map[int]int, longest time.Duration) {
	count = make(map[int]int)
	for _, a := range answers {
		if a.err != nil {
			count[0]++
		} else {
			count[a.status]++
		}
		longest = max(longest, a.took)
	}
	return count, longest
}

func instant(t *testing.T) *mlflowtest.Server {
	t.Helper()
	s := mlflowtest.New(t)
	s.Handle(mlflowtest.Embeddings(8))
	return s
}

func TestUp(t *testing.T) {
	t.Parallel()
	model, c := instant(t), newClient(t)
	cfg := config{api: freeAddr(t), broker: freeAddr(t), routes: route("route", "emb", "llm/v1/embeddings", model.URL)}
	p := start(t, "up", "up", "--config", cfg.write(t))
	ready(t, c, cfg.api)
	eventually(t, 5*time.Second, "the line that says it is ready", func() bool {
		return strings.Contains(p.out.String(), cfg.api) && strings.Contains(p.out.String(), "serves 1 route;")
	})
	checkEmbedding(t, post(t, c, cfg.api, "/v1/embeddings", `{"model":"emb","input":["a","b"]}`), 2)
	if a := get(t, c, cfg.broker, "/"); a.err == nil {
		t.Error("up opened the broker's port though expose is false")
	}
	p.signal(syscall.SIGTERM)
	if code := p.exited(10 * time.Second); code != 0 {
		t.Errorf("exit status %d after SIGTERM", code)
	}
}

// Three workers share the load of one route, and two front ends serve it.
func TestRolesShareTheLoad(t *testing.T) {
	t.Parallel()
	model := mlflowtest.New(t)
	release := make(chan struct{})
	model.Handle(mlflowtest.Held(release, mlflowtest.Embeddings(8)))
	f := newFleet(t, route("route", "emb", "llm/v1/embeddings", model.URL))
	var calls sync.WaitGroup
	for i := range 12 {
		calls.Go(func() {
			var a answer
			eventually(t, 30*time.Second, "a call that succeeds", func() bool {
				a = post(t, f.client, f.apis[i%2], "/v1/embeddings", `{"model":"emb","input":"x"}`)
				return a.status != http.StatusServiceUnavailable // no worker was ready yet
			})
			checkEmbedding(t, a, 1)
		})
	}
	eventually(t, 20*time.Second, "one call in the slot of each worker", func() bool { return model.MaxInFlight() == 3 })
	close(release)
	calls.Wait()
	if most := model.MaxInFlight(); most != 3 {
		t.Errorf("%d calls at a time, want one for each of three workers", most)
	}
}

func TestWorkerIsKilledUnderLoad(t *testing.T) {
	t.Parallel()
	f := newFleet(t, route("route", "emb", "llm/v1/embeddings", instant(t).URL))
	works(t, f.client, f.apis[0], "emb")
	works(t, f.client, f.apis[1], "emb")
	stop := f.load(16)
	for i := range 3 {
		f.workers[i].signal(syscall.SIGKILL)
		f.workers[i].exited(5 * time.Second)
		f.workers[i] = f.worker(i)
		served := get(t, f.client, f.apis[0], "/v1/routes/emb").body
		eventually(t, 10*time.Second, "the new worker is known", func() bool {
			served = get(t, f.client, f.apis[0], "/v1/routes/emb").body
			return strings.Contains(string(served), `"workers":3`)
		})
	}
	count, longest := tally(stop())
	t.Logf("answers by status: %v, the slowest took %s", count, longest)
	if count[200] == 0 || count[0] > 0 || len(count) > 2 || (len(count) == 2 && count[503] == 0) {
		t.Errorf("answers by status: %v; want 200 and a few 503", count)
	}
	if count[503] > 3*16 {
		t.Errorf("%d calls failed; three deaths should cost few", count[503])
	}
	if longest > 10*time.Second {
		t.Errorf("a caller waited %s", longest)
	}
}

func TestBrokerIsKilledUnderLoad(t *testing.T) {
	t.Parallel()
	f := newFleet(t, route("route", "emb", "llm/v1/embeddings", instant(t).URL))
	works(t, f.client, f.apis[0], "emb")
	stop := f.load(16)
	f.broker.signal(syscall.SIGKILL)
	f.broker.exited(5 * time.Second)
	f.broker = f.startBroker()
	works(t, f.client, f.apis[0], "emb")
	works(t, f.client, f.apis[1], "emb")
	count, longest := tally(stop())
	t.Logf("answers by status: %v, the slowest took %s", count, longest)
	if count[200] == 0 || count[0] > 0 || len(count) > 2 {
		t.Errorf("answers by status: %v; want 200 and 503", count)
	}
	if longest > 10*time.Second {
		t.Errorf("a caller waited %s", longest)
	}
}

// nothingLost checks the answers of a load during which processes were told to stop. A connection that the
// stopping front end closes before it has read a request may break; whatever a model server ran was answered.
func nothingLost(t *testing.T, answers []answer, ran int) {
	t.Helper()
	good := 0
	for _, a := range answers {
		switch {
		case a.status == http.StatusOK && a.err == nil:
			good++
		case a.status == http.StatusServiceUnavailable: // not accepted any more, or no worker was left to run it
		case a.status == 0: // refused, or closed before it was read
		default:
			t.Errorf("a call failed: %s", a)
		}
	}
	t.Logf("%d calls were answered, %d ran", good, ran)
	if good != ran {
		t.Errorf("the model server answered %d calls, the callers got %d", ran, good)
	}
}

// unshared is a route of embeddings whose requests share no calls, so that calls can be counted.
func unshared(name, url string) string {
	return route("route", name, "llm/v1/embeddings", url) + "[routes.batch]\nmode = \"off\"\n"
}

func TestTerminationUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	model := instant(t)
	f := newFleet(t, unshared("emb", model.URL))
	works(t, f.client, f.apis[0], "emb")
	works(t, f.client, f.apis[1], "emb")
	warm := len(model.Requests())
	stop := f.load(16)
	f.workers[0].signal(syscall.SIGTERM)
	if code := f.workers[0].exited(20 * time.Second); code != 0 {
		t.Errorf("worker: exit status %d", code)
	}
	f.fronts[0].signal(syscall.SIGTERM)
	if code := f.fronts[0].exited(30 * time.Second); code != 0 {
		t.Errorf("api: exit status %d", code)
	}
	nothingLost(t, stop(), len(model.Requests())-warm)
}

// All roles get SIGTERM at the same time, as a Procfile runner sends it: every accepted call is answered.
func TestAllRolesTerminatedAtOnce(t *testing.T) {
	t.Parallel()
	model := instant(t)
	f := newFleet(t, unshared("emb", model.URL))
	works(t, f.client, f.apis[0], "emb")
	works(t, f.client, f.apis[1], "emb")
	warm := len(model.Requests())
	stop := f.load(16)
	eventually(t, 10*time.Second, "some calls", func() bool { return len(model.Requests()) > warm+200 })
	all := append(append([]*process{f.broker}, f.fronts...), f.workers...)
	for _, p := range all {
		p.signal(syscall.SIGTERM)
	}
	for _, p := range all {
		if code := p.exited(40 * time.Second); code != 0 {
			t.Errorf("%s: exit status %d", p.name, code)
		}
	}
	nothingLost(t, stop(), len(model.Requests())-warm)
}

func TestUpTerminatedUnderLoad(t *testing.T) {
	t.Parallel()
	model, c := instant(t), newClient(t)
	cfg := config{api: freeAddr(t), broker: freeAddr(t), routes: unshared("emb", model.URL)}
	p := start(t, "up", "up", "--config", cfg.write(t))
	works(t, c, cfg.api, "emb")
	warm := len(model.Requests())
	stop := load(t, c, []string{cfg.api}, 32)
	eventually(t, 10*time.Second, "some calls", func() bool { return len(model.Requests()) > warm+200 })
	p.signal(syscall.SIGTERM)
	if code := p.exited(30 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
	nothingLost(t, stop(), len(model.Requests())-warm)
}

// Headrace starts while its model server is down, says so when it is asked, and finds it when it is there.
func TestModelServerComesLater(t *testing.T) {
	t.Parallel()
	c, model := newClient(t), instant(t)
	model.Down()
	cfg := config{api: freeAddr(t), broker: freeAddr(t), routes: route("route", "emb", "llm/v1/embeddings", model.URL)}
	start(t, "up", "up", "--config", cfg.write(t))
	ready(t, c, cfg.api)
	a := post(t, c, cfg.api, "/gateway/emb/invocations", `{"text":"x"}`)
	if a.status != http.StatusServiceUnavailable || !strings.Contains(string(a.body), "cannot be reached") {
		t.Errorf("while the model server is down: %s", a)
	}
	model.Up()
	works(t, c, cfg.api, "emb")
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	bad := config{api: "nonsense", broker: freeAddr(t), routes: "[[routes]]\nnam = 1\n"}.write(t)
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"version"}, 0, "headrace "},
		{[]string{}, 2, "usage:"},
		{[]string{"upp"}, 2, `no command "upp"`},
		{[]string{"up", "--nonsense"}, 2, "nonsense"},
		{[]string{"up", "extra"}, 2, `unexpected argument "extra"`},
		{[]string{"check", "--config", bad}, 2, "routes[0].nam: unknown key"},
		{[]string{"up", "--config", bad}, 2, "api.listen"},
		{[]string{"check", "--config", "/no/such/file"}, 2, "there is no such file"},
		{[]string{"check", "--config", "../gateway.toml"}, 0, "is valid: 2 routes"},
		{[]string{"check", "--json", "--config", bad}, 2, `"key": "routes[0].nam"`},
		{[]string{"query"}, 2, "name a route"},
		{[]string{"query", "x", "y", "--url", "http://127.0.0.1:1"}, 1, "is Headrace running?"},
		{[]string{"worker", "--route", "nope", "--config", "../gateway.toml"}, 2, "no such route"},
	} {
		p := start(t, strings.Join(c.args, " "), c.args...)
		if code := p.exited(10 * time.Second); code != c.code || !strings.Contains(p.out.String(), c.want) {
			t.Errorf("headrace %s: exit status %d, want %d and %q in:\n%s", p.name, code, c.code, c.want, p.out.String())
		}
	}
}
