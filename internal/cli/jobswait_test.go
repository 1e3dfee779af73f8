package cli_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"headrace/internal/apptest"
	"headrace/internal/cli"
	"headrace/internal/mlflowtest"
)

// submitted places a job of a text and gives its id.
func submitted(t *testing.T, addr, text string) string {
	t.Helper()
	code, out, errs := run(t.Context(), "jobs", "submit", "emb", text, "--url", "http://"+addr)
	id, _, ok := strings.Cut(out, " ")
	if code != 0 || !ok {
		t.Fatalf("%d %s%s", code, out, errs)
	}
	return id
}

// An exit status tells how a job has ended, and why the waiting has ended before it did.
func TestExitStatusTellsTheEnd(t *testing.T) {
	t.Parallel()
	addr, model := apptest.Up(t, "")
	at := "http://" + addr
	hold := make(chan struct{})
	defer sync.OnceFunc(func() { close(hold) })()
	model.Handle(mlflowtest.Held(hold, mlflowtest.Embeddings(4)))
	running := submitted(t, addr, "held")
	waiting := submitted(t, addr, "behind it")
	_, out, _ := run(t.Context(), "jobs", "submit", "emb", "late", "--deadline", "300ms", "--url", at)
	late, _, _ := strings.Cut(out, " ")
	if code, _, errs := run(t.Context(), "jobs", "cancel", waiting, "--url", at); code != 0 {
		t.Fatalf("%d %s", code, errs)
	}
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		ctx  context.Context
		args string
		code int
		errs string
	}{
		{t.Context(), "jobs wait " + waiting, 4, "was cancelled"},
		{t.Context(), "jobs result " + waiting, 4, "was cancelled"},
		{t.Context(), "jobs wait " + late, 5, "has expired"},
		{t.Context(), "jobs result " + late, 5, "has expired"},
		{t.Context(), "jobs wait " + running + " --timeout 200ms", 124, "which is running, goes on: `headrace jobs wait " + running},
		{t.Context(), "jobs result " + running + " --timeout 200ms", 124, "goes on"},
		{t.Context(), "jobs events " + running + " --timeout 200ms", 124, "goes on"},
		{t.Context(), "jobs submit emb x --wait --timeout 200ms", 124, "goes on"},
		{interrupted, "jobs wait " + running, 130, "interrupted; job " + running + " goes on"},
		{interrupted, "jobs ls", 130, "interrupted"},
		{interrupted, "routes", 130, "interrupted"},
		{interrupted, "query emb x", 130, "interrupted"},
		{t.Context(), "jobs wait nothing", 1, "there is no job"},
		{t.Context(), "jobs wait a --url http://" + apptest.FreeAddr(t), 6, "is Headrace running?"},
	} {
		args := strings.Fields(test.args)
		if !strings.Contains(test.args, "--url") {
			args = append(args, "--url", at)
		}
		code, out, errs := run(test.ctx, args...)
		if code != test.code || !strings.Contains(errs, test.errs) || strings.Contains(errs, "context") {
			t.Errorf("%s: %d\n%s%s", test.args, code, out, errs)
		}
	}
	model.Handle(nil)
	model.Reply(mlflowtest.JSON(`{"predictions": "nonsense"}`))
	failed := submitted(t, addr, "fails")
	if code, out, errs := run(t.Context(), "jobs", "cancel", running, "--url", at); code != 0 {
		t.Errorf("%d %s%s", code, out, errs)
	}
	for _, verb := range []string{"wait", "result"} {
		if code, out, errs := run(t.Context(), "jobs", verb, failed, "--url", at); code != 3 || !strings.Contains(errs, "job "+failed+" has failed: ") {
			t.Errorf("%s: %d %s%s", verb, code, out, errs)
		}
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(text []byte) (int, error) { return w(text) }

// A job that may have been placed when Ctrl-C came is named by its key.
func TestInterruptedPlacingNamesItsKey(t *testing.T) {
	t.Parallel()
	addr, _ := apptest.Up(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	front := between(t, addr, func(w http.ResponseWriter, r *http.Request, on http.Handler) {
		if r.URL.Path != "/v1/jobs/batch" {
			on.ServeHTTP(w, r)
			return
		}
		on.ServeHTTP(httptest.NewRecorder(), r)
		cancel()
		<-r.Context().Done()
	})
	code, _, errs := run(ctx, "jobs", "submit", "emb", "x", "--url", front)
	_, key, _ := strings.Cut(errs, "--key ")
	key, _, _ = strings.Cut(key, "`")
	if code != 130 || key == "" {
		t.Fatalf("%d %s", code, errs)
	}
	if code, out, errs := run(t.Context(), "jobs", "submit", "emb", "x", "--key", key, "--url", "http://"+addr); code != 0 || !strings.Contains(out, "was there already") {
		t.Errorf("%d %s%s", code, out, errs)
	}
}

// Waiting for a job that is interrupted says which one goes on, also where the id was not asked for.
func TestInterruptedSubmitNamesItsJob(t *testing.T) {
	t.Parallel()
	addr, model := apptest.Up(t, "")
	hold := make(chan struct{})
	t.Cleanup(sync.OnceFunc(func() { close(hold) }))
	model.Handle(mlflowtest.Held(hold, mlflowtest.Embeddings(4)))
	ctx, cancel := context.WithCancel(t.Context())
	var stdout, stderr strings.Builder
	code := cli.Main(ctx, []string{"jobs", "submit", "emb", "x", "--wait", "--url", "http://" + addr}, cli.Streams{
		Out: &stdout, Err: writer(func(text []byte) (int, error) {
			defer cancel() // it is Ctrl-C, once the id is there
			return stderr.Write(text)
		}),
	})
	out, errs := stdout.String(), stderr.String()
	id, _, _ := strings.Cut(errs, " ")
	if code != 130 || out != "" || !strings.HasPrefix(id, "job_") || !strings.Contains(errs, "goes on: `headrace jobs wait "+id+"`") {
		t.Errorf("%d %s%s", code, out, errs)
	}
}

// A gateway that is replaced under a job ends no waiting for it.
func TestWaitingOutlastsARestart(t *testing.T) {
	t.Parallel()
	addr := apptest.FreeAddr(t)
	path, model := apptest.Config(t, addr, "[jobs]\nlist_file = \":memory:\"\n")
	stop := apptest.UpFrom(t, addr, path)
	at := "http://" + addr
	if code, _, errs := run(t.Context(), "queues", "pause", "emb", "--url", at); code != 0 {
		t.Fatal(errs)
	}
	ids := []string{submitted(t, addr, "a"), submitted(t, addr, "b"), submitted(t, addr, "c")}
	type end struct {
		code      int
		out, errs string
	}
	commands := [][]string{
		{"jobs", "wait", ids[0]}, {"jobs", "result", ids[1]}, {"jobs", "events", ids[2]}, {"jobs", "submit", "emb", "d", "--wait"},
	}
	ends := make([]end, len(commands))
	var running sync.WaitGroup
	var asked atomic.Int64
	front := between(t, addr, func(w http.ResponseWriter, r *http.Request, on http.Handler) {
		if strings.Contains(r.URL.RawQuery, "wait=30") || strings.HasSuffix(r.URL.Path, "/events") {
			asked.Add(1)
		}
		on.ServeHTTP(w, r)
	})
	for i, args := range commands {
		running.Go(func() {
			ends[i].code, ends[i].out, ends[i].errs = run(t.Context(), append(args, "--url", front)...)
		})
	}
	apptest.Eventually(t, "all wait", func() bool { return asked.Load() == int64(len(commands)) })
	stop()
	apptest.UpFrom(t, addr, path)
	if code, _, errs := run(t.Context(), "queues", "resume", "emb", "--url", at); code != 0 {
		t.Fatal(errs)
	}
	running.Wait()
	for i, end := range ends {
		want := "succeeded"
		if i%2 == 1 {
			want = `"embedding"`
		}
		if end.code != 0 || !strings.Contains(end.out, want) || !strings.Contains(end.errs, "asking again for 2m") {
			t.Errorf("%v: %d\n%s\n%s", commands[i], end.code, end.out, end.errs)
		}
	}
	if got := len(model.Requests()); got != 4 {
		t.Errorf("4 jobs were run %d times", got)
	}
}

// A job whose answer is lost on the way is placed once.
func TestSubmitAsksAgain(t *testing.T) {
	t.Parallel()
	addr, model := apptest.Up(t, "")
	var placed atomic.Int64
	front := between(t, addr, func(w http.ResponseWriter, r *http.Request, on http.Handler) {
		if r.URL.Path == "/v1/jobs/batch" && placed.Add(1) == 1 {
			on.ServeHTTP(httptest.NewRecorder(), r) // it happens
			panic(http.ErrAbortHandler)             //nolint:forbidigo // and the client gets no answer
		}
		on.ServeHTTP(w, r)
	})
	code, out, errs := run(t.Context(), "jobs", "submit", "emb", "x", "--wait", "--url", front)
	if code != 0 || !strings.Contains(out, `"embedding"`) || !strings.Contains(errs, "(was there already)") || len(model.Requests()) != 1 {
		t.Errorf("%d, run %d times: %s%s", code, len(model.Requests()), out, errs)
	}
}

// A paused queue is seen wherever somebody looks for what a job waits for.
func TestPausedQueueIsSeen(t *testing.T) {
	t.Parallel()
	addr, _ := apptest.Up(t, "")
	do := func(want int, words string) string {
		t.Helper()
		code, out, errs := run(t.Context(), append(strings.Fields(words), "--url", "http://"+addr)...)
		if code != want {
			t.Fatalf("%s: %d\n%s%s", words, code, out, errs)
		}
		return out + errs
	}
	if out := do(0, "queues pause emb"); !strings.Contains(out, "emb is paused; 0 jobs wait") {
		t.Error(out)
	}
	id := submitted(t, addr, "x")
	const why = "the queue is paused; `headrace queues resume emb` starts it"
	if out := do(0, "jobs get "+id); !strings.Contains(out, why) {
		t.Error(out)
	}
	if out := do(124, "jobs wait "+id+" --timeout 200ms"); strings.Count(out, why) != 1 {
		t.Error(out)
	}
	if out := do(0, "routes"); !strings.Contains(out, "paused") {
		t.Error(out)
	}
	apptest.Eventually(t, "it is counted", func() bool {
		out := do(0, "queues")
		return strings.Contains(out, "paused") && strings.Contains(out, " 1 ")
	})
	if out := do(0, "queues --json"); !strings.Contains(out, `"paused":true`) {
		t.Error(out)
	}
	if out := do(0, "queues resume emb"); !strings.Contains(out, "emb is open") {
		t.Error(out)
	}
	if out := do(0, "jobs wait "+id); strings.Contains(out, "paused") {
		t.Error(out)
	}
	if out := do(1, "queues pause nope"); !strings.Contains(out, "; `headrace routes` lists") || strings.Contains(out, ".;") {
		t.Error(out)
	}
}

// Jobs are found, looked at, erased and run again.
func TestJobVerbs(t *testing.T) {
	t.Parallel()
	addr, model := apptest.Up(t, "")
	do := func(want int, words string) (out, errs string) {
		t.Helper()
		code, out, errs := run(t.Context(), append(strings.Fields(words), "--url", "http://"+addr)...)
		if code != want {
			t.Fatalf("%s: %d\n%s%s", words, code, out, errs)
		}
		return out, errs
	}
	if _, errs := do(0, "jobs ls"); errs != "no jobs\n" {
		t.Error(errs)
	}
	model.Handle(nil)
	model.Reply(mlflowtest.JSON(`{"predictions": "nonsense"}`))
	first, second := submitted(t, addr, "a"), submitted(t, addr, "b")
	for _, id := range []string{first, second} {
		do(3, "jobs wait "+id)
	}
	if out, _ := do(0, "jobs input "+first); out != `{"input":["a"]}`+"\n" {
		t.Error(out)
	}
	if out, _ := do(0, "jobs attempts "+first); strings.Count(out, "upstream_bad_response") != 1 || !strings.HasPrefix(out, "RUN") {
		t.Error(out)
	}
	if out, errs := do(0, "jobs dead --limit 1"); !strings.Contains(out, second) || !strings.Contains(errs, "there are more: headrace jobs dead --limit 1 --url http://"+addr+" --after "+second) {
		t.Error(out, errs)
	}
	if out, _ := do(0, "jobs dead --limit 1 --after "+second); !strings.Contains(out, first) {
		t.Error(out)
	}
	if out, errs := do(0, "jobs dead --error-code deadline"); out != "" || errs != "no jobs\n" {
		t.Error(out, errs)
	}
	model.Handle(mlflowtest.Embeddings(4))
	if out, errs := do(0, "jobs redrive --error-code upstream_bad_response --route emb"); errs != "2 jobs will run again\n" || !strings.Contains(out, first) {
		t.Error(out, errs)
	}
	do(0, "jobs wait "+first)
	do(0, "jobs wait "+second)
	if _, errs := do(1, "jobs redrive "+first); !strings.Contains(errs, "only failed jobs") {
		t.Error(errs)
	}
	if out, errs := do(1, "jobs retry "+first+" "+second); !strings.Contains(errs, first+": 409") || !strings.Contains(errs, second+": 409") {
		t.Error(out, errs)
	}
	if out, _ := do(0, "jobs delete "+first+" "+second); out != first+"  erased\n"+second+"  erased\n" {
		t.Error(out)
	}
	if _, errs := do(1, "jobs get "+first); !strings.Contains(errs, "410") {
		t.Error(errs)
	}
	out, _ := do(0, "jobs submit emb x --priority batch --tag t --metadata a=b --ttl 1h --deadline 2h --max-attempts 2 --run-at 1h --id mine")
	if !strings.HasPrefix(out, "mine  emb  scheduled") {
		t.Error(out)
	}
	if out, _ := do(0, "jobs ls --tag t --metadata a=b --since 1h --json"); strings.Count(out, "\n") != 1 || !strings.Contains(out, `"max_attempts":2`) || !strings.Contains(out, `"priority":"batch"`) {
		t.Error(out)
	}
}

// The end of a job is printed once, with its time; the list is shown until Ctrl-C, and shells are told the names of routes.
func TestWatching(t *testing.T) {
	t.Parallel()
	addr, _ := apptest.Up(t, "")
	at := "http://" + addr
	id := submitted(t, addr, "a")
	if code, out, errs := run(t.Context(), "jobs", "events", id, "--url", at); code != 0 || strings.Count(out, "succeeded") != 1 || out[2] != ':' {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
	ctx, cancel := context.WithCancel(t.Context())
	seen, list := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- cli.Main(ctx, []string{"jobs", "ls", "--watch", "--url", at}, cli.Streams{Out: list, Err: io.Discard})
		_ = list.Close()
	}()
	text := make([]byte, 1000)
	n, err := seen.Read(text)
	cancel()
	if _, drained := io.Copy(io.Discard, seen); drained != nil || err != nil || !strings.Contains(string(text[:n]), id) {
		t.Errorf("%s, %v, %v", text[:n], err, drained)
	}
	if code := <-ended; code != 0 {
		t.Errorf("watching ends with %d", code)
	}
	for _, words := range []string{"query", "jobs submit", "queues pause"} {
		args := append([]string{"__complete"}, strings.Fields(words)...)
		if code, out, _ := run(t.Context(), append(args, "--url", at, "")...); code != 0 || !strings.HasPrefix(out, "emb\n") {
			t.Errorf("%s completes %s", words, out)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if code, out, _ := run(t.Context(), "completion", shell); code != 0 || !strings.Contains(out, "headrace") {
			t.Errorf("%s: %d", shell, code)
		}
	}
}

// A file is run again: corrected, with other options, as new jobs, and after its jobs were erased.
func TestFileRunAgain(t *testing.T) {
	t.Parallel()
	addr, model := apptest.Up(t, "")
	place := func(want int, in string, words string) (placed []string, errs string) {
		t.Helper()
		var stdout, stderr strings.Builder
		args := append(strings.Fields("jobs submit emb --file - "+words), "--url", "http://"+addr)
		if code := cli.Main(t.Context(), args, cli.Streams{In: strings.NewReader(in), Out: &stdout, Err: &stderr}); code != want {
			t.Fatalf("%s: %d\n%s%s", words, code, stdout.String(), stderr.String())
		}
		for line := range strings.Lines(stdout.String()) {
			id, _, _ := strings.Cut(line, " ")
			placed = append(placed, id)
		}
		return placed, stderr.String()
	}
	sum := func(errs string, lines, placed, there, refused int) {
		t.Helper()
		plural := "lines"
		if lines == 1 {
			plural = "line"
		}
		if want := fmt.Sprintf("standard input: %d %s, %d placed, %d there already, %d refused\n", lines, plural, placed, there, refused); !strings.Contains(errs, want) {
			t.Errorf("%s is not %s", errs, want)
		}
	}
	_, errs := place(1, "\"a\"\nnot this\n{\"id\":\"mine\",\"input\":\"b\"}\n", "")
	sum(errs, 3, 2, 0, 1)
	first, errs := place(0, "\"new\"\n\"a\"\n{\"id\":\"mine\",\"input\":\"b\"}\n", "") // corrected: only what is new is placed
	sum(errs, 3, 1, 2, 0)
	_, errs = place(0, "\"a\"\n", "--priority batch") // another job, no conflict
	sum(errs, 1, 1, 0, 0)
	_, errs = place(0, "\"a\"\n", "--key-prefix nightly")
	sum(errs, 1, 1, 0, 0)
	for _, id := range first {
		jobOf(t, addr, id)
		if code, _, errs := run(t.Context(), "jobs", "delete", id, "--url", "http://"+addr); code != 0 {
			t.Fatal(errs)
		}
	}
	_, errs = place(1, "\"a\"\n{\"id\":\"mine\",\"input\":\"b\"}\n", "")
	if sum(errs, 2, 0, 0, 2); strings.Count(errs, "--again places it as a new job") != 2 {
		t.Error(errs)
	}
	_, errs = place(0, "\"a\"\n{\"id\":\"mine\",\"input\":\"b\"}\n", "--again")
	sum(errs, 2, 2, 0, 0)
	_, again, ok := strings.Cut(errs, "go on with --run ")
	again, _, _ = strings.Cut(again, "\n")
	if !ok {
		t.Fatal(errs)
	}
	last, errs := place(0, "\"a\"\n{\"id\":\"mine\",\"input\":\"b\"}\n", "--run "+again)
	sum(errs, 2, 0, 2, 0)
	for _, id := range last {
		jobOf(t, addr, id)
	}
	apptest.Eventually(t, "all have run", func() bool { return len(model.Requests()) == 7 })
	if _, errs := place(1, "{\"id\":\"mine-"+again+"\",\"input\":\"other\"}", ""); !strings.Contains(errs, "422") || !strings.Contains(errs, "choose another id, or place it as a new job with --again") {
		t.Error(errs)
	}
}
