package flow

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"

	"headrace/internal/budget"
	"headrace/internal/fault"
	"headrace/internal/inference"
)

const (
	// Window is how many bytes of a stream may be on their way or wait for their reader.
	Window = 64 << 10
	// longestChunk is the most of it in one frame.
	longestChunk = Window / 2
)

// In is a stream at its front end: the bytes that have come, and what the worker may send. It never holds more than the
// window, and the one piece that is being read.
type In struct {
	grant func(total uint64) // tells the worker

	mu       sync.Mutex
	chunks   [][]byte
	number   uint64 // of the next chunk
	received uint64 // bytes
	taken    uint64 // bytes that the reader has
	granted  uint64 // bytes that may come in all
	ended    bool   // all chunks have come
	err      error  // why no more will
	news     chan struct{}
}

// NewIn makes one that has granted the window. grant tells the sender what it may send in all; it must not block.
func NewIn(grant func(total uint64)) *In {
	return &In{grant: grant, granted: Window, news: make(chan struct{}, 1)}
}

// lost is the end of a stream of which something did not arrive.
func lost() error {
	return fault.New(fault.UpstreamUnavailable, "a part of the answer was lost between worker and front end, so the stream was ended; try again")
}

// Put takes a chunk. One that is out of order, or more than was granted, ends the stream: its reader must not take what is
// left for a whole answer.
func (f *In) Put(number uint64, data []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.err != nil || f.ended:
		return
	case number != f.number || f.received+uint64(len(data)) > f.granted:
		f.fails(lost())
		return
	case len(data) == 0:
		f.grant(f.granted)
		return
	}
	f.chunks = append(f.chunks, data)
	f.number++
	f.received += uint64(len(data))
	ring(f.news)
}

// End says that the stream had that many chunks.
func (f *In) End(chunks uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil || f.ended {
		return
	}
	if chunks != f.number {
		f.fails(lost())
		return
	}
	f.ended = true
	ring(f.news)
}

// Fail ends a stream that is not complete. The first error counts.
func (f *In) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil && !f.ended {
		f.fails(err)
	}
}

// fails must be called with mu held.
func (f *In) fails(err error) {
	f.err = err
	ring(f.news)
}

// Complete reports that nothing more is to come.
func (f *In) Complete() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended
}

// take gives the next bytes, and lets the worker send as many again. What came before an error is given first.
func (f *In) take(ctx context.Context) ([]byte, error) {
	for {
		f.mu.Lock()
		switch {
		case len(f.chunks) > 0:
			data := f.chunks[0]
			f.chunks[0] = nil
			f.chunks = f.chunks[1:]
			f.taken += uint64(len(data))
			renew := f.taken+Window-f.granted >= Window/2 && !f.ended
			if renew {
				f.granted = f.taken + Window
			}
			granted := f.granted
			f.mu.Unlock()
			if renew {
				f.grant(granted)
			}
			return data, nil
		case f.err != nil:
			defer f.mu.Unlock()
			return nil, f.err
		case f.ended:
			f.mu.Unlock()
			return nil, io.EOF
		}
		f.mu.Unlock()
		select {
		case <-f.news:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Reader gives the pieces of a stream. It is an inference.Stream.
type Reader struct {
	flow   *In
	budget *budget.Bytes
	close  func()
	once   sync.Once

	buf  []byte
	held int64 // of the budget, beside the window
}

var _ inference.Stream = (*Reader)(nil)

// NewReader makes one. The window must have been reserved in the budget, which Close gives it back to; a piece that is larger
// is reserved as well. Close calls closed once, when it is set by then.
func NewReader(flow *In, budget *budget.Bytes) *Reader {
	return &Reader{flow: flow, budget: budget, close: func() {}}
}

// OnClose sets what Close calls. It is for the time before the stream is used.
func (s *Reader) OnClose(closed func()) { s.close = closed }

// Complete reports that nothing more is to come.
func (s *Reader) Complete() bool { return s.flow.Complete() }

// piece takes a whole piece out of the buffer.
func (s *Reader) piece(from, end int) (*inference.Event, error) {
	piece, err := readPiece(s.buf[from:end:end])
	s.buf = s.buf[end:]
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "internal error")
	}
	return piece, nil
}

// Next is part of inference.Stream.
func (s *Reader) Next(ctx context.Context) (*inference.Event, error) {
	s.free()
	for {
		size, n := binary.Uvarint(s.buf)
		if n < 0 || n > 0 && size > uint64(s.budget.Limit()) {
			return nil, lost()
		}
		if n > 0 && uint64(len(s.buf)-n) >= size {
			return s.piece(n, n+int(size))
		}
		if n > 0 && size > Window && s.held == 0 {
			if err := s.budget.Reserve(ctx, int64(size)); err != nil {
				return nil, cmp.Or(context.Cause(ctx), err)
			}
			s.held = int64(size)
			s.buf = append(make([]byte, 0, n+int(size)), s.buf...)
		}
		data, err := s.flow.take(ctx)
		if errors.Is(err, io.EOF) && len(s.buf) > 0 {
			err = lost()
		}
		if err != nil {
			return nil, err
		}
		s.buf = append(s.buf, data...)
	}
}

// free gives back what the last piece has reserved, when it has been used.
func (s *Reader) free() {
	if size, n := binary.Uvarint(s.buf); s.held > 0 && (n <= 0 || int64(size) != s.held) {
		s.buf = append([]byte(nil), s.buf...)
		s.budget.Release(s.held)
		s.held = 0
	}
}

// Close is part of inference.Stream.
func (s *Reader) Close() {
	s.once.Do(func() {
		s.budget.Release(s.held + Window)
		s.close()
	})
}
