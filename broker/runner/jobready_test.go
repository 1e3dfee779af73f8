package runner_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
)

// logBook is a log that can be read while others write it.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write is part of io.Writer.
func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// lines are those at level WARN and above.
func (b *logBook) lines() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Split(strings.TrimSpace(b.text.String()), "\n")
}

func (b *logBook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelWarn}))
}
