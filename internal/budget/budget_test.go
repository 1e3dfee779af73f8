package budget_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"headrace/internal/budget"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSmallPassesLargeThatWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := budget.New(100)
		if !b.TryReserve(80) {
			t.Fatal("an empty budget refused")
		}
		got := make(chan error, 1)
		go func() { got <- b.Reserve(t.Context(), 50) }()
		synctest.Wait()
		if !b.TryReserve(10) {
			t.Error("a small reservation queued behind a large one")
		}
		if b.TryReserve(20) {
			t.Error("more than the limit was granted")
		}
		b.Release(80)
		if err := <-got; err != nil {
			t.Errorf("the waiter got %v", err)
		}
		if b.Held() != 60 {
			t.Errorf("held %d, want 60", b.Held())
		}
	})
}

func TestWaitersAreServedInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := budget.New(10)
		b.TryReserve(10)
		var order []int64
		var mu sync.Mutex
		var waiters sync.WaitGroup
		for _, n := range []int64{9, 2, 3} {
			waiters.Go(func() {
				if err := b.Reserve(t.Context(), n); err != nil {
					t.Error(err)
				}
				mu.Lock()
				order = append(order, n)
				mu.Unlock()
			})
			synctest.Wait()
		}
		for _, n := range []int64{10, 9, 2, 3} {
			b.Release(n)
			synctest.Wait()
		}
		waiters.Wait()
		if len(order) != 3 || order[0] != 9 {
			t.Errorf("order %v, want 9 first", order)
		}
	})
}

func TestGivingUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := budget.New(10)
		b.TryReserve(6)
		cause := errors.New("no patience")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
		defer cancel()
		blocked := make(chan error, 1)
		go func() { blocked <- b.Reserve(ctx, 11) }()
		synctest.Wait()
		behind := make(chan error, 1)
		go func() { behind <- b.Reserve(t.Context(), 5) }()
		if err := <-blocked; !errors.Is(err, cause) {
			t.Errorf("got %v, want the context's cause", err)
		}
		b.Release(6)
		if err := <-behind; err != nil {
			t.Errorf("the one behind got %v", err)
		}
		if b.Held() != 5 {
			t.Errorf("held %d, want 5", b.Held())
		}
	})
}

func TestNeverMoreThanTheLimit(t *testing.T) {
	t.Parallel()
	b := budget.New(1000)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 500 {
				n := rand.Int64N(700)
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(200))*time.Microsecond)
				if b.Reserve(ctx, n) == nil {
					if held := b.Held(); held > b.Limit() {
						t.Errorf("%d bytes held of %d", held, b.Limit())
					}
					b.Release(n)
				}
				cancel()
			}
		})
	}
	all.Wait()
	if b.Held() != 0 {
		t.Errorf("%d bytes were never given back", b.Held())
	}
}
