package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"headrace/internal/mlflowtest"
)

// jobState is what a test needs of a job.
type jobState struct {
	ID            string `json:"id"`
	Status        string `json:"status"`
	Attempt       int    `json:"attempt"`
	Interruptions int    `json:"interruptions"`
	Revision      uint64 `json:"revision"`
}

func (s jobState) terminal() bool {
	switch s.Status {
	case "succeeded", "failed", "cancelled", "expired":
		return true
	}
	return false
}

// put asks for a job under an id of the test's own, again and again until it is accepted.
func put(t *testing.T, c *http.Client, addr, id, text string) {
	t.Helper()
	body := fmt.Sprintf(`{"route":"emb","input":{"input":%q}}`, text)
	eventually(t, 60*time.Second, "job "+id+" is accepted", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+addr+"/v1/jobs/"+id, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		a := do(c, req)
		if a.err == nil && a.status != http.StatusAccepted && a.status != http.StatusOK && a.status != http.StatusServiceUnavailable {
			t.Fatalf("job %s: %s", id, a)
		}
		return a.status == http.StatusAccepted || a.status == http.StatusOK
	})
}

func readJob(t *testing.T, c *http.Client, addr, id string) (jobState, bool) {
	t.Helper()
	var s jobState
	a := get(t, c, addr, "/v1/jobs/"+id+"?wait=1")
	if a.status == http.StatusNotFound {
		t.Errorf("job %s was accepted and is lost", id)
	}
	return s, a.status == http.StatusOK && json.Unmarshal(a.body, &s) == nil
}

func ended(t *testing.T, c *http.Client, addr, id string, within time.Duration) jobState {
	t.Helper()
	var s jobState
	eventually(t, within, "job "+id+" ends", func() bool {
		var ok bool
		s, ok = readJob(t, c, addr, id)
		return ok && s.terminal()
	})
	return s
}

// Everything is killed again and again while jobs are accepted and run. None is lost, each ends once, its result
// stays as it is, and the model server saw no call that is not an attempt.
func TestJobsSurviveKills(t *testing.T) {
	t.Parallel()
	model := mlflowtest.New(t)
	model.Handle(mlflowtest.Embeddings(4))
	slots := strings.Replace(route("endpoint", "emb", "llm/v1/embeddings", model.URL), "[endpoints.model]", "slots = 4\n[endpoints.model]", 1)
	c := config{api: freeAddr(t), broker: freeAddr(t), extra: "durability = \"process\"", routes: slots}
	path := c.write(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	p := start(t, "up", "up", "--config", path)
	client := newClient(t)
	ready(t, client, c.api)

	var over atomic.Bool
	var clients sync.WaitGroup
	accepted := make([][]string, 4)
	for i := range accepted {
		clients.Go(func() {
			for k := 0; !over.Load(); k++ {
				id := fmt.Sprintf("job-%d-%d", i, k)
				put(t, client, c.api, id, id)
				accepted[i] = append(accepted[i], id)
			}
		})
	}
	for range 4 {
		<-time.After(500*time.Millisecond + time.Duration(random.Int64N(int64(time.Second))))
		p.signal(syscall.SIGKILL)
		<-p.done
		p = start(t, "up again", "up", "--config", path)
	}
	ready(t, client, c.api)
	over.Store(true)
	clients.Wait()
	total := 0
	states := make(map[string]jobState)
	for _, ids := range accepted {
		for _, id := range ids {
			total++
			s := ended(t, client, c.api, id, 60*time.Second)
			if s.Status != "succeeded" {
				t.Errorf("job %s is %s", id, s.Status)
			}
			states[id] = s
			first := get(t, client, c.api, "/v1/jobs/"+id+"/result")
			again := get(t, client, c.api, "/v1/jobs/"+id+"/result")
			if first.status != http.StatusOK || string(first.body) != string(again.body) {
				t.Errorf("job %s: %s, then %s", id, first, again)
			}
		}
	}
	executions := make(map[string]int)
	for _, r := range model.Requests() {
		executions[strings.ReplaceAll(string(r.Body), " ", "")]++
	}
	for id, s := range states {
		if n := executions[fmt.Sprintf(`{"inputs":[%q]}`, id)]; n < 1 || n > s.Attempt+s.Interruptions {
			t.Errorf("job %s ran %d times in %d attempts and %d interruptions", id, n, s.Attempt, s.Interruptions)
		}
	}
	t.Logf("%d jobs over 4 kills", total)
	if total < 50 {
		t.Errorf("%d jobs are too few to prove anything", total)
	}
}

// A model server that dies of a job, on a connection that was used before, is asked again in another attempt, and not
// behind the record's back.
func TestEveryExecutionIsAnAttempt(t *testing.T) {
	t.Parallel()
	model := mlflowtest.New(t)
	var crashed atomic.Bool
	model.Handle(func(r mlflowtest.Request) mlflowtest.Reply {
		if strings.Contains(string(r.Body), "poison") && crashed.CompareAndSwap(false, true) {
			return mlflowtest.Reply{Fault: mlflowtest.Closed}
		}
		return mlflowtest.Embeddings(4)(r)
	})
	c, client := config{api: freeAddr(t), broker: freeAddr(t), routes: route("endpoint", "emb", "llm/v1/embeddings", model.URL)}, newClient(t)
	start(t, "up", "up", "--config", c.write(t))
	ready(t, client, c.api)
	works(t, client, c.api, "emb")
	put(t, client, c.api, "poisoned", "poison")
	if s := ended(t, client, c.api, "poisoned", 30*time.Second); s.Status != "succeeded" || s.Attempt != 2 {
		t.Errorf("got %+v, want a success in the second attempt", s)
	}
	asked := 0
	for _, r := range model.Requests() {
		if strings.Contains(string(r.Body), "poison") {
			asked++
		}
	}
	if asked != 2 {
		t.Errorf("the model server was asked %d times", asked)
	}
}

// A worker that dies with a job: another one runs it within 35 seconds, and that counts as an interruption.
func TestJobOutlivesItsWorker(t *testing.T) {
	t.Parallel()
	model := mlflowtest.New(t)
	hold := make(chan struct{})
	model.Handle(mlflowtest.Held(hold, mlflowtest.Embeddings(4)))
	f := newFleet(t, route("endpoint", "emb", "llm/v1/embeddings", model.URL))
	put(t, f.client, f.apis[0], "long", "long")
	model.WaitRequests(1)
	for _, w := range f.workers {
		w.signal(syscall.SIGKILL)
		<-w.done
	}
	close(hold)
	began := time.Now()
	f.worker(9)
	s := ended(t, f.client, f.apis[1], "long", 60*time.Second)
	if took := time.Since(began); took > 38*time.Second {
		t.Errorf("it took %s", took)
	}
	if s.Status != "succeeded" || s.Interruptions != 1 || s.Attempt != 1 {
		t.Errorf("got %+v", s)
	}
}

// SIGTERM hands running jobs back: another worker has them at once, and no attempt is counted.
func TestJobsAreHandedOver(t *testing.T) {
	t.Parallel()
	model := mlflowtest.New(t)
	hold := make(chan struct{})
	model.Handle(mlflowtest.Held(hold, mlflowtest.Embeddings(4)))
	f := newFleet(t, route("endpoint", "emb", "llm/v1/embeddings", model.URL))
	put(t, f.client, f.apis[0], "handed", "handed")
	model.WaitRequests(1)
	for _, w := range f.workers {
		w.signal(syscall.SIGTERM)
	}
	close(hold)
	for _, w := range f.workers {
		if code := w.exited(30 * time.Second); code != 0 {
			t.Errorf("a worker ended with %d", code)
		}
	}
	if s := ended(t, f.client, f.apis[1], "handed", 5*time.Second); s.Status != "succeeded" || s.Interruptions != 0 {
		t.Errorf("got %+v", s)
	}
}
