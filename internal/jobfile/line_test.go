package jobfile_test

import (
	"encoding/json"
	"strings"
	"testing"

	"headrace/internal/client"
	"headrace/internal/jobfile"
)

// A line is a text, an input of the route, or a whole job; what it cannot be is said with what to do.
func TestLineBecomesJob(t *testing.T) {
	t.Parallel()
	batch := map[string]any{"priority": "batch", "tags": []string{"b"}, "metadata": map[string]string{"k": "new", "l": "2"}}
	for name, test := range map[string]struct {
		route, run, line string
		options          map[string]any
		job              string // without an id that is made of the line
		err              string
	}{
		"a text":                    {route: "emb", line: `"a <b>"`, job: `{"input":{"input":["a <b>"]},"route":"emb"}`},
		"an input":                  {route: "emb", line: `{"input":"a","x":1.50}`, job: `{"input":{"input":"a","x":1.50},"route":"emb"}`},
		"an input with an id":       {route: "emb", line: `{"id":"mine","input":"a"}`, job: `{"id":"mine","input":{"input":"a"},"route":"emb"}`},
		"an input with a key":       {route: "emb", line: `{"input":"a","idempotency_key":"k"}`, job: `{"idempotency_key":"k","input":{"input":"a"},"route":"emb"}`},
		"a job for the route":       {route: "emb", line: `{"input":{"input":"a"},"tags":["a"]}`, job: `{"input":{"input":"a"},"route":"emb","tags":["a"]}`},
		"a whole job":               {line: `{"route":"x","input":{"input":"a"},"id":"mine"}`, job: `{"id":"mine","input":{"input":"a"},"route":"x"}`},
		"options are added":         {route: "emb", line: `{"input":{"input":"a"},"tags":["a"],"metadata":{"k":"1"},"priority":"standard"}`, options: batch, job: `{"input":{"input":"a"},"metadata":{"k":"new","l":"2"},"priority":"batch","route":"emb","tags":["a","b"]}`},
		"a run of a line's own id":  {route: "emb", run: "r2", line: `{"id":"mine","input":"a"}`, job: `{"id":"mine-r2","input":{"input":"a"},"route":"emb"}`},
		"a run of a line's own key": {route: "emb", run: "r2", line: `{"idempotency_key":"k","input":"a"}`, job: `{"idempotency_key":"k-r2","input":{"input":"a"},"route":"emb"}`},
		"two routes":                {route: "emb", line: `{"route":"x","input":{}}`, err: "leave emb out of the command line"},
		"no route":                  {line: `{"input":"a"}`, err: "names no route"},
		"a text without a route":    {line: `"a"`, err: "name the ROUTE"},
		"half a line":               {route: "emb", line: `{"input":`, err: "is not JSON"},
		"a list":                    {route: "emb", line: `["a"]`, err: "a JSON object or a text"},
		"null":                      {route: "emb", line: `null`, err: "a JSON object or a text"},
		"an id that is a number":    {route: "emb", line: `{"id":5,"input":"a"}`, err: "id is 5"},
		"an id that is empty":       {route: "emb", line: `{"id":"","input":"a"}`, err: "not empty"},
		"an id with a space":        {route: "emb", line: `{"id":"a b","input":"a"}`, err: "letters, digits"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := jobOf(test.route, "line", test.run, test.options, test.line)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "Go value") {
					t.Errorf("%s, %v", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var job map[string]json.RawMessage
			if err := json.Unmarshal(got, &job); err != nil {
				t.Fatal(err)
			}
			text := string(got)
			if strings.Contains(string(job["id"]), "line-") {
				text = strings.Replace(text, `"id":`+string(job["id"])+",", "", 1)
			}
			if text != test.job {
				t.Errorf("%s\nnot %s", text, test.job)
			}
		})
	}
}

func idOfLine(t *testing.T, route, prefix, run string, options map[string]any, line string) string {
	t.Helper()
	got, err := jobOf(route, prefix, run, options, line)
	if err != nil {
		t.Fatal(err)
	}
	var job struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(got, &job); err != nil || !jobfile.GoodID(job.ID) {
		t.Fatalf("%s, %v", got, err)
	}
	return job.ID
}

// The same line is the same job, however it is spaced and wherever it stands; another line, route, prefix, run or option is another.
func TestLineID(t *testing.T) {
	t.Parallel()
	const line = `{"input":"a"}`
	own := idOfLine(t, "emb", "line", "", nil, line)
	if again := idOfLine(t, "emb", "line", "", nil, `{ "input" :  "a" }`); again != own {
		t.Errorf("%s and %s", own, again)
	}
	seen := map[string]string{own: "the line"}
	for name, id := range map[string]string{
		"another line":     idOfLine(t, "emb", "line", "", nil, `{"input":"b"}`),
		"another route":    idOfLine(t, "other", "line", "", nil, line),
		"another prefix":   idOfLine(t, "emb", "nightly-1", "", nil, line),
		"another run":      idOfLine(t, "emb", "line", "2", nil, line),
		"another priority": idOfLine(t, "emb", "line", "", map[string]any{"priority": "batch"}, line),
		"a tag":            idOfLine(t, "emb", "line", "", map[string]any{"tags": []string{"a"}}, line),
	} {
		if other, there := seen[id]; there {
			t.Errorf("%s and %s have the id %s", name, other, id)
		}
		seen[id] = name
	}
}

// Whatever a line holds, it becomes a job that the gateway can read, always the same one, or an error.
func FuzzLine(f *testing.F) {
	f.Add("emb", "", `"text"`)
	f.Add("emb", "r", `{"id":"a","input":"x"}`)
	f.Add("", "", `{"route":"x","input":{"input":"<\u2028>"},"idempotency_key":"k"}`)
	f.Add("emb", "", `{"input":{"a":1e999},"metadata":{"a":"b"},"tags":["x"],"id":null}`)
	options := map[string]any{"priority": "batch", "tags": []string{"t"}, "metadata": map[string]string{"a": "b"}}
	f.Fuzz(func(t *testing.T, route, run, line string) {
		line = strings.TrimSpace(line)
		if line == "" || run != "" && !jobfile.GoodID(run) {
			t.Skip()
		}
		got, err := jobOf(route, "line", run, options, line)
		if err != nil {
			return
		}
		var job struct {
			ID       *string         `json:"id"`
			Key      *string         `json:"idempotency_key"`
			Priority string          `json:"priority"`
			Route    json.RawMessage `json:"route"`
		}
		if err := json.Unmarshal(got, &job); err != nil || job.Priority != "batch" || job.Route == nil || job.ID == nil && job.Key == nil || strings.Contains(string(got), "\n") {
			t.Errorf("%s, %v", got, err)
		}
		if again, err := jobOf(route, "line", run, options, " "+line+"\t"); err == nil && string(again) != string(got) && !strings.HasPrefix(line, "{") {
			t.Errorf("%s, then %s", got, again)
		}
		if again, err := jobOf(route, "line", run, options, line); err != nil || string(again) != string(got) {
			t.Errorf("%s, then %s, %v", got, again, err)
		}
	})
}

// jobOf makes a job of one line of a file; the route takes embeddings.
func jobOf(route, prefix, run string, options map[string]any, line string) (json.RawMessage, error) {
	r := jobfile.Lines{Route: route, Prefix: prefix, Run: run, Options: options}
	if route != "" {
		r.Text = func(text string) ([]byte, error) { return client.BodyFor(route, "llm/v1/embeddings", []string{text}) }
	}
	return r.Job([]byte(line))
}
