package limit_test

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headrace/broker/limit"
	"headrace/broker/link"
	"headrace/internal/brokertest"
	"headrace/internal/inference"
)

func limited(made int, window time.Duration) *inference.Route {
	r := brokertest.Route("limited")
	r.Limit = &inference.Limit{Calls: made, Window: window}
	return r
}

func newLimiter(b *brokertest.Broker) *limit.Limiter {
	b.TB.Helper()
	l, err := limit.New(b.Dial, b.Log)
	if err != nil {
		b.TB.Fatal(err)
	}
	brokertest.Background(b.TB, l.Run)
	return l
}

// Three front ends and many callers: exactly as many calls pass as the limit says.
func TestLimitExact(t *testing.T) {
	t.Parallel()
	for name, tcp := range map[string]bool{"in process": false, "tcp": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := brokertest.New(t, brokertest.Options{TCP: tcp})
			route := limited(100, time.Hour)
			var passed, refused atomic.Int64
			var callers sync.WaitGroup
			for range 3 {
				l := newLimiter(b)
				for range 16 {
					callers.Go(func() {
						for range 20 {
							ok, after, err := l.Take(b.TB.Context(), route, "127.0.0.1/path")
							switch {
							case err != nil:
								b.TB.Error(err)
							case ok:
								passed.Add(1)
							case after <= 0 || after > time.Hour:
								b.TB.Errorf("come again after %s", after)
							default:
								refused.Add(1)
							}
						}
					})
				}
			}
			callers.Wait()
			if passed.Load() != 100 || refused.Load() != 860 {
				b.TB.Errorf("%d passed, %d were refused", passed.Load(), refused.Load())
			}
		})
	}
}

// Callers, paths, routes and changed rules have windows of their own.
func TestLimitKeys(t *testing.T) {
	t.Parallel()
	b := brokertest.New(t, brokertest.Options{})
	l := newLimiter(b)
	other := limited(1, time.Hour)
	other.Name = "other"
	for _, take := range []struct {
		route *inference.Route
		key   string
		want  bool
	}{
		{limited(1, time.Hour), "a", true},
		{limited(1, time.Hour), "a", false},
		{limited(1, time.Hour), "b", true},
		{other, "a", true},
		{limited(2, time.Hour), "a", true},
		{brokertest.Route("unlimited"), "a", true},
	} {
		if ok, _, err := l.Take(t.Context(), take.route, take.key); err != nil || ok != take.want {
			t.Errorf("%s of %s: %t, %v", take.key, take.route.Name, ok, err)
		}
	}
}

// A window ends when it says so, and not before.
func TestLimitWindow(t *testing.T) {
	t.Parallel()
	b := brokertest.New(t, brokertest.Options{})
	l := newLimiter(b)
	const window = time.Second
	route := limited(2, window)
	// A key of its own for each round: the call that ends a round is counted in the round's next window.
	for _, key := range []string{"a", "b"} {
		began := time.Now()
		for range 2 {
			if ok, _, err := l.Take(t.Context(), route, key); err != nil || !ok {
				t.Fatalf("%t, %v", ok, err)
			}
		}
		if !brokertest.Eventually(func() bool {
			ok, after, err := l.Take(t.Context(), route, key)
			if err != nil || after > window+window/4 {
				t.Errorf("to be asked again in %s: %v", after, err)
			}
			return ok
		}) {
			t.Fatal("the window never ends")
		}
		// It began with the first of the two calls, so not before began; a quarter is for the clocks' difference.
		if took := time.Since(began); took < window-window/4 {
			t.Errorf("the window ended after %s", took)
		}
	}
}

// A broker that is not there keeps no caller for long.
func TestLimitWithoutBroker(t *testing.T) {
	t.Parallel()
	l, err := limit.New(link.Dial{URL: "nats://127.0.0.1:1"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if ok, _, err := l.Take(ctx, limited(1, time.Hour), "a"); ok || err == nil || ctx.Err() != nil {
		t.Errorf("%t, %v", ok, err)
	}
}

func BenchmarkTake(b *testing.B) {
	l := newLimiter(brokertest.New(b, brokertest.Options{}))
	route := limited(1<<30, time.Hour)
	for b.Loop() {
		if _, _, err := l.Take(b.Context(), route, "a"); err != nil {
			b.Fatal(err)
		}
	}
}
