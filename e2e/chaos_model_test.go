package e2e_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
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

	mu     sync.Mutex
	recent []int // the jobs of the latest calls
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
	m.remember(n)
	good := mlflowtest.Predictions(fmt.Sprintf("[[%d, %d%s]]", n, m.h.Ran(n), strings.Repeat(", 0.25", m.paddingOf(n))))
	if m.linger > 0 {
		good.Hold = after(rand.N(m.linger))
		switch rand.IntN(12) { // it is a short run, which has to see failures all the time
		case 0:
			return mlflowtest.Failure(http.StatusServiceUnavailable, "TEMPORARILY_UNAVAILABLE", "away")
		case 1:
			good.Fault = mlflowtest.Reset
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

// remember keeps the jobs of the latest calls, which are at least those that run.
func (m *chaosModel) remember(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.recent = append(m.recent, n); len(m.recent) > 64 {
		m.recent = m.recent[1:]
	}
}

// latest lists the jobs of the latest calls, each once.
func (m *chaosModel) latest() []int {
	m.mu.Lock()
	all := slices.Clone(m.recent)
	m.mu.Unlock()
	slices.Sort(all)
	return slices.Compact(all)
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
