package upstream_test

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/upstream"
)

// odd is a replica that answers with a status after a while.
func odd(t *testing.T, status int, after time.Duration) (url string, calls *atomic.Int32) {
	t.Helper()
	calls = new(atomic.Int32)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			calls.Add(1)
			select {
			case <-time.After(after):
			case <-r.Context().Done():
			}
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(s.Close)
	return s.URL, calls
}

// ask makes n calls, one after the other.
func ask(t *testing.T, c *upstream.Client, n int) {
	t.Helper()
	for range n {
		_, release, err := c.Do(t.Context(), provider.Call{Path: "invocations", Body: []byte("{}")}, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		release()
	}
}

func stateOf(c *upstream.Client, url string) upstream.State {
	for _, r := range c.Replicas() {
		if r.URL == inference.PublicAddress(url) {
			return r.State
		}
	}
	return ""
}

func TestReplicaIsPutAside(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status int
		after  time.Duration
		want   upstream.State
	}{
		"overloaded":            {http.StatusServiceUnavailable, 0, upstream.Aside},
		"its gateway fails":     {http.StatusBadGateway, 0, upstream.Aside},
		"slow":                  {http.StatusOK, 60 * time.Millisecond, upstream.Aside},
		"its model is unhappy":  {http.StatusInternalServerError, 0, upstream.Up},
		"it is asked badly":     {http.StatusBadRequest, 0, upstream.Up},
		"it is as good as ours": {http.StatusOK, 0, upstream.Up},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			good, goodCalls := odd(t, http.StatusOK, 0)
			other, calls := odd(t, tt.status, tt.after)
			c := newClient(t, upstream.Config{URLs: []string{good, other}})
			ask(t, c, 80)
			if state := stateOf(c, other); state != tt.want {
				t.Errorf("it is %s", state)
			}
			if n := calls.Load(); (n <= 15) != (tt.want == upstream.Aside) || n+goodCalls.Load() != 80 {
				t.Errorf("it got %d of 80 calls", n)
			}
		})
	}
}

// A mark never refuses a call.
func TestReplicasThatAllFailAreCalledAllTheSame(t *testing.T) {
	t.Parallel()
	one, first := odd(t, http.StatusServiceUnavailable, 0)
	two, second := odd(t, http.StatusServiceUnavailable, 0)
	ask(t, newClient(t, upstream.Config{URLs: []string{one, two}}), 60)
	if first.Load()+second.Load() != 60 {
		t.Errorf("%d and %d of 60 calls", first.Load(), second.Load())
	}
	alone, calls := odd(t, http.StatusServiceUnavailable, 0)
	c := newClient(t, upstream.Config{URLs: []string{alone}})
	ask(t, c, 30)
	if calls.Load() != 30 || stateOf(c, alone) != upstream.Up {
		t.Errorf("%d calls, it is %s", calls.Load(), stateOf(c, alone))
	}
}
