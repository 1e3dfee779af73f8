package natsd

import (
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	// likeLines is how many lines of one kind the NATS server may log in likeTime.
	likeLines = 5
	likeTime  = time.Minute
)

// throttle drops log lines of one kind when there are too many.
type throttle struct {
	mu    sync.Mutex
	kinds map[string]*likes // by format
}

type likes struct {
	since         time.Time
	lines, hidden int
}

// pass reports whether a line may be logged, and how many like it were dropped before.
func (t *throttle) pass(kind string, now time.Time) (ok bool, hidden int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kinds == nil {
		t.kinds = make(map[string]*likes)
	}
	k := t.kinds[kind]
	if k == nil || now.Sub(k.since) >= likeTime {
		if k != nil {
			hidden = k.hidden
		}
		t.kinds[kind] = &likes{since: now, lines: 1}
		return true, hidden
	}
	if k.lines++; k.lines > likeLines {
		k.hidden++
		return false, 0
	}
	return true, 0
}

// serverLog passes the server's log to slog. The stock logger would end the process on a fatal error.
type serverLog struct {
	log      *slog.Logger
	fatal    chan string // the first fatal message
	throttle throttle
}

func (l *serverLog) say(level func(string, ...any), format string, v []any) {
	ok, hidden := l.throttle.pass(format, time.Now())
	switch {
	case !ok:
	case hidden > 0:
		level("nats-server", "text", fmt.Sprintf(format, v...), "left_out_like_it", hidden)
	default:
		level("nats-server", "text", fmt.Sprintf(format, v...))
	}
}

// Noticef, like the methods below, implements the server's logger.
func (l *serverLog) Noticef(format string, v ...any) {
	l.log.Debug("nats-server", "text", fmt.Sprintf(format, v...))
}

func (l *serverLog) Debugf(string, ...any) {}

func (l *serverLog) Tracef(string, ...any) {}

func (l *serverLog) Warnf(format string, v ...any) {
	l.say(l.log.Warn, format, v)
}

func (l *serverLog) Errorf(format string, v ...any) {
	l.say(l.log.Error, format, v)
}

// Fatalf keeps the first fatal message for Run.
func (l *serverLog) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.log.Error("nats-server", "text", text)
	select {
	case l.fatal <- text:
	default:
	}
}
