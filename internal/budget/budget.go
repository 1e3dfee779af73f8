// Package budget bounds the bytes that a process holds.
package budget

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// Bytes is a bounded number of bytes that are held at the same time. It is safe for concurrent use; waiters
// are served in order, so a large reservation is not starved by small ones.
type Bytes struct {
	limit int64
	sem   *semaphore.Weighted
	held  atomic.Int64
}

// New makes a budget of limit bytes.
func New(limit int64) *Bytes {
	return &Bytes{limit: limit, sem: semaphore.NewWeighted(limit)}
}

// TryReserve takes n bytes at once or not at all. What it took is given back by Release(n).
func (b *Bytes) TryReserve(n int64) bool {
	if n <= 0 {
		return true
	}
	if !b.sem.TryAcquire(n) {
		return false
	}
	b.held.Add(n)
	return true
}

// Reserve waits for n bytes until ctx ends. More than the whole budget is never granted: it waits, too.
func (b *Bytes) Reserve(ctx context.Context, n int64) error {
	if n <= 0 {
		return nil
	}
	if err := b.sem.Acquire(ctx, n); err != nil {
		return err
	}
	b.held.Add(n)
	return nil
}

// Release gives n bytes back.
func (b *Bytes) Release(n int64) {
	if n > 0 {
		b.held.Add(-n)
		b.sem.Release(n)
	}
}

// Held is the number of bytes reserved now; Limit the most there can be.
func (b *Bytes) Held() int64 { return b.held.Load() }

// Limit is the size of the budget.
func (b *Bytes) Limit() int64 { return b.limit }
