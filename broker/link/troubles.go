package link

import (
	"sync"
	"time"
)

const (
	// troubleEvery is how often a trouble that lasts is logged.
	troubleEvery = time.Minute
	// maxTroubles bounds how many different troubles are remembered.
	maxTroubles = 100
)

// Troubles limits the log lines about failures that many calls meet at the same time to one a minute for each.
type Troubles struct {
	mu    sync.Mutex
	known map[string]*trouble
}

type trouble struct {
	told  time.Time // of the last line
	times int       // met since
}

// Met counts a trouble. When times is positive, log it: it was met so many times since its last line.
func (t *Troubles) Met(what string, now time.Time) (times int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := t.known[what]
	if one == nil {
		if t.known == nil || len(t.known) >= maxTroubles {
			t.known = make(map[string]*trouble)
		}
		one = new(trouble)
		t.known[what] = one
	}
	one.times++
	if now.Sub(one.told) < troubleEvery {
		return 0
	}
	times = one.times
	one.told, one.times = now, 0
	return times
}
