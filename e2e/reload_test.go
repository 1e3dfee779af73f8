package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// rewrite replaces a configuration as editors and Kubernetes do: by renaming a new file over it.
func rewrite(t *testing.T, path, text string) {
	t.Helper()
	fresh := filepath.Join(filepath.Dir(path), "fresh.toml")
	if err := os.WriteFile(fresh, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(fresh, path); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A new route answers within two seconds, a removed one is gone, an invalid file changes nothing.
func TestReload(t *testing.T) {
	t.Parallel()
	model := instant(t)
	c := config{api: freeAddr(t), broker: freeAddr(t), routes: route("endpoint", "emb", "llm/v1/embeddings", model.URL)}
	path := c.write(t)
	p := start(t, "up", "up", "--config", path)
	client := newClient(t)
	works(t, client, c.api, "emb")
	text := read(t, path)
	answers := func(name string) bool {
		return post(t, client, c.api, "/v1/embeddings", `{"model":"`+name+`","input":"x"}`).status == http.StatusOK
	}

	began := time.Now()
	rewrite(t, path, text+route("endpoint", "new", "llm/v1/embeddings", model.URL))
	eventually(t, 10*time.Second, "the new route answers", func() bool { return answers("new") })
	if took := time.Since(began); took > 2500*time.Millisecond {
		t.Errorf("the new route took %s", took)
	}
	rewrite(t, path, text+"[nonsense")
	eventually(t, 10*time.Second, "the mistake is logged", func() bool { return strings.Contains(p.out.String(), "the old one stays") })
	if !answers("new") || !answers("emb") {
		t.Error("an invalid file has changed something")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the loss is logged", func() bool { return strings.Contains(p.out.String(), "there is no such file") })
	if !answers("new") {
		t.Error("a deleted file has changed something")
	}
	rewrite(t, path, strings.Replace(text, "20s", "21s", 1))
	eventually(t, 10*time.Second, "the removed route is gone", func() bool {
		return post(t, client, c.api, "/v1/embeddings", `{"model":"new","input":"x"}`).status == http.StatusNotFound
	})
	eventually(t, 10*time.Second, "the log names what needs a restart", func() bool { return strings.Contains(p.out.String(), "api.shutdown_grace") })
	if !answers("emb") {
		t.Error("the route that stayed does not answer")
	}
}

// While the file changes all the time, no call on a route that stays fails: in one process and in several.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	model, other := instant(t), instant(t)
	// The route moves between model servers, changes its slots, and others come and go beside it.
	variant := func(i int) string {
		urls := []string{model.URL, other.URL}
		first := route("endpoint", "emb", "llm/v1/embeddings", urls[i%2])
		all := []string{strings.Replace(first, "[endpoints.model]", fmt.Sprintf("slots = %d\n[endpoints.model]", 1+i%3), 1)}
		for k := range i % 4 {
			all = append(all, route("endpoint", fmt.Sprint("beside-", i, "-", k), "llm/v1/embeddings", urls[k%2]))
		}
		return strings.Join(all, "")
	}
	run := func(t *testing.T, addrs, paths, heads []string) {
		t.Helper()
		stop := load(t, newClient(t), addrs, 8)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for i := range 60 {
			<-tick.C
			for n, path := range paths {
				rewrite(t, path, heads[n]+variant(i/12*7+min(i%12, 3))) // it changes fast, then stays for a second
			}
		}
		answers := stop()
		count, _ := tally(answers)
		if len(count) != 1 || count[http.StatusOK] == 0 {
			t.Errorf("answers by status: %v", count)
			for _, a := range answers {
				if a.status != http.StatusOK {
					t.Log(a)
					break
				}
			}
		}
	}
	t.Run("one process", func(t *testing.T) {
		t.Parallel()
		c := config{api: freeAddr(t), broker: freeAddr(t)}
		head := read(t, c.write(t))
		c.routes = variant(0)
		path := c.write(t)
		p := start(t, "up", "up", "--config", path)
		works(t, newClient(t), c.api, "emb")
		run(t, []string{c.api}, []string{path}, []string{head})
		if n := strings.Count(p.out.String(), "the configuration has changed"); n < 3 {
			t.Errorf("the configuration changed %d times", n)
		}
	})
	t.Run("roles", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, variant(0))
		for _, addr := range f.apis {
			works(t, f.client, addr, "emb")
		}
		var heads []string
		for _, path := range f.path {
			heads = append(heads, strings.Split(read(t, path), "[[endpoints]]")[0])
		}
		run(t, f.apis, f.path, heads)
	})
}
