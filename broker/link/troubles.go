package link

import (
	"sync"
	"time"
)

const (
	// troubleEvery is how often a trouble that lasts has a line.
	troubleEvery = time.Minute
	// maxTroubles bounds those that are told apart.
	maxTroubles = 100
)

// Troubles are what many may meet at the same time: each has one line a minute, not one for each that meets it.
type Troubles struct {
	mu    sync.Mutex
	known map[string]*trouble
}

type trouble struct {
	told  time.Time // of the last line
	times int       // met since
}

// Met notes a trouble. It is to be logged when times is positive: so often it was met since the last line.
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
