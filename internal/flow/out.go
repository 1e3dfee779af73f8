package flow

import (
	"context"
	"sync"
	"time"

	"headrace/internal/inference"
)

// askAfter is how long a sender waits for credit before it asks: what was granted may have been lost with a connection.
const askAfter = time.Second

// Out is a stream at its sender: a goroutine sends, and credit comes from any.
type Out struct {
	send   func(number uint64, data []byte) error
	number uint64 // of the next chunk; the sender's

	mu      sync.Mutex
	granted uint64 // bytes in all
	sent    uint64
	more    chan struct{}
}

// NewOut makes one that may send the window. send hands over a chunk, which it may keep; one without bytes asks for credit.
func NewOut(send func(number uint64, data []byte) error) *Out {
	return &Out{send: send, granted: Window, more: make(chan struct{}, 1)}
}

// Allow grants total bytes in all; less than before is no news.
func (o *Out) Allow(total uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if total > o.granted {
		o.granted = total
		ring(o.more)
	}
}

// Chunks is how many chunks were sent.
func (o *Out) Chunks() uint64 { return o.number }

// Send sends pieces, and waits for credit where it needs to. An error is that of send, or the cause of ctx's end.
func (o *Out) Send(ctx context.Context, pieces []inference.Event) error {
	var data []byte
	for i := range pieces {
		data = appendPiece(data, &pieces[i])
	}
	for len(data) > 0 {
		n, err := o.take(ctx, len(data))
		if err != nil {
			return err
		}
		if err := o.send(o.number, data[:n:n]); err != nil {
			return err
		}
		o.number++
		data = data[n:]
	}
	return nil
}

// take waits until something may be sent, and takes n bytes of it at most.
func (o *Out) take(ctx context.Context, n int) (int, error) {
	for {
		o.mu.Lock()
		if left := o.granted - o.sent; left > 0 {
			n = min(n, int(min(left, longestChunk)))
			o.sent += uint64(n)
			o.mu.Unlock()
			return n, nil
		}
		o.mu.Unlock()
		timer := time.NewTimer(askAfter)
		select {
		case <-o.more:
		case <-timer.C:
			if err := o.send(o.number, nil); err != nil {
				return 0, err
			}
		case <-ctx.Done():
			timer.Stop()
			return 0, context.Cause(ctx)
		}
		timer.Stop()
	}
}
