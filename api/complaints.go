package api

import (
	"sync"
	"time"

	"headrace/internal/fault"
)

const (
	// complainEvery is how far apart the log's lines about one kind of failure on one route are at least: when
	// calls fail before they run, they do so in thousands.
	complainEvery = time.Second
	// maxComplaints bounds the kinds that are remembered. Beyond it all are forgotten.
	maxComplaints = 10_000
)

// complaint is one kind of failure on one route.
type complaint struct {
	route string
	code  fault.Code
}

// complaints chooses which of many failures get a line in the log. The zero value is ready.
type complaints struct {
	mu    sync.Mutex
	kinds map[complaint]*counted
}

type counted struct {
	told   time.Time
	untold int // since then
}

// due tells whether a failure at the moment now gets a line, and how many before it got none.
func (c *complaints) due(kind complaint, now time.Time) (untold int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.kinds[kind]
	if k == nil {
		if c.kinds == nil || len(c.kinds) >= maxComplaints {
			c.kinds = make(map[complaint]*counted)
		}
		c.kinds[kind] = &counted{told: now}
		return 0, true
	}
	if now.Sub(k.told) < complainEvery {
		k.untold++
		return 0, false
	}
	untold = k.untold
	*k = counted{told: now}
	return untold, true
}

// complain logs a call that failed before a worker ran it. Of those that ran the worker's log has a line, and what
// is wrong with a caller's own request is told to him alone.
func (k *callDesk) complain(c *call, err error) {
	code := fault.CodeOf(err)
	switch code {
	case fault.NoWorkers, fault.QueueFull, fault.Deadline:
	case "", fault.Invalid, fault.NotFound, fault.MethodNotAllowed, fault.TooLarge, fault.RateLimited, fault.UpstreamUnavailable,
		fault.UpstreamTimeout, fault.UpstreamError, fault.UpstreamBadResponse, fault.NotImplemented, fault.Conflict, fault.KeyReused,
		fault.Gone, fault.JobFailed, fault.Unauthorized, fault.ShuttingDown, fault.Internal:
		return
	}
	if untold, ok := k.complaints.due(complaint{c.seen.Route, code}, time.Now()); ok {
		k.log.WarnContext(c.r.Context(), "a call did not run", "route", c.seen.Route, "request_id", c.w.id, "error", err, "like_it_before", untold)
	}
}
