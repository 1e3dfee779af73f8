package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"headrace/api"
	"headrace/internal/fault"
	"headrace/internal/inference"
)

// Calls that no worker ran have a line in the front end's log, one a second for each route and code.
func TestCallsThatDidNotRunAreLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		code := fault.NoWorkers
		broker := &fakeBroker{answer: func(context.Context, *inference.Route, *inference.Request) (*inference.Result, error) {
			return nil, fault.New(code, "do this")
		}}
		s := newServer(t, broker, func(_ *api.Config, d *api.Deps) { d.Logger = slog.New(slog.NewJSONHandler(&text, nil)) })
		type line struct {
			Level, Route, Error string
			ID                  string `json:"request_id"`
			Before              int    `json:"like_it_before"`
		}
		asked := func(id, path, body string, times int) (lines []line) {
			t.Helper()
			text.Reset()
			for range times {
				if w := do(t, s, http.MethodPost, path, body, "Content-Type: application/json", "X-Request-Id: "+id); w.Code < 400 {
					t.Errorf("%d %s", w.Code, w.Body)
				}
			}
			for d := json.NewDecoder(&text); d.More(); {
				var l line
				if err := d.Decode(&l); err != nil {
					t.Fatal(err)
				}
				lines = append(lines, l)
			}
			return lines
		}
		const path, body = "/gateway/old-embeddings/invocations", `{"text":"x"}`
		got := asked("a", path, body, 3)
		if len(got) != 1 || got[0] != (line{"WARN", "old-embeddings", "no_workers: do this", "a", 0}) {
			t.Errorf("three at once: %+v", got)
		}
		time.Sleep(time.Second) //nolint:forbidigo // the bubble's clock
		if got = asked("b", path, body, 2); len(got) != 1 || got[0].ID != "b" || got[0].Before != 2 {
			t.Errorf("a second later: %+v", got)
		}
		code = fault.QueueFull
		if got = asked("c", path, body, 2); len(got) != 1 || got[0].Error != "queue_full: do this" || got[0].Before != 0 {
			t.Errorf("of another kind: %+v", got)
		}
		code = fault.UpstreamUnavailable
		if got = asked("d", path, body, 2); len(got) != 0 {
			t.Errorf("what a worker has logged: %+v", got)
		}
		if got = asked("e", path, `{"text":5}`, 2); len(got) != 0 {
			t.Errorf("what the caller has to mend: %+v", got)
		}
	})
}
