package view_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headrace/internal/view"
)

// golden compares a text with a file of testdata; UPDATE_GOLDEN=1 writes the file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != strings.ReplaceAll(string(want), "\r\n", "\n") {
		t.Errorf("%s has changed (UPDATE_GOLDEN=1 go test ./internal/view accepts it):\n%s", path, got)
	}
}

// What people read stays as it is, with colours and without.
func TestOutput(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	jobs := []string{
		`{"id":"job_1","route":"embeddings","status":"succeeded","priority":"standard","attempt":2,"max_attempts":4,"run":1,"tags":["a","b"],"metadata":{"order":"4711"},` +
			`"created_at":"2026-01-31T11:57:00Z","started_at":"2026-01-31T11:57:01Z","finished_at":"2026-01-31T11:57:03.5Z","result_expires_at":"2026-02-01T11:57:03Z","result_info":{"bytes":8452}}`,
		`{"id":"job_2","route":"iris","status":"failed","status_reason":"upstream_error","priority":"batch","attempt":4,"max_attempts":4,"run":2,"interruptions":1,` +
			`"created_at":"2026-01-31T06:00:00Z","started_at":"2026-01-31T06:00:01Z","finished_at":"2026-01-31T06:10:00Z","error":{"code":"upstream_error","detail":"the model server answered 400:\nno \u001b[31msuch thing"}}`,
		`{"id":"my-own-id","route":"iris","status":"queued","priority":"interactive","attempt":0,"max_attempts":4,"run":1,"created_at":"2026-01-31T11:59:59.75Z",` +
			`"deadline":"2026-02-01T12:00:00Z","queue":{"position_estimate":12,"estimated_start_at":null,"paused":true}}`,
		`{"id":"job_4","route":"iris","status":"scheduled","priority":"standard","attempt":0,"max_attempts":4,"run":1,"created_at":"2026-01-28T12:00:00Z","run_at":"2026-01-31T14:00:00Z"}`,
	}
	const queues = `[{"name":"embeddings","paused":true,"waiting":{"interactive":1,"standard":20,"batch":3000},"oldest_queued_at":{"standard":"2026-01-31T11:00:00Z","batch":null},` +
		`"started_per_second":{"standard":1.25},"max_waiting":10000,"workers":2,"slots":8},{"name":"iris","paused":false,"waiting":{},"oldest_queued_at":{},"started_per_second":{},"max_waiting":10000}]`
	const routes = `[{"name":"embeddings","type":"llm/v1/embeddings","family":"routes","workers":1,"slots":4,"waiting":3,"paused":true,"replicas":[{"url":"http://127.0.0.1:9020","state":"up"},` +
		`{"url":"http://127.0.0.1:9021","state":"down"}]},{"name":"iris","type":"mlflow/v1/invocations","family":"endpoints","paused":false}]`
	const attempts = `[{"n":1,"run":1,"worker":"w1","started_at":"2026-01-31T11:00:00Z","ended_at":"2026-01-31T11:01:00Z","outcome":"failed","error":{"code":"upstream_timeout","detail":"no answer in 60s"}},` +
		`{"n":2,"run":1,"worker":"w2","started_at":"2026-01-31T11:59:00Z","ended_at":null,"outcome":"running"}]`
	for name, coloured := range map[string]bool{"plain": false, "coloured": true} {
		var b strings.Builder
		add := func(text string, err error) {
			if err != nil {
				t.Error(err)
			}
			b.WriteString(text + "\n")
		}
		add(tableOf(jobs, at, coloured))
		for _, job := range jobs {
			add(detailsOf(job, at, coloured))
		}
		add(queuesOf(queues, at, coloured))
		add(routesOf(routes, coloured))
		add(attemptsOf(attempts, at, coloured))
		if strings.Contains(b.String(), "\x1b[31msuch") {
			t.Error("a gateway's words steer the terminal")
		}
		golden(t, "output-"+name+".txt", b.String())
	}
}

// tableOf shows the jobs of a list.
func tableOf(jobs []string, at time.Time, coloured bool) (string, error) {
	var all []*view.Job
	for _, job := range jobs {
		v, err := view.ReadJob([]byte(job))
		if err != nil {
			return "", err
		}
		all = append(all, v)
	}
	return view.JobTable(all, at).Render(coloured), nil
}

// detailsOf shows one job.
func detailsOf(job string, at time.Time, coloured bool) (string, error) {
	v, err := view.ReadJob([]byte(job))
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = v.Details(&b, at, coloured)
	return b.String() + v.Line(coloured) + "\n", err
}

func queuesOf(queues string, at time.Time, coloured bool) (string, error) {
	var all []view.Queue
	err := json.Unmarshal([]byte(queues), &all)
	return view.QueueTable(all, at).Render(coloured), err
}

func routesOf(routes string, coloured bool) (string, error) {
	var all []view.Route
	err := json.Unmarshal([]byte(routes), &all)
	return view.RouteTable(all).Render(coloured), err
}

func attemptsOf(attempts string, at time.Time, coloured bool) (string, error) {
	var all []view.Attempt
	err := json.Unmarshal([]byte(attempts), &all)
	return view.AttemptTable(all, at).Render(coloured), err
}

func TestWhatIsNoJobIsAnError(t *testing.T) {
	t.Parallel()
	if _, err := view.ReadJob([]byte("<html>")); err == nil || !strings.Contains(err.Error(), "reading a job") {
		t.Error(err)
	}
}

// Each state of a queue and of sharing calls has its word.
func TestQueuesAndRoutesInWords(t *testing.T) {
	t.Parallel()
	for want, q := range map[string]view.Queue{
		"paused: 0 jobs wait":          {Paused: true},
		"without workers: 1 job waits": {Waiting: map[string]int{"batch": 1}},
		"open: 1,200 jobs wait":        {Workers: 1, Waiting: map[string]int{"batch": 200, "standard": 1000}},
	} {
		if got := q.State() + ": " + q.Waits(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	for batching, want := range map[string]string{
		`[]`: " - ", `[{"stage":"learning","size":1}]`: " learning ", `[{"stage":"on","size":8},{"stage":"off","size":2}]`: " up to 8 ", `[{"stage":"proven","size":4,"pays":false}]`: " does not pay ",
	} {
		text, err := routesOf(`[{"name":"r","batching":`+batching+`}]`, false)
		if err != nil || !strings.Contains(text, want) {
			t.Errorf("%s: %s (%v)", batching, text, err)
		}
	}
}

// Whatever a gateway says of a job, no byte of it steers the terminal, and a table keeps one line for it.
func FuzzJobs(f *testing.F) {
	f.Add(`{"id":"a","error":{"detail":"x\u001b[31my\nz"},"metadata":{"k":"\u009b1m"},"queue":{}}`)
	f.Add(`{"status_reason":"a","finished_at":"2026-01-31T12:00:00Z","run":2,"interruptions":3}`)
	f.Fuzz(func(t *testing.T, job string) {
		v, err := view.ReadJob([]byte(job))
		if err != nil {
			return
		}
		details, err := detailsOf(job, time.Unix(0, 0), false)
		if err != nil {
			t.Fatal(err)
		}
		for _, own := range []string{v.ID, v.Route, v.Status, v.Priority, strings.Join(v.Tags, "")} { // the gateway's own words
			if strings.ContainsAny(own, "\x1b\n\u009b") {
				return
			}
		}
		if v.Error != nil && strings.ContainsAny(v.Error.Code, "\x1b\n\u009b") {
			return
		}
		if strings.ContainsAny(details, "\x1b\u009b") || strings.Count(view.JobTable([]*view.Job{v}, time.Unix(0, 0)).Render(false), "\n") != 2 {
			t.Errorf("%q", details)
		}
	})
}
