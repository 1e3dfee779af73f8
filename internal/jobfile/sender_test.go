package jobfile_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"headrace/internal/client"
	"headrace/internal/jobfile"
	"headrace/internal/terminal"
)

// gateway takes jobs: one named "busy" at the second question, one named "gone" never; what it has is there already.
type gateway struct {
	mu       sync.Mutex
	has      map[string]bool
	asked    map[string]int
	requests int
	down     bool // answers nothing but 500
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.URL.Path == "/v1/limits" {
		_, _ = io.WriteString(w, `{"max_body_bytes":2000}`)
		return
	}
	g.requests++
	var batch struct {
		Jobs []struct {
			ID string `json:"id"`
		} `json:"jobs"`
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(body, &batch) != nil || len(body) > 2000 || g.down {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	var items []string
	for _, job := range batch.Jobs {
		g.asked[job.ID]++
		switch {
		case strings.HasPrefix(job.ID, "gone"):
			items = append(items, `{"status":410,"error":{"code":"gone","detail":"it was erased"}}`)
		case strings.HasPrefix(job.ID, "busy") && g.asked[job.ID] == 1:
			items = append(items, `{"status":503,"error":{"code":"queue_full","detail":"later"}}`)
		case g.has[job.ID]:
			items = append(items, fmt.Sprintf(`{"status":200,"job":{"id":%q}}`, job.ID))
		default:
			g.has[job.ID] = true
			items = append(items, fmt.Sprintf(`{"status":202,"job":{"id":%q}}`, job.ID))
		}
	}
	_, _ = fmt.Fprintf(w, `{"data":[%s]}`, strings.Join(items, ","))
}

// sent sends a file and gives the ids that were shown and what was told of lines.
func sent(t *testing.T, g *gateway, run, file string) (s *jobfile.Sender, shown []string, told string, err error) {
	t.Helper()
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	c := &client.Client{Address: server.URL}
	if err := c.Open(); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	status := terminal.NewStatusLine(&out)
	s = &jobfile.Sender{
		Patience: &client.Patience{Client: c, Told: status, Limit: client.AwayFor}, Name: "f.jsonl", Status: status,
		Lines: jobfile.Lines{Route: "r", Prefix: "line", Run: run},
		Show: func(item *client.Placed) error {
			var job struct {
				ID string `json:"id"`
			}
			shown = append(shown, job.ID)
			return json.Unmarshal(item.Job, &job)
		},
	}
	if err := s.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = s.Run(t.Context(), strings.NewReader(file))
	return s, shown, out.String(), err
}

func newGateway() *gateway { return &gateway{has: make(map[string]bool), asked: make(map[string]int)} }

// Each line ends as placed, there already, or refused with its number; what the gateway has no room for is asked for again.
func TestEachLineIsAccountedFor(t *testing.T) {
	t.Parallel()
	g := newGateway()
	lines := []string{"\ufeff" + `{"id":"first","input":1}`, "", "null", `{"id":"gone-1","input":1}`, `{"id":"busy-1","input":1}`, `{"id":"big","input":"` + strings.Repeat("x", 2000) + `"}`}
	for i := range 30 {
		lines = append(lines, fmt.Sprintf(`{"id":"n-%d","input":%q}`, i, strings.Repeat("y", 100)))
	}
	s, shown, told, err := sent(t, g, "", strings.Join(lines, "\n"))
	if err != nil || len(shown) != 32 || s.Sum() != "f.jsonl: 36 lines, 32 placed, 0 there already, 3 refused" {
		t.Fatalf("%s, %d shown: %s (%v)", s.Sum(), len(shown), told, err)
	}
	for _, want := range []string{"f.jsonl:3: a line is a JSON object", "f.jsonl:4: 410 (gone): it was erased; --again places it", "f.jsonl:6: the job has 2", "later; asking again for 2m"} {
		if !strings.Contains(told, want) {
			t.Errorf("%q is not told: %s", want, told)
		}
	}
	if err := s.Outcome(); err == nil || !strings.Contains(err.Error(), "3 of 36 lines were refused; correct them") {
		t.Error(err)
	}
	if g.requests < 3 || g.asked["busy-1"] != 2 {
		t.Errorf("%d requests, %v", g.requests, g.asked)
	}
	s, _, _, err = sent(t, g, "", strings.Join(slices.Delete(lines, 2, 6), "\n"))
	if err != nil || s.Sum() != "f.jsonl: 32 lines, 0 placed, 31 there already, 0 refused" || s.Outcome() != nil {
		t.Errorf("%s (%v)", s.Sum(), err)
	}
}

// A run that is cut off says how it goes on.
func TestAFailureSaysHowToGoOn(t *testing.T) {
	t.Parallel()
	for run, want := range map[string]string{"": "run the same command again: nothing is placed twice", "r2": "run the same command with --run r2: nothing"} {
		g := newGateway()
		g.down = true
		_, _, _, err := sent(t, g, run, `{"input":1}`)
		if reply, ok := errors.AsType[*client.ReplyError](err); !ok || reply.Status != http.StatusInternalServerError || !strings.Contains(err.Error(), want) {
			t.Errorf("%v", err)
		}
	}
	_, _, _, err := sent(t, newGateway(), "", `{"input":1}`+"\n"+strings.Repeat("x", 33<<20))
	if err == nil || !strings.Contains(err.Error(), "f.jsonl:2: the line is longer than 32 MiB") {
		t.Error(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	s := &jobfile.Sender{Patience: &client.Patience{Client: &client.Client{Address: "http://127.0.0.1:1"}, Told: io.Discard}}
	if err := s.Prepare(ended); err == nil {
		t.Error("a run that was cancelled goes on")
	}
}

// Whatever a line says, it becomes one job with one id, or an error; the same line becomes the same job.
func FuzzLines(f *testing.F) {
	for _, line := range []string{`"text"`, `{"input":1}`, `{"id":"a","input":{}}`, `{"input":{"input":"x"},"tags":["a"]}`, `{"route":"r"}`, `[`} {
		f.Add(line, "r")
		f.Add(line, "")
	}
	f.Fuzz(func(t *testing.T, line, route string) {
		if line = strings.TrimSpace(line); line == "" {
			return
		}
		first, err := jobOf(route, "line", "", nil, line)
		again, err2 := jobOf(route, "line", "", nil, line)
		if (err == nil) != (err2 == nil) || string(first) != string(again) {
			t.Fatalf("%s: %s and %s", line, first, again)
		}
		var job struct {
			ID  string `json:"id"`
			Key string `json:"idempotency_key"`
		}
		if err == nil && (json.Unmarshal(first, &job) == nil && job.ID == "" && job.Key == "" || job.ID != "" && !jobfile.GoodID(job.ID)) {
			t.Errorf("%s: %s", line, first)
		}
	})
}
