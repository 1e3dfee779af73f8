package e2e_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"headrace/e2e/history"
	"headrace/internal/mlflowtest"
)

// chaosModel is the scripted model server. It notes which job it runs, and answers with the job's number and how often it
// has run it, so that no two executions give the same result.
type chaosModel struct {
	*mlflowtest.Server

	t    *testing.T
	h    *history.History
	mode atomic.Pointer[chaosKind] // nil = it behaves
	runs atomic.Int64

	large  int           // every so many jobs there is one whose result is large
	linger time.Duration // how long an answer takes at most
}

func newChaosModel(t *testing.T, h *history.History, s chaosSettings) *chaosModel {
	t.Helper()
	m := &chaosModel{Server: mlflowtest.New(t), t: t, h: h, large: s.large, linger: s.linger}
	m.KeepNone()
	m.Handle(m.answer)
	return m
}

func (m *chaosModel) answer(r mlflowtest.Request) mlflowtest.Reply {
	n, err := numberIn(r.Body)
	if err != nil {
		m.t.Errorf("the model server was asked for something else: %.200s", r.Body)
		return mlflowtest.Failure(http.StatusBadRequest, "BAD_REQUEST", "no number")
	}
	m.runs.Add(1)
	good := mlflowtest.Predictions(fmt.Sprintf("[[%d, %d%s]]", n, m.h.Ran(n), strings.Repeat(", 0.25", m.paddingOf(n))))
	if m.linger > 0 {
		good.Hold = after(rand.N(m.linger))
		if rand.IntN(12) == 0 { // it is a short run, which has to see failures all the time
			return mlflowtest.Failure(http.StatusServiceUnavailable, "TEMPORARILY_UNAVAILABLE", "away")
		}
	}
	mode := m.mode.Load()
	if mode == nil || rand.IntN(3) == 0 {
		return good
	}
	switch *mode {
	case modelBusy:
		busy := mlflowtest.Failure(http.StatusTooManyRequests, "REQUEST_LIMIT_EXCEEDED", "busy")
		busy.Header = http.Header{"Retry-After": {"1"}}
		return busy
	case modelAway:
		return mlflowtest.Failure(http.StatusServiceUnavailable, "TEMPORARILY_UNAVAILABLE", "away")
	case modelResets:
		good.Fault = mlflowtest.Reset
	case modelSlow:
		good.Hold = after(rand.N(time.Second))
	case modelCuts:
		good.Fault = mlflowtest.Cut
	}
	return good
}

// after is closed after d.
func after(d time.Duration) chan struct{} {
	over := make(chan struct{})
	time.AfterFunc(d, func() { close(over) })
	return over
}

// paddingOf is how many more numbers a job's result has.
func (m *chaosModel) paddingOf(n int) int {
	if n%m.large == 0 {
		return 20_000
	}
	return 0
}

// numberIn finds the job's number in {"inputs": ["17 "]}.
func numberIn(body []byte) (int, error) {
	_, text, _ := bytes.Cut(body, []byte(`["`))
	text, _, _ = bytes.Cut(text, []byte(`"`))
	return strconv.Atoi(string(bytes.TrimSpace(text)))
}
