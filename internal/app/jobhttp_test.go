package app_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headrace/internal/mlflowtest"
)

// jobReply is a reply with what of it tests want to know.
type jobReply struct {
	status int
	header http.Header
	body   string
	job    struct {
		ID           string          `json:"id"`
		Status       string          `json:"status"`
		StatusReason string          `json:"status_reason"`
		Priority     string          `json:"priority"`
		Run          int             `json:"run"`
		Revision     uint64          `json:"revision"`
		Result       json.RawMessage `json:"result"`
		Error        struct {
			Code, Detail string
			Status       int
			Upstream     *struct{ Status int }
		} `json:"error"`
		Code  string `json:"code"`
		Param string `json:"param"`
	}
}

// call sends a request. Headers are "Name: value".
func call(t *testing.T, method, url, body string, headers ...string) jobReply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	r := jobReply{status: resp.StatusCode, header: resp.Header, body: string(text)}
	_ = json.Unmarshal(text, &r.job) // of a reply that is no job there is nothing
	return r
}

// compact is JSON without its spaces.
func compact(text string) string {
	var b bytes.Buffer
	if json.Compact(&b, []byte(text)) != nil {
		return text
	}
	return b.String()
}

// Every preference on every path that asks a model: what is answered, and what is said about it.
func TestPrefer(t *testing.T) {
	t.Parallel()
	addr := up(t, "")
	for path, body := range map[string]string{
		"/v1/embeddings": `{"model":"emb","input":"a"}`, "/gateway/emb/invocations": `{"input":"a"}`,
		"/endpoints/emb/invocations": `{"input":"a"}`, "/v1/routes/emb/invocations": `{"input":"a"}`,
		"/v1/jobs": `{"route":"emb","input":{"input":"a"}}`,
	} {
		url := "http://" + addr + path
		for _, test := range []struct {
			prefer   []string
			status   int
			applied  string
			priority string
		}{
			{[]string{"Prefer: respond-async"}, 202, "respond-async", "standard"},
			{[]string{"Prefer: wait=0"}, 202, "wait=0", "interactive"},
			{[]string{"Prefer: wait=20"}, 200, "wait=20", "interactive"},
			{[]string{"Prefer: respond-async, wait=20"}, 200, "respond-async, wait=20", "interactive"},
			{[]string{"Prefer: wait=20", "Prefer: respond-async"}, 200, "respond-async, wait=20", "interactive"},
			{[]string{`Prefer: handling=lenient, WAIT="20"; x=y`}, 200, "wait=20", "interactive"},
			{[]string{"Prefer: wait=20, wait=0"}, 200, "wait=20", "interactive"}, // the first one counts
			{[]string{"Prefer: wait=1000000"}, 200, "wait=60", "interactive"},
			{[]string{"Prefer: wait=100000000000000000000"}, 200, "wait=60", "interactive"},
			{[]string{"Prefer: wait=20", "Job-Priority: batch"}, 200, "wait=20", "batch"},
		} {
			r := call(t, "POST", url, body, test.prefer...)
			if r.status != test.status || r.header.Get("Preference-Applied") != test.applied {
				t.Errorf("%s, %v: %d, applied %q: %s", path, test.prefer, r.status, r.header.Get("Preference-Applied"), r.body)
			}
			at := r.header.Get("Location")
			if id := r.header.Get("Job-Id"); id == "" || at != "/v1/jobs/"+id || r.header.Get("Content-Location") != at {
				t.Errorf("%s, %v: the job is %q at %q", path, test.prefer, id, at)
			}
			if r.status == 202 && (r.header.Get("Retry-After") == "" || r.header.Get("ETag") == "" || r.job.ID == "") {
				t.Errorf("%s, %v: %v %s", path, test.prefer, r.header, r.body)
			}
			if got := call(t, "GET", "http://"+addr+at, "").job.Priority; got != test.priority {
				t.Errorf("%s, %v: the job is %s, want %s", path, test.prefer, got, test.priority)
			}
		}
		want := map[bool]int{true: 422, false: 400}[strings.HasSuffix(path, "/invocations") && !strings.HasPrefix(path, "/v1/")]
		for _, bad := range []string{"wait", "wait=soon", "wait=-1", "wait=-100000000000000000000", "wait=1.5", "respond-async, wait=x"} {
			if r := call(t, "POST", url, body, "Prefer: "+bad); r.status != want || !strings.Contains(r.body, "wait=10") {
				t.Errorf("%s, Prefer: %s: %d %s", path, bad, r.status, r.body)
			}
		}
	}
	// A caller that waits for a result that is not kept would get none.
	for _, store := range []string{"none", "inputs"} {
		r := call(t, "POST", "http://"+addr+"/v1/embeddings", `{"model":"emb","input":"a"}`, "Prefer: wait=20", "Job-Store: "+store)
		if r.status != 400 || !strings.Contains(r.body, `"param":"Job-Store"`) || r.header.Get("Job-Id") != "" {
			t.Errorf("store %s: %d %s", store, r.status, r.body)
		}
		for _, prefer := range []string{"respond-async", "wait=0"} {
			if r := call(t, "POST", "http://"+addr+"/v1/embeddings", `{"model":"emb","input":"a"}`, "Prefer: "+prefer, "Job-Store: "+store); r.status != 202 {
				t.Errorf("store %s, %s: %d %s", store, prefer, r.status, r.body)
			}
		}
	}
	// Preferences of others change nothing.
	if r := call(t, "POST", "http://"+addr+"/v1/embeddings", `{"model":"emb","input":"a"}`, "Prefer: return=minimal"); r.status != 200 || r.header.Get("Job-Id") != "" {
		t.Errorf("%d %v", r.status, r.header)
	}
}

// Whatever is wrong with an option: the reply names it as it was given, and says what would be right.
func TestJobOptionErrors(t *testing.T) {
	t.Parallel()
	addr := up(t, "[jobs]\nmax_deadline = \"48h\"\nmax_result_ttl = \"48h\"\n")
	for option, want := range map[string]struct{ param, says string }{
		`"priority":"urgent"`:                                      {"priority", "interactive, standard or batch"},
		`"priority":7`:                                             {"priority", "a string"},
		`"store":"all"`:                                            {"store", "both, inputs, outputs or none"},
		`"run_at":"tomorrow"`:                                      {"run_at", "2026-01-31T12:00:00Z"},
		`"run_at":"2990-01-01T00:00:00Z"`:                          {"run_at", "a year"},
		`"deadline":"later"`:                                       {"deadline", "2026-01-31T12:00:00Z"},
		`"deadline":"2001-01-01T00:00:00Z"`:                        {"deadline", "not after the earliest start"},
		`"deadline":"2990-01-01T00:00:00Z"`:                        {"deadline", "48h"},
		`"timeouts":{"queue":"soon"}`:                              {"timeouts.queue", "90s"},
		`"timeouts":{"queue":-1}`:                                  {"timeouts.queue", "more than 0"},
		`"timeouts":{"queue":0}`:                                   {"timeouts.queue", "more than 0"},
		`"timeouts":{"total":"0s"}`:                                {"timeouts.total", "more than 0"},
		`"retry":{"max_elapsed":1e-12}`:                            {"retry.max_elapsed", "more than 0"},
		`"result_ttl":0`:                                           {"result_ttl", "more than 0"},
		`"timeouts":{"attempt":"x"}`:                               {"timeouts.attempt", "90s"},
		`"timeouts":{"attempt":3600}`:                              {"timeouts.attempt", "1m0s of route"},
		`"timeouts":{"total":[]}`:                                  {"timeouts.total", "90s"},
		`"timeouts":{"total":"72h"}`:                               {"timeouts.total", "48h"},
		`"timeouts":{"total":1e99}`:                                {"timeouts.total", "too large"},
		`"timeouts":7`:                                             {"timeouts", "an object"},
		`"retry":{"max_attempts":0}`:                               {"retry.max_attempts", "between 1 and 4"},
		`"retry":{"max_attempts":5}`:                               {"retry.max_attempts", "between 1 and 4"},
		`"retry":{"max_attempts":"many"}`:                          {"retry.max_attempts", "a whole number"},
		`"retry":{"max_elapsed":"x"}`:                              {"retry.max_elapsed", "90s"},
		`"result_ttl":"72h"`:                                       {"result_ttl", "48h"},
		`"result_ttl":0.5`:                                         {"result_ttl", "between 1s"},
		`"tags":"blue"`:                                            {"tags", "a list of strings"},
		`"tags":[""]`:                                              {"tags", "1 to 128"},
		`"tags":["` + strings.Repeat("é", 100) + `"]`:              {"tags", "128 bytes"},
		`"metadata":{"a":1}`:                                       {"metadata", "a string"},
		`"metadata":{"` + strings.Repeat("k", 129) + `":"v"}`:      {"metadata", "128"},
		`"colour":"blue"`:                                          {"", "colour"},
		`"id":"a b"`:                                               {"id", "letters, digits"},
		`"id":"mine","idempotency_key":"k"`:                        {"idempotency_key", "leave it out"},
		`"idempotency_key":"` + strings.Repeat("k", 256) + `"`:     {"Idempotency-Key", "255"},
		`"deadline":"2027-01-01T00:00:00Z","timeouts":{"total":9}`: {"deadline", "one of them"},
	} {
		body := `{"route":"emb","input":{"input":"a"},` + option + `}`
		r := call(t, "POST", "http://"+addr+"/v1/jobs", body)
		if r.status != 400 || r.job.Param != want.param || !strings.Contains(r.body, want.says) || strings.Contains(r.body, "Go ") {
			t.Errorf("%s: %d %s", option, r.status, r.body)
		}
	}
	// What is wrong with the input is found in it.
	for input, want := range map[string]struct{ param, says, at string }{
		`{"text":"a"}`: {"input.input", "input.input: Field required", `"loc":["body","input","input"]`},
		`{"input":7}`:  {"input.input", "input.input", `"loc":["body","input","input"`},
		`"a"`:          {"input", "input: Input should be a valid dictionary", `"loc":["body","input"]`},
		`null`:         {"input", "input: Input should be a valid dictionary", `"loc":["body","input"]`},
	} {
		r := call(t, "POST", "http://"+addr+"/v1/jobs", `{"route":"emb","input":`+input+`}`)
		if r.status != 400 || r.job.Param != want.param || !strings.Contains(r.body, want.says) || !strings.Contains(r.body, want.at) {
			t.Errorf("the input %s: %d %s", input, r.status, r.body)
		}
	}
	for header, says := range map[string]string{
		"Job-Priority: urgent": "interactive, standard or batch", "Job-Store: all": "both, inputs, outputs or none",
		"Job-Run-At: tomorrow": "2026-01-31T12:00:00Z", "Job-Deadline: later": "2026-01-31T12:00:00Z",
		"Job-Queue-Timeout: soon": "90s", "Job-Attempt-Timeout: 1h": "1m0s of route", "Job-Total-Timeout: 72h": "48h",
		"Job-Max-Attempts: many": "a whole number", "Job-Max-Attempts: 9": "between 1 and 4", "Job-Max-Elapsed: x": "90s",
		"Job-Result-TTL: 72h": "48h", "Job-Result-TTL: 0": "more than 0", "Job-Tags: " + strings.Repeat("a,", 17): "16 are allowed",
		"Idempotency-Key: " + strings.Repeat("k", 256): "255", "Job-Tags: ,": "is empty", "Job-Tags: caf\xe9": "UTF-8", "Job-Max-Elapsed: 5e-324": "more than 0",
	} {
		name, _, _ := strings.Cut(header, ":")
		r := call(t, "POST", "http://"+addr+"/v1/embeddings", `{"model":"emb","input":"a"}`, "Prefer: respond-async", header)
		if r.status != 400 || !strings.Contains(r.body, `"param":"`+name+`"`) || !strings.Contains(r.body, says) {
			t.Errorf("%.60s: %d %s", header, r.status, r.body)
		}
	}
	both := []string{"Prefer: respond-async", "Job-Deadline: " + time.Now().Add(time.Hour).Format(time.RFC3339), "Job-Total-Timeout: 9"}
	if r := call(t, "POST", "http://"+addr+"/v1/embeddings", `{"model":"emb","input":"a"}`, both...); r.status != 400 || !strings.Contains(r.body, "Job-Deadline and Job-Total-Timeout say the same") {
		t.Errorf("%d %s", r.status, r.body)
	}
	tagged := []string{"Prefer: respond-async", "Job-Tags: a, ,b", "Job-Tags: c"}
	if r := call(t, "POST", "http://"+addr+"/v1/embeddings", `{"model":"emb","input":"a"}`, tagged...); !strings.Contains(r.body, `"tags":["a","b","c"]`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	// Beside an envelope headers count for what it leaves out, and are named when they are wrong.
	const envelope = `{"route":"emb","input":{"input":"a"}`
	for _, test := range []struct{ body, header, want string }{
		{envelope + `}`, "Job-Priority: batch", `"priority":"batch"`},
		{envelope + `,"priority":"standard"}`, "Job-Priority: batch", `"priority":"standard"`},
		{envelope + `,"retry":{}}`, "Job-Max-Attempts: 2", `"max_attempts":2`},
		{envelope + `,"retry":{"max_attempts":3}}`, "Job-Max-Attempts: 2", `"max_attempts":3`},
		{envelope + `,"tags":["c"]}`, "Job-Tags: a, b", `"tags":["c"]`},
		{envelope + `,"timeouts":{"queue":9}}`, "Job-Queue-Timeout: soon", `"param":"Job-Queue-Timeout"`},
		{envelope + `,"result_ttl":60}`, "Job-Result-TTL: 0.5", `"param":"Job-Result-TTL"`},
		{envelope + `,"timeouts":{"total":60}}`, "Job-Total-Timeout: 1h", `"status":"queued"`},
		{envelope + `}`, "Job-Queue-Timeout: soon", `"param":"Job-Queue-Timeout"`},
		{envelope + `,"timeouts":{"queue":"never"}}`, "Job-Queue-Timeout: 9", `"param":"timeouts.queue"`},
		{envelope + `}`, "Job-Max-Attempts: 9", `"param":"Job-Max-Attempts"`},
	} {
		if r := call(t, "POST", "http://"+addr+"/v1/jobs", test.body, test.header); !strings.Contains(r.body, test.want) {
			t.Errorf("%s beside %s: %d %s", test.header, test.body, r.status, r.body)
		}
	}
	for _, body := range []string{"", "null x", "[]", `"job"`, `{"route":"emb","input":{"input":"a"}} {}`, "{"} {
		if r := call(t, "POST", "http://"+addr+"/v1/jobs", body); r.status != 400 || strings.Contains(r.body, "Go ") {
			t.Errorf("%q: %d %s", body, r.status, r.body)
		}
	}
}

// An id or a key of the caller's own: the same job for the same words, 422 for others, 410 when nothing is left of it.
func TestJobAskedForAgain(t *testing.T) {
	t.Parallel()
	addr, model := upWith(t, "")
	jobs := "http://" + addr + "/v1/jobs"
	const body, other = `{"route":"emb","input":{"input":"a"}}`, `{"route":"emb","input":{"input":"b"}}`
	if r := call(t, "PUT", jobs+"/mine", body); r.status != 202 || r.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := call(t, "PUT", jobs+"/mine", body, "Prefer: wait=20"); r.status != 200 || r.header.Get("Idempotency-Replayed") != "true" || r.job.Status != "succeeded" {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := call(t, "PUT", jobs+"/mine", other); r.status != 422 || r.job.Code != "idempotency_conflict" {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := call(t, "POST", jobs, `{"id":"mine",`+body[1:]); r.status != 202 || r.job.ID != "mine" || r.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("the id in the body: %d %s", r.status, r.body)
	}
	if r := call(t, "PUT", jobs+"/mine", `{"id":"yours",`+body[1:]); r.status != 400 || r.job.Param != "id" {
		t.Errorf("two ids: %d %s", r.status, r.body)
	}
	first := call(t, "POST", jobs, body, "Idempotency-Key: k")
	for _, again := range []jobReply{
		call(t, "POST", jobs, body, "Idempotency-Key: k"), call(t, "POST", jobs, `{"idempotency_key":"k",`+body[1:]),
		call(t, "POST", jobs, body, "Idempotency-Key: k", "Prefer: wait=20"),
	} {
		if again.job.ID != first.job.ID || again.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("the key again: %d %s", again.status, again.body)
		}
	}
	if r := call(t, "POST", jobs, other, "Idempotency-Key: k"); r.status != 422 {
		t.Errorf("the key with another body: %d %s", r.status, r.body)
	}
	if r := call(t, "POST", jobs, `{"idempotency_key":"l",`+body[1:], "Idempotency-Key: k"); r.status != 400 {
		t.Errorf("two keys: %d %s", r.status, r.body)
	}
	// What is refused does not burn the key.
	if r := call(t, "POST", jobs, `{"route":"emb"}`, "Idempotency-Key: fresh"); r.status != 400 {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := call(t, "POST", jobs, body, "Idempotency-Key: fresh"); r.status != 202 {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := call(t, "DELETE", jobs+"/mine", ""); r.status != 204 {
		t.Errorf("%d %s", r.status, r.body)
	}
	for _, r := range []jobReply{call(t, "PUT", jobs+"/mine", body), call(t, "GET", jobs+"/mine", ""), call(t, "GET", jobs+"/mine/result", ""), call(t, "POST", jobs+"/mine/retry", "")} {
		if r.status != 410 || r.job.Code != "job_gone" {
			t.Errorf("an erased job: %d %s", r.status, r.body)
		}
	}
	ran := len(model.Requests())
	var ids sync.Map
	var asking sync.WaitGroup
	turns := make(chan struct{}, 50) // connections at a time
	for range 1000 {
		asking.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			r := call(t, "POST", jobs, body, "Idempotency-Key: crowd")
			if r.status != 202 {
				t.Errorf("%d %s", r.status, r.body)
			}
			ids.Store(r.job.ID, true)
		})
	}
	asking.Wait()
	n := 0
	ids.Range(func(id, _ any) bool {
		n++
		call(t, "GET", fmt.Sprintf("%s/%s?wait=20", jobs, id), "")
		return true
	})
	if got := len(model.Requests()) - ran; n != 1 || got < 1 || got > 2 { // that of the key "fresh" may come late
		t.Errorf("1,000 equal requests made %d jobs, which ran %d times", n, got)
	}
}

// A bad job in a batch does not keep the others from being placed.
func TestJobBatch(t *testing.T) {
	t.Parallel()
	addr := up(t, "")
	const good = `{"route":"emb","input":{"input":"a"}`
	items := []string{good + "}", good + `,"priority":"urgent"}`, `7`, `{"route":"nope","input":{}}`, good + `,"id":"twin"}`, good + `,"id":"twin"}`, good + `,"id":"twin","tags":["x"]}`}
	want := []int{202, 400, 400, 404, 202, 200, 422} // of several with one id the first counts
	r := call(t, "POST", "http://"+addr+"/v1/jobs/batch", `{"jobs":[`+strings.Join(items, ",")+`]}`)
	var list struct {
		Data []struct {
			Index, Status int
			Job           *struct{ ID string }
			Error         *struct{ Code, Detail, Param string }
		}
	}
	if err := json.Unmarshal([]byte(r.body), &list); err != nil || r.status != 202 || len(list.Data) != len(items) {
		t.Fatalf("%d %s, %v", r.status, r.body, err)
	}
	for i, item := range list.Data {
		if item.Status != want[i] || item.Index != i || (item.Job == nil) == (item.Error == nil) {
			t.Errorf("item %d: %+v", i, item)
		}
	}
	if list.Data[1].Error == nil || list.Data[1].Error.Param != "priority" {
		t.Errorf("%+v", list.Data[1].Error)
	}
}

// A repeated request for an existing job needs no room for another one.
func TestJobAskedForAgainWhenFull(t *testing.T) {
	t.Parallel()
	addr := up(t, "[jobs]\nmax_waiting = 1\n")
	jobs := "http://" + addr + "/v1/jobs"
	const body, other = `{"route":"emb","input":{"input":"a"}}`, `{"route":"emb","input":{"input":"b"}}`
	if r := call(t, "POST", jobs, body, "Idempotency-Key: done", "Prefer: wait=20"); r.job.Status != "succeeded" {
		t.Fatalf("%d %s", r.status, r.body)
	}
	call(t, "POST", "http://"+addr+"/v1/queues/emb/pause", "")
	waits := ""
	eventually(t, "a job waits", func() bool {
		waits = fmt.Sprintf("waits-%d", time.Now().UnixNano())
		return call(t, "PUT", jobs+"/"+waits, body).status == 202
	})
	eventually(t, "the queue is full", func() bool { return call(t, "POST", jobs, body).status == 503 })
	if r := call(t, "PUT", jobs+"/"+waits, body); r.status != 200 || r.job.ID != waits || r.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("the one that waits: %d %s", r.status, r.body)
	}
	if r := call(t, "POST", jobs, body, "Idempotency-Key: done", "Prefer: wait=20"); r.status != 200 || r.job.Status != "succeeded" {
		t.Errorf("one that has ended: %d %s", r.status, r.body)
	}
	if r := call(t, "PUT", jobs+"/"+waits, other); r.status != 422 {
		t.Errorf("the id for something else: %d %s", r.status, r.body)
	}
	if r := call(t, "PUT", jobs+"/another", body); r.status != 503 || r.header.Get("Retry-After") == "" {
		t.Errorf("another one: %d %s", r.status, r.body)
	}
}

// A deadline that was given as a time is that time.
func TestDeadlineGivenAsTimeIsKept(t *testing.T) {
	t.Parallel()
	addr := up(t, "")
	at := time.Now().Add(time.Hour).Truncate(time.Second)
	r := call(t, "POST", "http://"+addr+"/v1/jobs", fmt.Sprintf(`{"route":"emb","input":{"input":"a"},"deadline":%q}`, at.In(time.FixedZone("", 3600)).Format(time.RFC3339)))
	if want := fmt.Sprintf(`"deadline":%q`, at.UTC().Format(time.RFC3339)); r.status != 202 || !strings.Contains(r.body, want) {
		t.Errorf("want %s: %d %s", want, r.status, r.body)
	}
}

// What is no batch is refused as a whole, in words that are not Go's.
func TestJobBatchRefuses(t *testing.T) {
	t.Parallel()
	addr := up(t, "")
	for body, want := range map[string]struct{ param, says string }{
		``:                         {"", "the body is missing"},
		`{`:                        {"", "not a batch"},
		`[]`:                       {"", "an object, not a JSON array"},
		`{"job":[]}`:               {"", "unknown field"},
		`{"jobs":{}}`:              {"jobs", "a list of jobs, not a JSON object"},
		`{"jobs":[]}`:              {"jobs", "1 to 1000"},
		`{"jobs":[{}]} {"jobs":2}`: {"", "something follows"},
	} {
		r := call(t, "POST", "http://"+addr+"/v1/jobs/batch", body)
		if r.status != 400 || r.job.Param != want.param || !strings.Contains(r.body, want.says) || strings.Contains(r.body, "Go ") {
			t.Errorf("%s: %d %s", body, r.status, r.body)
		}
	}
	// One key for all of them would make the same job of each.
	const job = `{"route":"emb","input":{"input":"a"}}`
	if r := call(t, "POST", "http://"+addr+"/v1/jobs/batch", `{"jobs":[`+job+`]}`, "Idempotency-Key: k"); r.status != 400 || r.job.Param != "Idempotency-Key" || !strings.Contains(r.body, "idempotency_key") {
		t.Errorf("a key for the batch: %d %s", r.status, r.body)
	}
	// A job with the path's name could not be read.
	if r := call(t, "POST", "http://"+addr+"/v1/jobs", `{"id":"batch",`+job[1:]); r.status != 400 || r.job.Param != "id" {
		t.Errorf("the id batch: %d %s", r.status, r.body)
	}
}

// The states that a result can be in, and what of a job is told.
func TestJobResultCodes(t *testing.T) {
	t.Parallel()
	addr, model := upWith(t, "")
	hold := make(chan struct{})
	var release sync.Once
	t.Cleanup(func() { release.Do(func() { close(hold) }) })
	model.Handle(mlflowtest.Held(hold, mlflowtest.Embeddings(4)))
	jobs := "http://" + addr + "/v1/jobs"
	const body = `{"route":"emb","input":{"input":"a"}`
	call(t, "PUT", jobs+"/running", body+`}`)
	model.WaitRequests(1)
	call(t, "PUT", jobs+"/cancelled", body+`}`)
	call(t, "PUT", jobs+"/expired", body+`,"timeouts":{"queue":0.2}}`)
	call(t, "PUT", jobs+"/short", body+`,"result_ttl":1}`)
	if r := call(t, "GET", jobs+"/running/result", ""); r.status != 202 || r.header.Get("Retry-After") == "" || r.header.Get("Job-Status") != "running" {
		t.Errorf("%d %v", r.status, r.header)
	}
	if r := call(t, "POST", jobs+"/running/retry", ""); r.status != 409 {
		t.Errorf("retrying what runs: %d %s", r.status, r.body)
	}
	for range 2 {
		if r := call(t, "POST", jobs+"/cancelled/cancel", ""); r.status != 200 || r.job.Status != "cancelled" {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	if r := call(t, "GET", jobs+"/expired?wait=20", ""); r.job.Status != "expired" || r.job.StatusReason != "queue_timeout" {
		t.Errorf("%d %s", r.status, r.body)
	}
	for _, id := range []string{"cancelled", "expired"} {
		if r := call(t, "GET", jobs+"/"+id+"/result", ""); r.status != 409 || r.job.Code != "conflict" {
			t.Errorf("%s: %d %s", id, r.status, r.body)
		}
	}
	release.Do(func() { close(hold) })
	done := call(t, "GET", jobs+"/running?wait=20", "")
	if r := call(t, "GET", jobs+"/running/result", ""); r.status != 200 || string(done.job.Result) != compact(r.body) || r.header.Get("Server-Timing") == "" {
		t.Errorf("%d %s, in the job %s", r.status, r.body, done.job.Result)
	}
	for _, field := range []string{
		`"object":"job"`, `"model":"m"`, `"attempts":[{"n":1,"run":1,`, `"result_info":{"content_type":"application/json","bytes":`, `"inline":true`,
		`"timings":{"queue_ms":`, `"urls":{"`, `"request_id":"`, `"durability":"power"`, `"error":null`, `"deadline":"20`, `"result_expires_at":"20`,
	} {
		if !strings.Contains(done.body, field) {
			t.Errorf("the job lacks %s: %s", field, done.body)
		}
	}
	model.Handle(nil)
	model.Reply(mlflowtest.Failure(422, "BAD", "no such column"))
	call(t, "PUT", jobs+"/failed", body+`}`)
	failed := call(t, "GET", jobs+"/failed?wait=20", "")
	if e := failed.job.Error; failed.job.Status != "failed" || e.Code != "upstream_error" || e.Status != 422 || e.Upstream == nil || e.Upstream.Status != 422 || e.Detail == "" {
		t.Errorf("%s", failed.body)
	}
	if r := call(t, "GET", jobs+"/failed/result", ""); r.status != 424 || r.job.Code != "job_failed" || !strings.Contains(r.body, "upstream_error") {
		t.Errorf("%d %s", r.status, r.body)
	}
	model.Handle(mlflowtest.Embeddings(4))
	if r := call(t, "POST", jobs+"/failed/retry", ""); r.status != 202 || r.job.Run != 2 || r.header.Get("Location") != "/v1/jobs/failed" {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := call(t, "GET", jobs+"/failed/result?wait=20", ""); r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := call(t, "POST", jobs+"/failed/retry", ""); r.status != 409 {
		t.Errorf("retrying a success: %d %s", r.status, r.body)
	}
	eventually(t, "a result that has expired answers 410", func() bool {
		r := call(t, "GET", jobs+"/short/result", "")
		return r.status == 410 && strings.Contains(r.body, "expired at") && call(t, "GET", jobs+"/short", "").status == 410
	})
	for _, path := range []string{"/nobody", "/nobody/result", "/nobody/input", "/nobody/events", "/nobody/attempts"} {
		if r := call(t, "GET", jobs+path, ""); r.status != 404 || r.job.Code != "not_found" {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	if r := call(t, "GET", jobs+"/failed?wait=soon", ""); r.status != 400 || r.job.Param != "wait" {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// A caller who knows a revision is told when there is another one, and that nothing has changed when there is none.
func TestJobRevisions(t *testing.T) {
	t.Parallel()
	addr, model := upWith(t, "")
	hold := make(chan struct{})
	model.Handle(mlflowtest.Held(hold, mlflowtest.Embeddings(4)))
	at := "http://" + addr + "/v1/jobs/watched"
	call(t, "PUT", at, `{"route":"emb","input":{"input":"a"}}`)
	model.WaitRequests(1)
	first := call(t, "GET", at, "")
	tag := first.header.Get("ETag")
	if tag != fmt.Sprintf(`"%d"`, first.job.Revision) || first.job.Status != "running" {
		t.Fatalf("%v %s", first.header, first.body)
	}
	for _, query := range []string{"", "?wait=0.2"} {
		if r := call(t, "GET", at+query, "", "If-None-Match: "+tag); r.status != 304 || r.body != "" || r.header.Get("ETag") != tag {
			t.Errorf("%s: %d %s", query, r.status, r.body)
		}
	}
	if r := call(t, "GET", at+"?wait=20", "", `If-None-Match: "999998", W/"999999"`); r.status != 200 || r.job.Status != "running" {
		t.Errorf("other revisions: %d %s", r.status, r.body)
	}
	news := make(chan jobReply, 1)
	go func() { news <- call(t, "GET", at+"?wait=20", "", "If-None-Match: "+tag) }()
	close(hold)
	if r := <-news; r.status != 200 || r.job.Status != "succeeded" || r.header.Get("Retry-After") != "" {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// event is one of a stream; its name is "" for a comment.
type event struct{ name, id, data string }

// stream opens a job's events and sends them to a channel, which is closed at the end.
func stream(ctx context.Context, t *testing.T, url string, headers ...string) <-chan event {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	events := make(chan event, 100)
	go func() {
		defer close(events)
		defer func() { _ = resp.Body.Close() }()
		var e event
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				e.data = value
			case "":
				if value != "" || e.name != "" {
					events <- e
				}
				e = event{}
			}
		}
	}()
	return events
}

// The events of a job: a snapshot first, each with the record's revision, the end, and a stream that is closed. A caller that
// resumes on another connection gets a snapshot when there is news, and no gap.
func TestJobEvents(t *testing.T) {
	t.Parallel()
	addr, model := upWith(t, "")
	hold := make(chan struct{})
	model.Handle(mlflowtest.Held(hold, mlflowtest.Embeddings(4)))
	at := "http://" + addr + "/v1/jobs/followed"
	call(t, "PUT", at, `{"route":"emb","input":{"input":"a"}}`)
	model.WaitRequests(1)
	left, leave := context.WithCancel(t.Context())
	first := <-stream(left, t, at+"/events")
	if first.name != "snapshot" || !strings.Contains(first.data, `"status":"running"`) || !strings.Contains(first.data, `"revision":`+first.id) {
		t.Errorf("first comes %+v", first)
	}
	leave()
	same := stream(t.Context(), t, at+"/events", "Last-Event-ID: "+first.id)
	if e := <-same; e.name != "" {
		t.Errorf("whoever knows the revision gets %+v", e)
	}
	if e := <-stream(t.Context(), t, at+"/events", "Last-Event-ID: 1"); e.name != "snapshot" || e.id != first.id {
		t.Errorf("whoever knows an older one gets %+v", e)
	}
	close(hold)
	var last event
	for e := range same {
		last = e
	}
	if last.name != "done" || !strings.Contains(last.data, `"status":"succeeded"`) {
		t.Errorf("last comes %+v", last)
	}
	var names []string
	for e := range stream(t.Context(), t, at+"/events", "Last-Event-ID: "+last.id) {
		names = append(names, e.name)
	}
	if strings.Join(names, " ") != " done" {
		t.Errorf("of a job that has ended whoever knows it gets %q", names)
	}
}

// Callers that do not read their events do not disturb others.
func TestJobSlowReaders(t *testing.T) {
	t.Parallel()
	addr := up(t, "")
	for i := range 50 {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetReadBuffer(1024) // the smaller the better
		}
		id := fmt.Sprintf("slow-%d", i)
		call(t, "PUT", "http://"+addr+"/v1/jobs/"+id, fmt.Sprintf(`{"route":"emb","input":{"input":"a"},"run_at":%q}`, time.Now().Add(time.Second).Format(time.RFC3339Nano)))
		if _, err := fmt.Fprintf(conn, "GET /v1/jobs/%s/events HTTP/1.1\r\nHost: x\r\n\r\n", id); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 50 {
		if r := call(t, "GET", fmt.Sprintf("http://%s/v1/jobs/slow-%d?wait=20", addr, i), ""); r.job.Status != "succeeded" {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
}

// A job continues when the caller that waits for it leaves; a synchronous call is aborted.
func TestJobOutlivesItsCaller(t *testing.T) {
	t.Parallel()
	addr, model := upWith(t, "")
	hold := make(chan struct{})
	model.Handle(mlflowtest.Held(hold, mlflowtest.Embeddings(4)))
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/v1/embeddings", strings.NewReader(`{"model":"emb","input":"a"}`))
		if err == nil {
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Prefer", "wait=30")
			req.Header.Set("Idempotency-Key", "left")
			_, err = http.DefaultClient.Do(req)
		}
		left <- err
	}()
	model.WaitRequests(1)
	leave()
	<-left
	close(hold)
	r := call(t, "POST", "http://"+addr+"/v1/embeddings", `{"model":"emb","input":"a"}`, "Prefer: wait=30", "Idempotency-Key: left")
	if r.status != 200 || r.header.Get("Idempotency-Replayed") != "true" || len(model.Requests()) != 1 || model.Aborted() != 0 {
		t.Errorf("%d %s after %d calls to the model server", r.status, r.body, len(model.Requests()))
	}
}

// A model server that is slow or overloaded: attempts end in time, its Retry-After is honoured, and the slot is free again.
func TestJobModelServerTroubles(t *testing.T) {
	t.Parallel()
	addr, model := upWith(t, "")
	jobs := "http://" + addr + "/v1/jobs"
	const body = `{"route":"emb","input":{"input":"a"}`
	var calls atomic.Int64
	embeddings, never := mlflowtest.Embeddings(4), make(chan struct{})
	t.Cleanup(func() { close(never) })
	model.Handle(func(r mlflowtest.Request) mlflowtest.Reply {
		switch calls.Add(1) {
		case 1:
			return mlflowtest.Reply{Hold: never}
		case 2:
			return mlflowtest.Reply{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"2"}}}
		}
		return embeddings(r)
	})
	if r := call(t, "PUT", jobs+"/hangs", body+`,"timeouts":{"attempt":0.3},"retry":{"max_attempts":1}}`, "Prefer: wait=20"); r.job.Status != "failed" || r.job.StatusReason != "upstream_timeout" {
		t.Errorf("%s", r.body)
	}
	began := time.Now()
	r := call(t, "PUT", jobs+"/busy", body+`}`, "Prefer: wait=30")
	if took := time.Since(began); r.job.Status != "succeeded" || took < 2*time.Second || !strings.Contains(r.body, `"n":2`) {
		t.Errorf("after %s: %s", took, r.body)
	}
}
