package upstream

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// State is what is known of a replica.
type State string

// The states.
const (
	Unknown State = "unknown" // not called yet
	Up      State = "up"      // it answered
	Down    State = "down"    // it could not be connected to
	Aside   State = "aside"   // half of its calls failed of late, or it is much slower than the others
)

// Replica is the state of one replica.
type Replica struct {
	URL      string // without user, password and query
	State    State
	Busy     int       // calls in flight
	Failures int       // failed attempts to connect since it answered last, probes included
	Since    time.Time // when it entered this state
}

// Replicas lists the replicas in the order of the configuration.
func (c *Client) Replicas() []Replica { return c.replicas.list() }

// replica is guarded by the mutex of its set, except url and shown, which never change.
type replica struct {
	url   *url.URL
	shown string

	state    State
	busy     int
	failures int
	since    time.Time
	probeAt  time.Time // when it is probed next, while it is down
	health   health
}

type replicas struct {
	mu      sync.Mutex
	all     []*replica
	next    int           // where the search for the least busy one begins
	changed chan struct{} // has an element when one went down; for the prober
}

func newReplicas(targets []*url.URL) *replicas {
	s := &replicas{changed: make(chan struct{}, 1)}
	now := time.Now()
	for _, u := range targets {
		s.all = append(s.all, &replica{url: u, shown: shown(u), state: Unknown, since: now})
	}
	return s
}

func (s *replicas) len() int { return len(s.all) }

// take chooses a replica that is not in tried, of which there must be one, and counts a call. The one that is wanted, by
// the name that is shown, comes first unless it is down; "" wants none.
func (s *replicas) take(tried []*replica, wanted string) *replica {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.all {
		if wanted != "" && r.shown == wanted && r.state != Down && !slices.Contains(tried, r) {
			r.busy++
			return r
		}
	}
	if len(s.all) == 1 {
		s.all[0].busy++
		return s.all[0]
	}
	loads, now := make([]load, len(s.all)), time.Now()
	for i, r := range s.all {
		loads[i] = load{busy: r.busy, down: r.state == Down, aside: r.health.isAside(now), tried: slices.Contains(tried, r)}
	}
	i := pick(loads, s.next)
	s.next = (i + 1) % len(s.all)
	s.all[i].busy++
	return s.all[i]
}

func (s *replicas) done(r *replica) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.busy--
}

// answered records that the replica speaks HTTP, whatever it answered.
func (s *replicas) answered(r *replica) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.failures = 0
	r.become(Up)
}

// judge records how a call ended that was sent: err is why it was not answered, or the context's error when it was given
// up, and status what it was answered with.
func (s *replicas) judge(r *replica, status int, err error, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	switch {
	case errors.Is(err, context.Canceled):
	case errors.Is(err, context.DeadlineExceeded) && !r.health.unanswered(took):
	case err != nil || own(status):
		r.health.bad(now)
	default:
		r.health.good(took, now)
		all := make([]*health, len(s.all))
		for i, other := range s.all {
			all[i] = &other.health
		}
		putSlowAside(&r.health, all, now)
	}
}

// lost records that the replica could not be connected to.
func (s *replicas) lost(r *replica) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.failures++
	if r.state == Down {
		return
	}
	r.become(Down)
	r.probeAt = r.since // at once, then with pauses
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (r *replica) become(state State) {
	if r.state != state {
		r.state, r.since = state, time.Now()
	}
}

func (s *replicas) list() []Replica {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Replica, 0, len(s.all))
	now := time.Now()
	for _, r := range s.all {
		state := r.state
		if state != Down && len(s.all) > 1 && r.health.isAside(now) {
			state = Aside
		}
		out = append(out, Replica{URL: r.shown, State: state, Busy: r.busy, Failures: r.failures, Since: r.since})
	}
	return out
}

// load is what the choice of a replica depends on.
type load struct {
	busy        int
	down, tried bool
	aside       bool
}

// rank orders replicas before their load does.
func (l load) rank() int {
	switch {
	case l.down:
		return 2
	case l.aside:
		return 1
	}
	return 0
}

// pick chooses the least busy replica that is up or unknown, one put aside when there is no other, and then a down one: a mark
// must never refuse a call. Among equals the first from start on wins, so they take turns. It returns -1 when all were tried.
func pick(loads []load, start int) int {
	best := -1
	for k := range loads {
		i := (start + k) % len(loads)
		l := loads[i]
		if l.tried {
			continue
		}
		if best < 0 || cmp.Or(cmp.Compare(l.rank(), loads[best].rank()), cmp.Compare(l.busy, loads[best].busy)) < 0 {
			best = i
		}
	}
	return best
}

// maxPause is the longest pause between two probes.
const maxPause = 30 * time.Second

// pause returns how long to wait after the given number of failed attempts in a row: first, doubling up to maxPause.
func pause(first time.Duration, failures int) time.Duration {
	p := first
	for range failures - 1 {
		if p >= maxPause/2 {
			return maxPause
		}
		p *= 2
	}
	return min(p, maxPause)
}

// Run probes replicas that are down until ctx ends; then it closes the connections that are not in use and
// returns nil. Calls may still be made; they leave no connection behind. A single replica is never probed:
// every call tries it anyway. It may be run again.
func (c *Client) Run(ctx context.Context) error {
	c.runs.Add(1)
	c.ran.Store(true)
	defer c.tidy()
	defer c.runs.Add(-1)
	if c.replicas.len() == 1 {
		<-ctx.Done()
		return nil
	}
	for {
		due, wait := c.replicas.due(time.Now())
		if len(due) > 0 {
			c.probeAll(ctx, due)
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-c.replicas.changed:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		timer.Stop()
	}
}

// due returns the replicas to probe now, and how long to wait when there are none.
func (s *replicas) due(now time.Time) (due []*replica, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait = maxPause
	for _, r := range s.all {
		if r.state != Down {
			continue
		}
		if left := r.probeAt.Sub(now); left > 0 {
			wait = min(wait, left)
		} else {
			due = append(due, r)
		}
	}
	return due, wait
}

func (c *Client) probeAll(ctx context.Context, due []*replica) {
	var wg sync.WaitGroup
	for _, r := range due {
		wg.Go(func() {
			if c.alive(ctx, r) {
				c.replicas.answered(r)
				return
			}
			c.replicas.stillDown(r, c.cfg.ProbePause)
		})
	}
	wg.Wait()
}

func (s *replicas) stillDown(r *replica, first time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.state != Down {
		return // a call has got through since
	}
	r.failures++
	r.probeAt = time.Now().Add(pause(first, r.failures))
}

// alive asks a replica for /ping, then /health. Any answer over HTTP will do.
func (c *Client) alive(ctx context.Context, r *replica) bool {
	for _, path := range []string{"ping", "health"} {
		err := c.get(ctx, r, path)
		if err == nil {
			return true
		}
		if isDial(err) {
			return false
		}
	}
	return false
}

// probeTimeout is how long a replica may take to answer a probe once it is connected.
const probeTimeout = 2 * time.Second

func (c *Client) get(ctx context.Context, r *replica, path string) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.ConnectTimeout+probeTimeout)
	defer cancel()
	header := c.header(r)
	req := (&http.Request{
		Method: http.MethodGet, URL: join(r.url, path, ""), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Host: header.Get("Host"),
	}).WithContext(ctx)
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	_, err = io.CopyN(io.Discard, resp.Body, 4096)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, resp.Body.Close())
}
