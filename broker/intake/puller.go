package intake

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
)

const (
	// pullAgain is the pause after something failed.
	pullAgain = 500 * time.Millisecond
	// sweepPatience is how long the server has to answer a pull that does not wait.
	sweepPatience = time.Second
)

// puller pulls the messages of one lane. A lane that has been idle for long, or whose consumer is gone, is dormant:
// nothing is pulled, its consumer may go, and a message wakes it (see sleepers).
type puller struct {
	intake *Intake
	lane   Lane
	queue  Queue  // the lane's
	inbox  string // prefix of its sessions' inboxes
	epoch  int    // of the connection it last asked on; owned by Lease
	asked  bool   // it was asked at least once; owned by Lease

	asleep atomic.Bool // the lane is dormant, which costs nothing when slots ask

	mu       sync.Mutex
	session  *session  // nil before the first pull and after a withdrawal
	sessions int       // made so far
	ready    bool      // the consumer exists, as far as is known
	gone     bool      // the server said that it does not
	wished   time.Time // when the keeper was last asked for it; zero after its answer
	retryAt  time.Time // after a failure
	busy     time.Time // when the last message or wake-up came
}

// newPuller makes the puller of a lane. n tells lanes with the same consumer in one process apart.
func newPuller(in *Intake, l Lane, n string) *puller {
	q := l.Queue()
	return &puller{intake: in, lane: l, queue: q, inbox: link.PrefixWorker + in.end.id + ".p." + q.Consumer + "." + n + "-"}
}

// attend keeps the puller's state in line with the connection and with time, and reports whether the lane
// is to be pulled from now. It never waits: slots are asking.
func (p *puller) attend(epoch int) bool {
	if p.asked && p.epoch == epoch && p.asleep.Load() {
		return false
	}
	if !p.asked || p.epoch != epoch {
		p.asked, p.epoch = true, epoch
		p.sleep(true)
		return false
	}
	now := time.Now()
	if p.lane.Held(now) {
		p.withdraw()
		return false
	}
	p.mu.Lock()
	ready, gone, idle, later := p.ready, p.gone, now.Sub(p.busy), p.retryAt.Sub(now)
	p.mu.Unlock()
	switch {
	case gone || idle > DormantAfter:
		p.sleep(false)
		return false
	case later > 0:
		return false
	case !ready:
		p.wish(now)
	}
	return ready
}

// sleep makes the lane dormant until something waits, which may be at once; fresh as in sleepers.add.
func (p *puller) sleep(fresh bool) {
	p.withdraw()
	p.mu.Lock()
	p.ready, p.gone, p.wished = false, false, time.Time{}
	p.mu.Unlock()
	p.asleep.Store(true)
	if err := p.intake.end.sleepers.add(p.intake.end.link.NC, p, fresh); err != nil {
		p.awake()
		p.failed(err)
	}
}

// awake ends the dormancy.
func (p *puller) awake() {
	p.mu.Lock()
	p.busy = time.Now()
	p.asleep.Store(false)
	p.mu.Unlock()
	p.intake.signal()
}

// wish asks the keeper for the lane's consumer, again after a while.
func (p *puller) wish(now time.Time) {
	p.mu.Lock()
	due := now.Sub(p.wished) >= link.WishAgain
	if due {
		p.wished = now
	}
	p.mu.Unlock()
	if !due {
		return
	}
	if err := p.intake.end.wishes.ask(p.intake.end.link.NC, p); err != nil {
		p.failed(err)
	}
}

// granted takes the keeper's answer: the consumer exists, or why it does not.
func (p *puller) granted(err error) {
	if err != nil {
		p.failed(err)
		return
	}
	p.mu.Lock()
	p.ready, p.wished = !p.asleep.Load(), time.Time{}
	p.mu.Unlock()
	p.intake.signal()
}

// failed makes the puller wait a moment before it tries again.
func (p *puller) failed(err error) {
	e := p.intake.end
	if n := e.troubles.Met("pull "+p.queue.Stream, time.Now()); n > 0 {
		e.log.Warn("cannot pull; trying on", "stream", p.queue.Stream, "subject", p.queue.Subject, "error", err, "times", n)
	}
	p.mu.Lock()
	p.ready, p.wished, p.retryAt = false, time.Time{}, time.Now().Add(pullAgain)
	p.mu.Unlock()
}

// later is how long a failed puller still waits; not positive when it may try.
func (p *puller) later() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Until(p.retryAt)
}

// open gives the session, a new one when there is none.
func (p *puller) open() (*session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session != nil {
		return p.session, nil
	}
	p.sessions++
	s := &session{puller: p, inbox: p.inbox + strconv.Itoa(p.sessions), idle: make(chan struct{}, 1)}
	sub, err := p.intake.end.link.NC.Subscribe(s.inbox, s.receive)
	if err != nil {
		return nil, err
	}
	// What is pending was asked for; the library's limits would drop it silently.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, err
	}
	s.sub = sub
	p.session = s
	return s, nil
}

// topUp keeps pulls for up to n messages standing. It asks only when less than half of that stands, so that
// many free slots do not cost a request each.
func (p *puller) topUp(n int) {
	s, err := p.open()
	if err != nil {
		p.failed(err)
		return
	}
	p.mu.Lock()
	now := time.Now()
	if s.credit > 0 && now.Sub(s.heard) > 3*pullHeartbeat {
		s.credit = 0 // the server has forgotten it
	}
	if s.credit > n/2 {
		p.mu.Unlock()
		return
	}
	more := n - s.credit
	s.credit += more
	s.heard = now
	p.mu.Unlock()
	if err := s.publish(pull{Batch: more, Expires: pullExpiry, Heartbeat: pullHeartbeat}); err != nil {
		p.mu.Lock()
		s.credit = max(s.credit-more, 0)
		p.mu.Unlock()
		p.failed(err)
	}
}

// standing reports whether a pull waits at the server.
func (p *puller) standing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.session != nil && p.session.credit > 0 && time.Since(p.session.heard) <= 3*pullHeartbeat
}

// credit is how many messages a standing pull may still bring.
func (p *puller) credit() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session == nil {
		return 0
	}
	return p.session.credit
}

// sweep asks for up to n messages that wait now, and reports whether there were any.
func (p *puller) sweep(ctx context.Context, n int) bool {
	s, err := p.open()
	if err != nil {
		p.failed(err)
		return false
	}
	p.mu.Lock()
	s.credit, s.heard = n, time.Now()
	p.mu.Unlock()
	select {
	case <-s.idle: // of an earlier pull
	default:
	}
	if err := s.publish(pull{Batch: n, NoWait: true}); err != nil {
		p.failed(err)
		return false
	}
	timer := time.NewTimer(sweepPatience)
	defer timer.Stop()
	select {
	case <-s.idle:
	case <-timer.C:
	case <-ctx.Done():
	}
	p.mu.Lock()
	s.credit = 0
	p.mu.Unlock()
	return p.intake.arrived()
}

// withdraw takes standing pulls back: the server drops pulls whose inbox has no listener. What is on its
// way arrives while the subscription drains, and is returned.
func (p *puller) withdraw() {
	p.mu.Lock()
	s := p.session
	if s == nil || s.credit == 0 {
		p.mu.Unlock()
		return
	}
	p.session, s.closed = nil, true
	p.mu.Unlock()
	if err := s.sub.Drain(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		p.intake.end.log.Debug("withdrawing a pull", "error", err)
	}
}

// close withdraws pulls and the wake-up call.
func (p *puller) close() {
	p.intake.end.sleepers.remove(p)
	p.intake.end.wishes.remove(p)
	p.mu.Lock()
	s := p.session
	p.session = nil
	if s != nil {
		s.closed = true
	}
	p.mu.Unlock()
	if s != nil {
		_ = s.sub.Drain() // it fails only on a connection that is gone
	}
}
