package app_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"headrace/internal/mlflowtest"
)

// The examples of docs/jobs.md are run as they stand there.
func TestJobExamples(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "jobs.md"))
	if err != nil {
		t.Fatal(err)
	}
	addr := up(t, "")
	examples := regexp.MustCompile("(?s)<!-- run -->\n```sh\n(.*?)```").FindAllStringSubmatch(string(doc), -1)
	if len(examples) != 14 {
		t.Fatalf("%d examples", len(examples))
	}
	var said []string
	for _, example := range examples {
		text := strings.ReplaceAll(example[1], `: "embeddings"`, `: "emb"`)
		text = strings.ReplaceAll(text, "/gateway/embeddings/", "/gateway/emb/")
		text = strings.ReplaceAll(strings.ReplaceAll(text, "/queues/embeddings/", "/queues/emb/"), "route=embeddings", "route=emb")
		text = strings.ReplaceAll(text, `{"text": `, `{"input": `) // the test's route is an endpoint
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", strings.Replace(text, "curl ", "curl --fail-with-body ", 1))
		cmd.Env = append(os.Environ(), "URL=http://"+addr)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s%v: %s", text, err, out)
		}
		said = append(said, string(out))
	}
	for i, want := range []string{
		`"status":"queued"`, `"embedding"`, `"priority":"batch"`, `"id":"my-own-id"`, `"index":1`,
		`"status":"succeeded"`, `"embedding"`, "event: done", `"status":"succeeded"`, "",
		`"has_more":true`, `"object":"list"`, `"paused":true`, `"paused":false`,
	} {
		if !strings.Contains(said[i], want) {
			t.Errorf("example %d says %s, want %s", i+1, said[i], want)
		}
	}
	if status, body := get(t, "http://"+addr+"/v1/jobs/my-own-id"); status != 410 || !strings.Contains(body, `"code":"job_gone"`) {
		t.Errorf("an erased job answers %d %s", status, body)
	}
}

// Every path gives the result in its own dialect, now or later, and failures in their own words.
func TestJobDialects(t *testing.T) {
	t.Parallel()
	addr := up(t, "")
	ask := func(path, prefer, body string) (int, string) {
		t.Helper()
		status, reply, err := post(t, "http://"+addr+path, prefer, body)
		if err != nil {
			t.Fatal(err)
		}
		return status, reply
	}
	for _, test := range []struct{ path, body string }{
		{"/v1/embeddings", `{"model":"emb","input":["a","b"]}`},
		{"/v1/embeddings", `{"model":"emb","input":"a","encoding_format":"base64"}`},
		{"/gateway/emb/invocations", `{"input":["a","b"]}`},
		{"/endpoints/emb/invocations", `{"input":"a"}`},
		{"/v1/routes/emb/invocations", `{"input":"a"}`},
	} {
		status, direct := ask(test.path, "", test.body)
		if status != 200 {
			t.Fatalf("%s: %d %s", test.path, status, direct)
		}
		if status, waited := ask(test.path, "wait=20", test.body); status != 200 || waited != direct {
			t.Errorf("%s, waited for: %d %s, want %s", test.path, status, waited, direct)
		}
		status, text := ask(test.path, "respond-async", test.body)
		var job struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal([]byte(text), &job); err != nil || status != 202 {
			t.Fatalf("%s: %d %s", test.path, status, text)
		}
		if status, later := get(t, fmt.Sprintf("http://%s/v1/jobs/%s/result?wait=20", addr, job.ID)); status != 200 || later != direct {
			t.Errorf("%s, read later: %d %s, want %s", test.path, status, later, direct)
		}
		if _, input := get(t, fmt.Sprintf("http://%s/v1/jobs/%s/input", addr, job.ID)); input != test.body {
			t.Errorf("%s: the input is %s", test.path, input)
		}
		describesResult(t, addr, job.ID, direct)
	}
	for _, test := range []struct {
		path, body, says string
		status           int
	}{
		{"/v1/jobs", `{"route":"emb","input":{"input":"a"},"priority":"urgent"}`, "priority", 400},
		{"/v1/jobs", `{"route":"emb","input":{"input":"a"},"colour":1}`, "colour", 400},
		{"/v1/jobs", `{"route":"nope","input":{}}`, "nope", 404},
		{"/v1/jobs", `{"input":{}}`, "route is missing", 400},
		{"/v1/jobs", `{"route":"emb"}`, "input is missing", 400},
		{"/v1/jobs", `{"route":"emb","input":{"text":"a"}}`, "input", 400},
		{"/v1/jobs", `{"route":"emb","input":{"input":"a"},"timeouts":{"total":"soon"}}`, "soon", 400},
		{"/v1/jobs/batch", `{"jobs":[]}`, "1 to 1000", 400},
		{"/v1/jobs/nothing/cancel", ``, "nothing", 404},
	} {
		if status, reply := ask(test.path, "", test.body); status != test.status || !strings.Contains(reply, test.says) {
			t.Errorf("%s %s: %d %s", test.path, test.body, status, reply)
		}
	}
}

// OpenAI's replies have an id, which is that of the request that made the job, whenever and wherever they are read.
func TestJobReplyID(t *testing.T) {
	t.Parallel()
	texts := mlflowtest.New(t)
	var routes strings.Builder
	for _, kind := range []string{"chat", "completions"} {
		fmt.Fprintf(&routes, "[[endpoints]]\nname = %q\nendpoint_type = \"llm/v1/%[1]s\"\n[endpoints.model]\nprovider = \"mlflow-model-serving\"\n"+
			"name = \"m\"\n[endpoints.model.config]\nmodel_server_url = %[2]q\n", kind, texts.URL)
	}
	addr := up(t, routes.String())
	for _, test := range []struct{ path, body, id string }{
		{"/v1/chat/completions", `{"model":"chat","messages":[{"role":"user","content":"a"}]}`, `"id":"chatcmpl-mine"`},
		{"/v1/completions", `{"model":"completions","prompt":"a"}`, `"id":"cmpl-mine"`},
	} {
		r := call(t, "POST", "http://"+addr+test.path, test.body, "Prefer: wait=20", "X-Request-Id: mine")
		if r.status != 200 || !strings.Contains(r.body, test.id) {
			t.Errorf("%s, waited for: %d %s", test.path, r.status, r.body)
		}
		later := call(t, "GET", "http://"+addr+r.header.Get("Location")+"/result", "", "X-Request-Id: yours")
		if later.status != 200 || later.body != r.body {
			t.Errorf("%s, read later: %d %s", test.path, later.status, later.body)
		}
	}
}

// A split takes jobs as it takes calls; one that is asked for again goes the same way, and is the same job.
func TestJobThroughSplit(t *testing.T) {
	t.Parallel()
	other := mlflowtest.New(t)
	other.Handle(mlflowtest.Embeddings(4))
	addr := up(t, fmt.Sprintf("[[endpoints]]\nname = \"other\"\nendpoint_type = \"llm/v1/embeddings\"\n[endpoints.model]\n"+
		"provider = \"mlflow-model-serving\"\nname = \"m\"\n[endpoints.model.config]\nmodel_server_url = %q\n[[splits]]\nname = \"both\"\n"+
		"task_type = \"llm/v1/embeddings\"\nrouting_strategy = \"TRAFFIC_SPLIT\"\n"+
		"destinations = [{name = \"emb\", traffic_percentage = 50}, {name = \"other\", traffic_percentage = 50}]\n", other.URL))
	const order = `{"route":"both","input":{"input":"a"}}`
	routes := make(map[string]bool)
	for i := range 32 { // ids enough for both routes
		id := fmt.Sprintf("split-%d", i)
		for again := range 3 {
			r := call(t, "PUT", "http://"+addr+"/v1/jobs/"+id, order)
			if want := map[bool]int{true: 200, false: 202}[again > 0]; r.status != want {
				t.Errorf("%s: %d %s", id, r.status, r.body)
			}
			var job struct{ Route string }
			_ = json.Unmarshal([]byte(r.body), &job) // then it has no route
			routes[job.Route] = true
		}
		first := call(t, "POST", "http://"+addr+"/v1/jobs", order, "Idempotency-Key: key-"+id)
		if again := call(t, "POST", "http://"+addr+"/v1/jobs", order, "Idempotency-Key: key-"+id); again.job.ID != first.job.ID || first.job.ID == "" {
			t.Errorf("one key makes %s and %s", first.body, again.body)
		}
	}
	if len(routes) != 2 || !routes["emb"] || !routes["other"] {
		t.Errorf("the jobs went to %v", routes)
	}
}

// A key stays a job's when the shares of the split that it was asked of have changed, and the call would go elsewhere.
func TestJobKeyOfChangedSplit(t *testing.T) {
	t.Parallel()
	model := mlflowtest.New(t)
	model.Handle(mlflowtest.Embeddings(4))
	addr, data := freeAddr(t), filepath.ToSlash(t.TempDir())
	endpoint := func(name string) string {
		return fmt.Sprintf("[[endpoints]]\nname = %q\nendpoint_type = \"llm/v1/embeddings\"\n[endpoints.model]\n"+
			"provider = \"mlflow-model-serving\"\nname = \"m\"\n[endpoints.model.config]\nmodel_server_url = %q\n", name, model.URL)
	}
	config := func(first, second int) string {
		text := fmt.Sprintf("[api]\nlisten = %q\n[broker]\ndata_dir = %q\n", addr, data) + endpoint("one") + endpoint("two")
		return text + fmt.Sprintf("[[splits]]\nname = \"both\"\ntask_type = \"llm/v1/embeddings\"\nrouting_strategy = \"TRAFFIC_SPLIT\"\n"+
			"destinations = [{name = \"one\", traffic_percentage = %d}, {name = \"two\", traffic_percentage = %d}]\n", first, second)
	}
	path := write(t, "gateway.toml", config(99, 1))
	upFrom(t, addr, path)
	ask := map[string]string{"/v1/jobs": `{"route":"both","input":{"input":"a"}}`, "/v1/embeddings": `{"model":"both","input":"a"}`}
	keys := make(map[string]string) // of jobs that went the common way
	for at, body := range ask {
		for i := 0; keys[at] == ""; i++ {
			key := fmt.Sprintf("key-%d", i)
			r := call(t, "POST", "http://"+addr+at, body, "Idempotency-Key: "+key, "Prefer: respond-async")
			var job struct{ Route string }
			if err := json.Unmarshal([]byte(r.body), &job); err != nil || r.status != http.StatusAccepted {
				t.Fatalf("%d %s: %v", r.status, r.body, err)
			}
			if job.Route == "one" {
				keys[at] = key
			}
		}
	}
	if err := os.WriteFile(path, []byte(config(1, 99)), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the shares have changed", func() bool {
		_, text := get(t, "http://"+addr+"/api/3.0/gateway/route/both")
		return strings.Contains(text, `"name":"one","traffic_percentage":1}`)
	})
	for at, body := range ask {
		r := call(t, "POST", "http://"+addr+at, body, "Idempotency-Key: "+keys[at], "Prefer: respond-async")
		if r.status != http.StatusUnprocessableEntity && r.status != http.StatusAccepted || r.status == http.StatusAccepted && !strings.Contains(r.body, `"route":"one"`) {
			t.Errorf("%s: one key made a second job: %d %s", at, r.status, r.body)
		}
	}
}

// describesResult checks that a job shown alone tells the size and the digest of what its result's address serves, and
// that one on a list tells none.
func describesResult(t *testing.T, addr, id, served string) {
	t.Helper()
	var job struct {
		Info struct {
			Bytes  *int
			SHA256 *string
		} `json:"result_info"`
	}
	_, text := get(t, fmt.Sprintf("http://%s/v1/jobs/%s", addr, id))
	if err := json.Unmarshal([]byte(text), &job); err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte(served))
	if job.Info.Bytes == nil || *job.Info.Bytes != len(served) || job.Info.SHA256 == nil || *job.Info.SHA256 != hex.EncodeToString(digest[:]) {
		t.Errorf("result_info of %s, which is %d bytes: %s", served, len(served), text)
	}
	eventually(t, "the list has it", func() bool {
		_, list := get(t, fmt.Sprintf("http://%s/v1/jobs?status=succeeded&limit=200", addr))
		return strings.Contains(list, id) && strings.Contains(list, `"bytes":null,"sha256":null`) && !strings.Contains(list, `"sha256":"`)
	})
}

// A large result is described as well, although the job does not show it.
func TestResultInfoDescribesWhatIsServed(t *testing.T) {
	t.Parallel()
	addr, model := upWith(t, "")
	model.Handle(mlflowtest.Embeddings(20_000))
	status, served, err := post(t, "http://"+addr+"/v1/embeddings", "wait=20", `{"model":"emb","input":["a","b"]}`)
	if err != nil || status != 200 || len(served) < 64<<10 {
		t.Fatalf("%d, %d bytes, %v", status, len(served), err)
	}
	_, list := get(t, "http://"+addr+"/v1/jobs")
	var jobs struct{ Data []struct{ ID string } }
	if err := json.Unmarshal([]byte(list), &jobs); err != nil || len(jobs.Data) != 1 {
		t.Fatalf("%s, %v", list, err)
	}
	describesResult(t, addr, jobs.Data[0].ID, served)
}

// Lists of token ids and of nothing, and bodies that are jobs themselves, are refused at the door of jobs as well.
func TestJobInputsThatCannotBeMeant(t *testing.T) {
	t.Parallel()
	addr := up(t, "")
	for _, test := range []struct{ path, prefer, body, says string }{
		{"/v1/embeddings", "respond-async", `{"model":"emb","input":[[1,2]]}`, "check_embedding_ctx_length=False"},
		{"/v1/embeddings", "respond-async", `{"model":"emb","input":[]}`, "nothing to embed"},
		{"/v1/jobs", "", `{"route":"emb","input":{"input":[1,2]}}`, "token ids"},
		{"/v1/jobs", "", `{"route":"emb","input":{"input":[]}}`, "nothing to embed"},
		{"/v1/jobs", "", `{"route":"emb","input":{"route":"emb","input":{"input":"a"}}}`, "it is a whole job"},
	} {
		if status, reply, err := post(t, "http://"+addr+test.path, test.prefer, test.body); err != nil || status != 400 || !strings.Contains(reply, test.says) {
			t.Errorf("%s %s: %d %s, %v", test.path, test.body, status, reply, err)
		}
	}
}

// A job whose model server answers nonsense fails once, in the caller's words; one whose server is away is retried.
func TestNonsenseFailsAtOnceAndAbsenceIsRetried(t *testing.T) {
	t.Parallel()
	addr, model := upWith(t, "")
	model.Handle(nil)
	model.Reply(mlflowtest.JSON(`{"predictions": "nonsense"}`))
	status, reply, err := post(t, "http://"+addr+"/v1/embeddings", "wait=20", `{"model":"emb","input":"a"}`)
	if err != nil || status != 422 || !strings.Contains(reply, `"error":{"message"`) {
		t.Errorf("%d %s, %v", status, reply, err)
	}
}
