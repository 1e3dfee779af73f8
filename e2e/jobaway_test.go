package e2e_test

import (
	"bufio"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"headrace/internal/mlflowtest"
)

// nextEvent reads one event of a stream: its name, id and data; ok is false when the stream has ended. Comments are
// events without a name.
func nextEvent(lines *bufio.Scanner) (name, id, data string, ok bool) {
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "event":
			name = value
		case "id":
			id = value
		case "data":
			data = value
		case "":
			if strings.HasPrefix(lines.Text(), ":") {
				continue
			}
			return name, id, data, true
		}
	}
	return "", "", "", false
}

// The front end through which a caller follows a job is killed: the other one continues from there, first with a
// snapshot when the job has changed since.
func TestJobEventsElsewhere(t *testing.T) {
	t.Parallel()
	model := mlflowtest.New(t)
	hold := make(chan struct{})
	model.Handle(mlflowtest.Held(hold, mlflowtest.Embeddings(4)))
	f := newFleet(t, route("endpoint", "emb", "llm/v1/embeddings", model.URL))
	put(t, f.client, f.apis[0], "followed", "followed")
	model.WaitRequests(1)
	follow := func(api, last string) *bufio.Scanner {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+api+"/v1/jobs/followed/events", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if last != "" {
			req.Header.Set("Last-Event-ID", last)
		}
		resp, err := f.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return bufio.NewScanner(resp.Body)
	}
	first := follow(f.apis[0], "")
	name, seen, data, ok := nextEvent(first)
	if !ok || name != "snapshot" || !strings.Contains(data, `"status":"running"`) {
		t.Fatalf("first comes %q %s", name, data)
	}
	f.fronts[0].signal(syscall.SIGKILL)
	<-f.fronts[0].done
	if name, _, _, ok := nextEvent(first); ok {
		t.Errorf("a killed front end sends %q", name)
	}
	close(hold)
	if s := ended(t, f.client, f.apis[1], "followed", 20*time.Second); s.Status != "succeeded" {
		t.Fatalf("the job is %s", s.Status)
	}
	second := follow(f.apis[1], seen)
	name, id, data, ok := nextEvent(second)
	if !ok || name != "snapshot" || id == seen || !strings.Contains(data, `"status":"succeeded"`) {
		t.Errorf("the other front end goes on with %q %s after %s: %s", name, id, seen, data)
	}
	if name, _, _, ok := nextEvent(second); !ok || name != "done" {
		t.Errorf("then comes %q", name)
	}
	if name, _, _, ok := nextEvent(second); ok {
		t.Errorf("and then %q", name)
	}
}

// The broker is killed while a caller waits for a job: front ends are not ready, and the caller gets 503 with the id of
// its job. When the broker is back, the worker that has kept running the job ends it.
func TestBrokerIsAwayFromAJob(t *testing.T) {
	t.Parallel()
	model := mlflowtest.New(t)
	hold := make(chan struct{})
	model.Handle(mlflowtest.Held(hold, mlflowtest.Embeddings(4)))
	f := newFleet(t, route("endpoint", "emb", "llm/v1/embeddings", model.URL))
	type reply struct {
		status int
		id     string
		err    error
	}
	replies := make(chan reply, 1)
	go func() {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+f.apis[0]+"/v1/embeddings", strings.NewReader(`{"model":"emb","input":"x"}`))
		if err != nil {
			replies <- reply{err: err}
			return
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Prefer", "wait=10")
		resp, err := f.client.Do(req)
		if err != nil {
			replies <- reply{err: err}
			return
		}
		replies <- reply{resp.StatusCode, resp.Header.Get("Job-Id"), resp.Body.Close()}
	}()
	model.WaitRequests(1)
	// It may run before its caller's front end knows that it is on disk.
	eventually(t, 10*time.Second, "the job is accepted", func() bool {
		return metric(t, f.client, f.apis[0], `headrace_jobs_accepted_total{priority="interactive",route="emb"}`) == 1
	})
	f.broker.signal(syscall.SIGKILL)
	<-f.broker.done
	for _, addr := range f.apis {
		eventually(t, 10*time.Second, addr+" says that it is not ready", func() bool {
			return get(t, f.client, addr, "/readyz").status == http.StatusServiceUnavailable
		})
	}
	told := <-replies
	if told.err != nil || told.status != http.StatusServiceUnavailable || told.id == "" {
		t.Fatalf("whoever waited is told %+v", told)
	}
	close(hold)
	f.broker = f.startBroker()
	ready(t, f.client, f.apis[1])
	if s := ended(t, f.client, f.apis[1], told.id, 60*time.Second); s.Status != "succeeded" || s.Interruptions != 0 || s.Attempt != 1 {
		t.Errorf("got %+v", s)
	}
}
