// Package budget bounds the bytes that a process holds.
package budget

import (
	"container/list"
	"context"
	"sync"
)

// Bytes is a bounded number of bytes that are held at the same time. It is safe for concurrent use.
//
// Waiters are served in order, so a large reservation is not starved by others that wait. But a caller that finds
// room does not queue behind them: a reply of a kilobyte must not wait until twenty megabytes fit. (That
// is why this is not a weighted semaphore.)
type Bytes struct {
	limit int64

	mu      sync.Mutex
	held    int64
	waiting list.List // of *waiter, the oldest in front
}

type waiter struct {
	n       int64
	granted chan struct{}
}

// New makes a budget of limit bytes.
func New(limit int64) *Bytes { return &Bytes{limit: limit} }

// TryReserve takes n bytes at once or not at all. Return them with Release(n).
func (b *Bytes) TryReserve(n int64) bool { return b.TryReserveBeyond(n, 0) }

// TryReserveBeyond is TryReserve for bytes that are in memory already: together they may exceed the limit by beyond.
func (b *Bytes) TryReserveBeyond(n, beyond int64) bool {
	if n <= 0 {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held+n > b.limit+beyond {
		return false
	}
	b.held += n
	return true
}

// Reserve waits for n bytes until ctx ends, and then returns its cause. More than the whole budget is never granted, so it waits
// until then, too.
func (b *Bytes) Reserve(ctx context.Context, n int64) error {
	if b.TryReserve(n) {
		return nil
	}
	w := &waiter{n: n, granted: make(chan struct{})}
	b.mu.Lock()
	place := b.waiting.PushBack(w)
	b.grant() // room may have come since
	b.mu.Unlock()
	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-w.granted: // in the same moment
		b.held -= n
	default:
		b.waiting.Remove(place)
	}
	b.grant()
	return context.Cause(ctx)
}

// Release returns n bytes to the budget.
func (b *Bytes) Release(n int64) {
	if n <= 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held -= n
	b.grant()
}

// grant serves waiters in order. It must be called with mu held.
func (b *Bytes) grant() {
	for e := b.waiting.Front(); e != nil; e = b.waiting.Front() {
		w, ok := e.Value.(*waiter)
		if !ok || b.held+w.n > b.limit {
			return
		}
		b.held += w.n
		b.waiting.Remove(e)
		close(w.granted)
	}
}

// Held is the number of bytes reserved now.
func (b *Bytes) Held() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held
}

// Limit is the size of the budget.
func (b *Bytes) Limit() int64 { return b.limit }
