package upstream_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"headrace/internal/fault"
	"headrace/internal/mlflowtest"
	"headrace/internal/upstream"
)

func TestPick(t *testing.T) {
	t.Parallel()
	type l = upstream.Load
	for name, tt := range map[string]struct {
		loads []l
		start int
		want  int
	}{
		"the only one":            {[]l{{}}, 0, 0},
		"the only one, down":      {[]l{{Down: true}}, 0, 0},
		"the only one, tried":     {[]l{{Tried: true}}, 0, -1},
		"none":                    {nil, 0, -1},
		"ties take turns":         {[]l{{}, {}, {}}, 1, 1},
		"ties wrap around":        {[]l{{}, {}, {Busy: 1}}, 2, 0},
		"least busy":              {[]l{{Busy: 2}, {Busy: 1}, {Busy: 3}}, 2, 1},
		"up before idle and down": {[]l{{Busy: 9}, {Down: true}}, 1, 0},
		"untried before idle":     {[]l{{Busy: 9}, {Tried: true}}, 1, 0},
		"down rather than none":   {[]l{{Down: true, Busy: 2}, {Down: true, Busy: 1}}, 0, 1},
		"down, others tried":      {[]l{{Tried: true}, {Down: true, Busy: 7}}, 0, 1},
		"not aside":               {[]l{{Aside: true}, {Busy: 7}}, 0, 1},
		"aside rather than down":  {[]l{{Down: true}, {Aside: true, Busy: 7}}, 0, 1},
		"all aside":               {[]l{{Aside: true, Busy: 2}, {Aside: true}}, 0, 1},
		"all tried":               {[]l{{Tried: true}, {Tried: true}}, 0, -1},
	} {
		if got := upstream.Pick(tt.loads, tt.start); got != tt.want {
			t.Errorf("%s: picked %d, want %d", name, got, tt.want)
		}
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	const first = 500 * time.Millisecond
	for failures, want := range map[int]time.Duration{
		0: first, 1: first, 2: 2 * first, 3: 4 * first, 6: 32 * first, 7: 30 * time.Second, 1 << 30: 30 * time.Second,
	} {
		if got := upstream.Pause(first, failures); got != want {
			t.Errorf("after %d failures %s, want %s", failures, got, want)
		}
	}
	if got := upstream.Pause(time.Hour, 1); got != 30*time.Second {
		t.Errorf("a long first pause becomes %s", got)
	}
}

// running makes a client of several replicas and runs its prober until the test ends.
func running(t *testing.T, urls ...string) *upstream.Client {
	t.Helper()
	c := newClient(t, upstream.Config{URLs: urls, ProbePause: time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return c
}

func TestReplicasShareTheLoad(t *testing.T) {
	t.Parallel()
	a, b := mlflowtest.New(t), mlflowtest.New(t)
	release := make(chan struct{})
	for _, s := range []*mlflowtest.Server{a, b} {
		s.Handle(mlflowtest.Held(release, mlflowtest.Echo))
	}
	c := running(t, a.URL, b.URL)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if _, _, err := c.Do(t.Context(), call(`{"inputs":[]}`), plenty); err != nil {
				t.Error(err)
			}
		})
	}
	a.WaitRequests(3)
	b.WaitRequests(3)
	for _, r := range c.Replicas() {
		if r.Busy != 3 {
			t.Errorf("%s has %d calls, want 3", r.URL, r.Busy)
		}
	}
	close(release)
	wg.Wait()
	for _, r := range c.Replicas() {
		if r.Busy != 0 || r.State != upstream.Up {
			t.Errorf("at the end %+v", r)
		}
	}
}

func TestCallMovesOn(t *testing.T) {
	t.Parallel()
	alive, dead := mlflowtest.New(t), mlflowtest.ClosedURL(t)
	c := newClient(t, upstream.Config{URLs: []string{dead, alive.URL}})
	for range 4 {
		if _, _, err := c.Do(t.Context(), call("{}"), plenty); err != nil {
			t.Fatal(err)
		}
	}
	got := c.Replicas()
	if got[0].State != upstream.Down || got[0].Failures != 1 || got[1].State != upstream.Up || len(alive.Requests()) != 4 {
		t.Errorf("replicas %+v, %d requests", got, len(alive.Requests()))
	}
}

// What was sent may have run: such a call is not repeated elsewhere.
func TestSentCallStays(t *testing.T) {
	t.Parallel()
	a, b := mlflowtest.New(t), mlflowtest.New(t)
	a.Reply(mlflowtest.Reply{Fault: mlflowtest.Closed})
	c := newClient(t, upstream.Config{URLs: []string{a.URL, b.URL}})
	if _, _, err := c.Do(t.Context(), call("{}"), plenty); fault.CodeOf(err) != fault.UpstreamUnavailable {
		t.Errorf("got %v", err)
	}
	if len(a.Requests()) != 1 || len(b.Requests()) != 0 {
		t.Errorf("%d and %d requests", len(a.Requests()), len(b.Requests()))
	}
}

func TestAllDown(t *testing.T) {
	t.Parallel()
	a, b := mlflowtest.New(t), mlflowtest.New(t)
	c := newClient(t, upstream.Config{URLs: []string{a.URL, b.URL}})
	a.Down()
	b.Down()
	for range 2 {
		if _, _, err := c.Do(t.Context(), call("{}"), plenty); fault.CodeOf(err) != fault.UpstreamUnavailable || !strings.Contains(err.Error(), "refused") {
			t.Errorf("got %v", err)
		}
	}
	b.Up() // nothing probes here, yet a mark refuses no call
	if _, _, err := c.Do(t.Context(), call("{}"), plenty); err != nil {
		t.Error(err)
	}
	if got := c.Replicas(); got[0].State != upstream.Down || got[1].State != upstream.Up || got[1].Failures != 0 {
		t.Errorf("replicas %+v", got)
	}
}

func TestDeadReplicaIsProbedUntilItIsBack(t *testing.T) {
	t.Parallel()
	a, b := mlflowtest.New(t), mlflowtest.New(t)
	a.Down()
	c := running(t, a.URL, b.URL)
	if _, _, err := c.Do(t.Context(), call("{}"), plenty); err != nil {
		t.Fatal(err)
	}
	if got := c.Replicas()[0]; got.State != upstream.Down {
		t.Fatalf("replica %+v", got)
	}
	a.Up()
	a.WaitProbes(1)
	for c.Replicas()[0].State != upstream.Up { // the probe has been answered; a call asks for no more
		if _, _, err := c.Do(t.Context(), call("{}"), plenty); err != nil {
			t.Fatal(err)
		}
	}
	before := len(a.Requests())
	for range 2 {
		if _, _, err := c.Do(t.Context(), call("{}"), plenty); err != nil {
			t.Fatal(err)
		}
	}
	if len(a.Requests()) != before+1 {
		t.Errorf("%d calls reached the replica that is back, want 1 of 2", len(a.Requests())-before)
	}
}

func TestSingleReplicaIsNotProbed(t *testing.T) {
	t.Parallel()
	s := mlflowtest.New(t)
	c := running(t, s.URL)
	s.Down()
	if _, _, err := c.Do(t.Context(), call("{}"), plenty); fault.CodeOf(err) != fault.UpstreamUnavailable {
		t.Errorf("got %v", err)
	}
	s.Up()
	if _, _, err := c.Do(t.Context(), call("{}"), plenty); err != nil {
		t.Errorf("the first call after its return: %v", err)
	}
	if s.Probes() != 0 {
		t.Errorf("%d probes", s.Probes())
	}
}

// A worker that drains finishes its calls after Run has ended; nothing closes the client then.
func TestNoConnectionOutlivesRun(t *testing.T) {
	t.Parallel()
	s := mlflowtest.New(t)
	release := make(chan struct{})
	s.Handle(mlflowtest.Held(release, mlflowtest.Echo))
	c, err := upstream.New(at(s.URL))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var run, calls sync.WaitGroup
	run.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	calls.Go(func() {
		if _, _, err := c.Do(t.Context(), call(`{"inputs":[]}`), plenty); err != nil {
			t.Error(err)
		}
	})
	s.WaitRequests(1)
	cancel()
	run.Wait()
	close(release)
	calls.Wait()
	if _, _, err := c.Do(t.Context(), call(`{"inputs":[]}`), plenty); err != nil { // claimed before, called after
		t.Error(err)
	}
	began := time.Now()
	s.WaitConnections(0)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the connection was left to its idle timeout: %s", took)
	}
}

func BenchmarkDo(b *testing.B) {
	s := mlflowtest.New(b)
	s.Reply(mlflowtest.Predictions("[" + mlflowtest.Embedding([]byte("x"), 384) + "]"))
	c, err := upstream.New(upstream.Config{URLs: []string{s.URL}})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	b.ReportAllocs()
	for b.Loop() {
		_, release, err := c.Do(b.Context(), call(`{"inputs":["a"]}`), plenty)
		if err != nil {
			b.Fatal(err)
		}
		release()
	}
}
