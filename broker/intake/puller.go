package intake

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"headrace/broker/link"
)

const (
	// pullAgain is the pause after something failed.
	pullAgain = 500 * time.Millisecond
	// sweepPatience is how long a slot waits for the answer to a pull that does not wait. A lane that did not answer is not
	// waited for until it has: other lanes share the slot.
	sweepPatience = 100 * time.Millisecond
	// missedAgain is when a background lane is looked at again whose consumer did not answer, because it has no leader or is gone.
	// It doubles each time, missedMost times: a consumer that has lost its server has another leader by then.
	missedAgain = time.Second
	missedMost  = 4
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
	session  *session  // nil before the first pull and while the lane is dormant
	sessions int       // made so far
	ready    bool      // the consumer exists, or may
	proven   bool      // it has answered
	wanted   bool      // the lane was woken because something waits in it
	silent   bool      // it did not answer the last pull in time
	gone     bool      // the server said that there is none
	missed   int       // how often in a row a background lane was woken to find out whether it is back
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
	p.mu.Lock()
	gone := p.gone
	p.rest()
	p.ready, p.proven, p.gone, p.silent, p.wished = false, false, false, false, time.Time{}
	if !gone {
		p.missed = 0
	}
	again := gone && p.queue.Background && p.missed < missedMost
	pause := missedAgain << p.missed
	if again {
		p.missed++
	}
	p.mu.Unlock()
	p.asleep.Store(true)
	if err := p.intake.end.sleepers.add(p.intake.end.link.NC, p, fresh); err != nil {
		p.awake()
		p.failed(err)
		return
	}
	if again {
		time.AfterFunc(pause, p.lookAgain)
	}
}

// lookAgain pulls from a lane once more, whether or not something waits in it.
func (p *puller) lookAgain() {
	if !p.asleep.Load() {
		return
	}
	p.intake.end.sleepers.remove(p)
	p.wake(false)
}

// awake ends the dormancy: something waits.
func (p *puller) awake() { p.wake(true) }

// wake makes the lane be pulled from. Its consumer may be there or not.
func (p *puller) wake(wanted bool) {
	p.mu.Lock()
	p.busy, p.ready, p.proven, p.wanted = time.Now(), true, false, wanted
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
	p.ready, p.proven, p.wished = !p.asleep.Load(), true, time.Time{}
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
	p.ready, p.proven, p.wished, p.retryAt = true, false, time.Time{}, time.Now().Add(pullAgain) // the next pull finds out
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
	s := &session{puller: p, inbox: p.inbox + strconv.Itoa(p.sessions) + ".", idle: make(chan struct{}, 1)}
	sub, err := p.intake.end.link.NC.Subscribe(s.inbox+"*", s.receive)
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
	credit, expires := s.credit(time.Now()), pullExpiry
	if p.silent {
		expires = silentExpiry
	}
	p.mu.Unlock()
	if credit > n/2 {
		return
	}
	if err := s.publish(pull{Batch: n - credit, Expires: expires}); err != nil {
		p.failed(err)
	}
}

// standing reports whether a pull waits at the server.
func (p *puller) standing() bool { return p.credit() > 0 }

// credit is how many messages a standing pull may still bring.
func (p *puller) credit() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session == nil {
		return 0
	}
	return p.session.credit(time.Now())
}

// sweep asks for up to n messages that wait now, and reports whether there were any.
func (p *puller) sweep(ctx context.Context, n int) bool {
	p.mu.Lock()
	silent := p.silent
	p.mu.Unlock()
	if silent {
		return false
	}
	s, err := p.open()
	if err != nil {
		p.failed(err)
		return false
	}
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
		p.mu.Lock()
		p.silent = s.credit(time.Now()) > 0
		p.mu.Unlock()
	case <-ctx.Done():
	}
	return p.intake.arrived()
}

// rest ends the session: what it still brings goes back. It must be called with mu held.
func (p *puller) rest() {
	if p.session != nil {
		p.session.close(p.intake.end, time.Now())
		p.session = nil
	}
}

// close ends pulls and the wake-up call.
func (p *puller) close() {
	p.intake.end.sleepers.remove(p)
	p.intake.end.wishes.remove(p)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rest()
}
