package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"headrace/internal/mlflowtest"
)

type page struct {
	Data []struct {
		ID     string `json:"id"`
		Status string `json:"status"`
	} `json:"data"`
	FirstID *string `json:"first_id"`
	LastID  *string `json:"last_id"`
	HasMore bool    `json:"has_more"`
}

func (p page) ids() string {
	var ids []string
	for _, item := range p.Data {
		ids = append(ids, item.ID)
	}
	return strings.Join(ids, " ")
}

func listed(t *testing.T, addr, query string) page {
	t.Helper()
	var p page
	status, body := get(t, "http://"+addr+query)
	if err := json.Unmarshal([]byte(body), &p); err != nil || status != 200 {
		t.Fatalf("%s: %d %s, %v", query, status, body, err)
	}
	return p
}

// Jobs are found by everything that the list promises, at once, in pages both ways.
func TestJobList(t *testing.T) {
	t.Parallel()
	addr, model := upWith(t, "")
	put := func(id, more string) {
		t.Helper()
		if status, body := send(t, "PUT", "http://"+addr+"/v1/jobs/"+id, `{"route":"emb","input":{"input":"x"}`+more+`}`); status != 202 {
			t.Fatalf("%d %s", status, body)
		}
	}
	for i := range 5 {
		put(fmt.Sprintf("plain-%d", i), "")
	}
	put("tagged", `,"tags":["blue","ü😀"],"metadata":{"user":"a b\"c"},"priority":"batch"`)
	put("later", fmt.Sprintf(`,"run_at":%q`, time.Now().Add(time.Hour).Format(time.RFC3339)))
	for _, id := range []string{"plain-0", "plain-1", "plain-2", "plain-3", "plain-4", "tagged"} {
		get(t, "http://"+addr+"/v1/jobs/"+id+"?wait=20")
	}
	model.Handle(func(mlflowtest.Request) mlflowtest.Reply { return mlflowtest.JSON(`{"predictions": "nonsense"}`) })
	put("broken", "")
	get(t, "http://"+addr+"/v1/jobs/broken?wait=20")
	for query, want := range map[string]string{
		"?status=scheduled":                          "later",
		"?status=failed":                             "broken",
		"?dead=true":                                 "broken",
		"?status=failed&status=scheduled":            "broken later",
		"?status=failed,scheduled":                   "broken later",
		"?error_code=upstream_bad_response":          "broken",
		"?error_code=deadline":                       "",
		"?tag=blue":                                  "tagged",
		"?tag=blue&tag=" + url.QueryEscape("ü😀"):     "tagged",
		"?tag=blue&tag=red":                          "",
		"?metadata.user=" + url.QueryEscape(`a b"c`): "tagged",
		"?metadata.user=a":                           "",
		"?priority=batch":                            "tagged",
		"?route=emb&limit=1":                         "broken",
		"?route=other":                               "",
		"?created_after=2099-01-01T00:00:00Z":        "",
		"?created_before=1000":                       "",
		"?finished_after=1000&limit=2":               "broken tagged",
		"?after=plain-1":                             "plain-0",
		"?before=tagged&limit=2":                     "broken later",
		"?after=later&limit=2":                       "tagged plain-4",
	} {
		if got := listed(t, addr, "/v1/jobs"+query).ids(); got != want {
			t.Errorf("%s lists %q, want %q", query, got, want)
		}
	}
	var seen []string
	for p := listed(t, addr, "/v1/jobs?limit=3"); ; p = listed(t, addr, "/v1/jobs?limit=3&after="+*p.LastID) {
		seen = append(seen, p.ids())
		if !p.HasMore {
			break
		}
	}
	if got := strings.Join(seen, " "); got != "broken later tagged plain-4 plain-3 plain-2 plain-1 plain-0" {
		t.Errorf("the pages are %q", got)
	}
	if status, _ := send(t, "DELETE", "http://"+addr+"/v1/jobs/plain-2", ""); status != 204 {
		t.Errorf("erasing answers %d", status)
	}
	if got := listed(t, addr, "/v1/jobs?after=plain-3").ids(); got != "plain-1 plain-0" {
		t.Errorf("after one was erased: %q", got)
	}
}

// What is wrong with a list's parameters is said by name.
func TestJobListRefuses(t *testing.T) {
	t.Parallel()
	addr := up(t, "")
	for query, want := range map[string]string{
		"?colour=1": "colour", "?status=lost": "lost", "?limit=0": "limit", "?limit=201": "200", "?limit=x": "limit",
		"?created_after=yesterday": "created_after", "?after=a%20b": "after", "?after=nothing": `"param":"after"`, "?before=nothing": `"param":"before"`, "?after=a&before=b": "exclude",
		"?priority=urgent": "priority", "?dead=maybe": "dead", "?route=a&route=b": "route",
		"?route=a;limit=2": "cannot be read", "?route=%zz": "cannot be read",
	} {
		if status, body := get(t, "http://"+addr+"/v1/jobs"+query); status != 400 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", query, status, body)
		}
	}
	if r := call(t, "GET", "http://"+addr+"/v1/jobs/x/result?wait=1;y=2", ""); r.status != 400 || !strings.Contains(r.body, "cannot be read") {
		t.Errorf("half a wait: %d %s", r.status, r.body)
	}
	if r := call(t, "POST", "http://"+addr+"/v1/dead/redrive", `{"error_code":"deadline"}`); r.status != 400 || !strings.Contains(r.body, "unexpected request body") {
		t.Errorf("a filter in a body: %d %s", r.status, r.body)
	}
	if r := call(t, "POST", "http://"+addr+"/v1/dead/redrive?error_code=deadline;limit=1", ""); r.status != 400 || !strings.Contains(r.body, "cannot be read") {
		t.Errorf("half a filter: %d %s", r.status, r.body)
	}
	if status, body := get(t, "http://"+addr+"/v1/dead?status=queued"); status != 400 || !strings.Contains(body, "status") {
		t.Errorf("%d %s", status, body)
	}
}

// Dead jobs run again when what broke them was mended, one or all of them.
func TestRedrive(t *testing.T) {
	t.Parallel()
	addr, model := upWith(t, "")
	model.Handle(func(mlflowtest.Request) mlflowtest.Reply { return mlflowtest.JSON(`{"predictions": "nonsense"}`) })
	for i := range 4 {
		send(t, "PUT", fmt.Sprintf("http://%s/v1/jobs/j%d", addr, i), `{"route":"emb","input":{"input":"x"}}`)
		get(t, fmt.Sprintf("http://%s/v1/jobs/j%d?wait=20", addr, i))
	}
	if got := listed(t, addr, "/v1/dead").ids(); got != "j3 j2 j1 j0" {
		t.Fatalf("dead are %q", got)
	}
	model.Handle(mlflowtest.Embeddings(4))
	if status, body := send(t, "POST", "http://"+addr+"/v1/dead/j3/redrive", ""); status != 202 || !strings.Contains(body, `"run":2`) {
		t.Errorf("%d %s", status, body)
	}
	if _, body := get(t, "http://"+addr+"/v1/jobs/j3?wait=20"); !strings.Contains(body, `"succeeded"`) {
		t.Error(body)
	}
	if status, body := send(t, "POST", "http://"+addr+"/v1/dead/j3/redrive", ""); status != 409 {
		t.Errorf("a job that succeeded: %d %s", status, body)
	}
	if status, body := send(t, "POST", "http://"+addr+"/v1/dead/redrive?limit=2&route=emb", ""); status != 202 || strings.Count(body, `"status":202`) != 2 || !strings.Contains(body, `"has_more":true`) {
		t.Errorf("%d %s", status, body)
	}
	send(t, "POST", "http://"+addr+"/v1/dead/redrive", "{}")
	for i := range 4 {
		if _, body := get(t, fmt.Sprintf("http://%s/v1/jobs/j%d?wait=20", addr, i)); !strings.Contains(body, `"succeeded"`) {
			t.Error(body)
		}
	}
	if got := listed(t, addr, "/v1/dead").ids(); got != "" {
		t.Errorf("dead are %q", got)
	}
}

// A queue is paused and resumed by its route's name.
func TestQueuePaths(t *testing.T) {
	t.Parallel()
	addr := up(t, "")
	if status, body := send(t, "POST", "http://"+addr+"/v1/queues/emb/pause", ""); status != 200 || !strings.Contains(body, `"paused":true`) {
		t.Errorf("%d %s", status, body)
	}
	send(t, "PUT", "http://"+addr+"/v1/jobs/held", `{"route":"emb","input":{"input":"x"}}`)
	if status, body, err := post(t, "http://"+addr+"/v1/embeddings", "", `{"model":"emb","input":"a"}`); status != 200 || err != nil {
		t.Errorf("a call during the pause: %d %s, %v", status, body, err)
	}
	eventually(t, "the job has a place", func() bool {
		_, body := get(t, "http://"+addr+"/v1/jobs/held")
		return strings.Contains(body, `"status":"queued"`) && strings.Contains(body, `"position_estimate":1`)
	})
	for path, says := range map[string]string{
		"/v1/jobs/held": `"status_reason":"queue_paused"`, "/v1/jobs": `"status_reason":"queue_paused"`, "/v1/routes": `"paused":true`, "/v1/routes/emb": `"paused":true`,
	} {
		if _, body := get(t, "http://"+addr+path); !strings.Contains(body, says) {
			t.Errorf("the pause does not show in %s: %s", path, body)
		}
	}
	if _, body := get(t, "http://"+addr+"/v1/jobs/held"); !strings.Contains(body, `"queue":{"name":"emb/standard","paused":true,`) {
		t.Errorf("the job's queue: %s", body)
	}
	if status, body := send(t, "POST", "http://"+addr+"/v1/queues/emb/resume", ""); status != 200 || !strings.Contains(body, `"paused":false`) {
		t.Errorf("%d %s", status, body)
	}
	if _, body := get(t, "http://"+addr+"/v1/jobs/held?wait=20"); !strings.Contains(body, `"succeeded"`) || strings.Contains(body, "queue_paused") {
		t.Error(body)
	}
	if _, body := get(t, "http://"+addr+"/v1/routes/emb"); !strings.Contains(body, `"paused":false`) {
		t.Error(body)
	}
	for _, path := range []string{"/v1/queues/nope", "/v1/queues/nope/pause"} {
		method := "GET"
		if strings.HasSuffix(path, "pause") {
			method = "POST"
		}
		if status, body := send(t, method, "http://"+addr+path, ""); status != 404 || !strings.Contains(body, "nope") {
			t.Errorf("%d %s", status, body)
		}
	}
}

func send(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	reply, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(reply)
}
