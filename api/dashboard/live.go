package dashboard

import (
	"bytes"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"headrace/internal/sse"
)

const (
	// maxStreams is how many pages may listen at a time; others stand still.
	maxStreams = 200
	// quiet is how long a stream says nothing before it shows that it lives, and writing how long a reader may take.
	quiet   = 15 * time.Second
	writing = 30 * time.Second
	// maxShared bounds what is remembered for those who look at the same page.
	maxShared = 64
)

// board has what was rendered within the last second: many who look at a page cost about as much as one.
type board struct {
	streams atomic.Int64
	mu      sync.Mutex
	shared  map[string]*rendered
}

type rendered struct {
	mu   sync.Mutex
	at   time.Time
	text []byte
	err  error
}

// of gives the entry of a key.
func (b *board) of(key string) *rendered {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shared == nil || len(b.shared) >= maxShared {
		b.shared = make(map[string]*rendered)
	}
	if b.shared[key] == nil {
		b.shared[key] = &rendered{}
	}
	return b.shared[key]
}

// live makes the handler that sends the parts of a page whenever they have changed.
func (s *Server) live(name string, view func(*http.Request, time.Time) (any, error), every time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		defer s.board.streams.Add(-1)
		if s.board.streams.Add(1) > maxStreams {
			w.Header().Set("Retry-After", "30")
			http.Error(w, "too many pages are open; reload this one to see what is new", http.StatusServiceUnavailable)
			return
		}
		control := http.NewResponseController(w)
		_ = control.SetReadDeadline(time.Time{}) // test recorders have none
		w.Header().Set("Content-Type", sse.ContentType)
		w.Header().Set("X-Accel-Buffering", "no")
		send := func(event []byte) bool {
			_, err := w.Write(event) //nolint:gosec // made by html/template
			return err == nil && control.Flush() == nil
		}
		tick := time.NewTicker(every)
		defer tick.Stop()
		var last []byte
		said := time.Now()
		for {
			_ = control.SetWriteDeadline(time.Now().Add(writing))
			text, err := s.parts(name, view, r, every)
			var event []byte
			switch {
			case err != nil:
				event = sse.Append(nil, "gone", []byte("reload"))
			case !bytes.Equal(text, last):
				event = sse.Append(nil, "", text)
			case time.Since(said) > quiet:
				event = sse.AppendComment(nil, "quiet")
			}
			if event != nil {
				said, last = time.Now(), text
				if !send(event) || err != nil {
					return
				}
			}
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return
			}
		}
	}
}

// parts renders what changes on a page, once for all who ask within about the same tick.
func (s *Server) parts(name string, view func(*http.Request, time.Time) (any, error), r *http.Request, every time.Duration) ([]byte, error) {
	shared := s.board.of(r.URL.Path + "?" + r.URL.RawQuery)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	now := time.Now()
	if now.Sub(shared.at) < every*9/10 {
		return shared.text, shared.err
	}
	v, err := view(r, now)
	var b bytes.Buffer
	if err == nil {
		err = s.pages[name].ExecuteTemplate(&b, "parts", v)
	}
	shared.at, shared.text, shared.err = now, b.Bytes(), err
	return shared.text, shared.err
}
