package api_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
)

// Libraries around OpenAI's SDKs repeat every 5xx for minutes, and people look for their own key after a 401.
func TestModelServersStatusesDoNotMisleadOpenAIsCallers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ upstream, openai, own int }{
		{400, 400, 400},
		{401, 422, 502},
		{403, 422, 502},
		{404, 422, 404},
		{405, 422, 405},
		{407, 422, 502},
		{413, 413, 413},
		{429, 429, 429},
		{500, 500, 500},
		{501, 422, 501},
		{503, 503, 503},
	} {
		t.Run(strconv.Itoa(c.upstream), func(t *testing.T) {
			t.Parallel()
			e := fault.New(fault.UpstreamError, "the model server answered %d", c.upstream)
			e.Status = c.upstream
			s := newServer(t, failing(e))
			for _, way := range []struct {
				path, body string
				status     int
			}{
				{"/v1/completions", `{"model":"completions","prompt":"a"}`, c.openai},
				{own, ask, c.own},
				{"/gateway/completions/invocations", ask, c.upstream}, // as recorded
			} {
				w := do(t, s, http.MethodPost, way.path, way.body)
				if w.Code != way.status {
					t.Errorf("%s: %d %s", way.path, w.Code, w.Body)
				}
				if way.path != "/v1/completions" {
					continue
				}
				var reply struct {
					Error struct{ Type, Code, Message string }
				}
				if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil {
					t.Fatal(err)
				}
				if strings.Contains(reply.Error.Type, "auth") || reply.Error.Code != "upstream_error" {
					t.Errorf("%s", w.Body)
				}
				if c.openai == 422 && c.upstream < 500 && !strings.Contains(reply.Error.Message, "operator") {
					t.Errorf("it does not say who can mend it: %s", w.Body)
				}
				if (w.Header().Get("X-Should-Retry") == "false") != (c.openai == 422) {
					t.Errorf("x-should-retry %q", w.Header().Get("X-Should-Retry"))
				}
			}
		})
	}
}

func TestRetryAfterTellsOfTheBacklog(t *testing.T) {
	t.Parallel()
	e := fault.New(fault.QueueFull, "full")
	e.RetryAfter = time.Second
	broker := failing(e)
	broker.state = inference.RouteState{Waiting: 1200, Slots: 1}
	w := do(t, newServer(t, broker), http.MethodPost, own, ask)
	if n, err := strconv.Atoi(w.Header().Get("Retry-After")); err != nil || n < 60 || n > 90 {
		t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
	}
	again := do(t, newServer(t, failing(e)), http.MethodPost, "/v1/completions", `{"model":"completions","prompt":"a"}`, "x-stainless-retry-count: 6")
	if n, err := strconv.Atoi(again.Header().Get("Retry-After")); err != nil || n < 8 || n > 12 {
		t.Errorf("Retry-After of a sixth repetition %q", again.Header().Get("Retry-After"))
	}
}
