package broker

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/internal/job"
)

// puller pulls the requests of one route. A route that has been idle for long is dormant: nothing is pulled,
// its consumer goes, and a plain subscription on its subject wakes it.
type puller struct {
	intake   *Intake
	route    string
	lane     lane
	jobs     bool         // the lane holds jobs, not synchronous requests
	priority job.Priority // of the jobs
	inbox    string       // prefix of its sessions' inboxes
	epoch    int          // of the connection it last asked on; owned by Lease
	asked    bool         // it was asked at least once; owned by Lease

	asleep atomic.Bool // dormant is set; so that a dormant lane costs nothing when slots ask

	mu       sync.Mutex
	dormant  *nats.Subscription // the wake-up call; nil while the route is active
	session  *session           // nil before the first pull and after a withdrawal
	sessions int                // made so far
	ready    bool               // the consumer exists
	retryAt  time.Time          // after a failure
	busy     time.Time          // when the last message or wake-up came
}

// session is one inbox for pulls. Its fields are guarded by the puller's mu.
type session struct {
	puller *puller
	sub    *nats.Subscription
	inbox  string
	credit int       // messages asked for and not delivered
	heard  time.Time // last sign of life of a standing pull
	closed bool
	idle   chan struct{} // capacity 1: a pull ended without all it asked for
}

func newPuller(in *Intake, route string, l lane, n string) *puller {
	return &puller{intake: in, route: route, lane: l, inbox: prefixWorker + in.worker.id + ".p." + l.consumer + "." + n + "-"}
}

// attend keeps the puller's state in line with the connection and with time, and reports whether the route
// is to be pulled from now.
func (p *puller) attend(ctx context.Context, epoch int) bool {
	if p.jobs && p.intake.worker.paused.holds(p.route, time.Now()) {
		p.withdraw()
		return false
	}
	if p.asked && p.epoch == epoch && p.asleep.Load() {
		return false
	}
	if !p.asked || p.epoch != epoch {
		p.asked, p.epoch = true, epoch
		p.mu.Lock()
		p.ready, p.busy = false, time.Time{}
		p.mu.Unlock()
		p.withdraw()
		p.sleep(ctx)
	}
	p.mu.Lock()
	dormant, idle, later := p.dormant != nil, time.Since(p.busy), time.Until(p.retryAt)
	p.mu.Unlock()
	switch {
	case dormant || later > 0:
		return false
	case idle > dormantAfter:
		p.withdraw()
		p.sleep(ctx)
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.dormant == nil
	}
	return p.ensure(ctx)
}

// sleep makes the route dormant, unless a message waits already: it may have come before we listened.
func (p *puller) sleep(ctx context.Context) {
	nc := p.intake.worker.link.nc
	sub, err := nc.Subscribe(p.lane.subject, func(*nats.Msg) { p.awake() })
	if err != nil {
		p.failed(err)
		return
	}
	p.mu.Lock()
	old := p.dormant
	p.dormant = sub
	p.asleep.Store(true)
	p.mu.Unlock()
	if old != nil {
		_ = old.Unsubscribe() // the new one has taken over
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := nc.FlushWithContext(ctx); err != nil || p.pending(ctx) {
		p.awake()
	}
}

// waits reports whether messages of the route are left. A dormant route has none.
func (p *puller) waits(ctx context.Context) bool {
	p.mu.Lock()
	dormant := p.dormant != nil
	p.mu.Unlock()
	return !dormant && p.pending(ctx)
}

// pending reports whether the stream holds a message of the route. Doubt counts as yes.
func (p *puller) pending(ctx context.Context) bool {
	stream, err := p.intake.worker.link.js.Stream(ctx, p.lane.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return false
	}
	if err != nil {
		return true
	}
	_, err = stream.GetLastMsgForSubject(ctx, p.lane.subject)
	return !errors.Is(err, jetstream.ErrMsgNotFound)
}

// awake ends the dormancy.
func (p *puller) awake() {
	p.mu.Lock()
	sub := p.dormant
	p.dormant, p.busy = nil, time.Now()
	p.asleep.Store(false)
	p.mu.Unlock()
	if sub != nil {
		_ = sub.Unsubscribe() // a second wake-up does no harm
	}
	p.intake.signal()
}

// failed makes the puller wait a moment before it tries again.
func (p *puller) failed(err error) {
	if !errors.Is(err, context.Canceled) { // which is a worker that stops
		p.intake.worker.log.Warn("cannot pull", "subject", p.lane.subject, "error", err)
	}
	p.mu.Lock()
	p.ready, p.retryAt = false, time.Now().Add(500*time.Millisecond)
	p.mu.Unlock()
}

// later is how long a failed puller still waits; not positive when it may try.
func (p *puller) later() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Until(p.retryAt)
}

// ensure makes the route's consumer, once for each connection.
func (p *puller) ensure(ctx context.Context) bool {
	p.mu.Lock()
	ready := p.ready
	p.mu.Unlock()
	if ready {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	l := p.intake.worker.link
	err := l.ensure(ctx, p.lane.stream)
	if err == nil {
		_, err = l.js.CreateOrUpdateConsumer(ctx, p.lane.stream, p.consumer())
	}
	if err != nil {
		p.failed(err)
		return false
	}
	p.mu.Lock()
	p.ready, p.busy = true, time.Now()
	p.mu.Unlock()
	return true
}

// consumer is the lane's durable. Attempts of jobs are counted in their records, not by deliveries, and the
// consumer must outlive the longest of them.
func (p *puller) consumer() jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{
		Durable:           p.lane.consumer,
		FilterSubject:     p.lane.subject,
		AckPolicy:         jetstream.AckExplicitPolicy,
		AckWait:           ackWait,
		MaxDeliver:        maxDeliver,
		MaxAckPending:     10_000,
		MaxWaiting:        8192,
		MemoryStorage:     true,
		InactiveThreshold: dormantAfter,
	}
	if p.jobs {
		c.AckWait, c.MaxDeliver, c.MemoryStorage, c.InactiveThreshold = p.intake.worker.lease.ack, -1, false, jobLaneLife
	}
	return c
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
	sub, err := p.intake.worker.link.nc.Subscribe(s.inbox, s.receive)
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

// pull is the body of a pull request; durations are nanoseconds.
type pull struct {
	Batch     int           `json:"batch"`
	Expires   time.Duration `json:"expires,omitempty"`
	Heartbeat time.Duration `json:"idle_heartbeat,omitempty"`
	NoWait    bool          `json:"no_wait,omitempty"`
}

func (s *session) publish(request pull) error {
	text, err := json.Marshal(request)
	if err != nil {
		return err
	}
	l := s.puller.lane
	return s.puller.intake.worker.link.nc.PublishRequest(subjectAPINext+l.stream+"."+l.consumer, s.inbox, text)
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
	timer := time.NewTimer(claimPatience)
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

// withdraw takes standing pulls back: the server drops pulls whose inbox nobody listens to. What is on its
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
		p.intake.worker.log.Debug("withdrawing a pull", "error", err)
	}
}

// close withdraws pulls and the wake-up call.
func (p *puller) close() {
	p.mu.Lock()
	s, sub := p.session, p.dormant
	p.session, p.dormant = nil, nil
	if s != nil {
		s.closed = true
	}
	p.mu.Unlock()
	if s != nil {
		_ = s.sub.Drain() // it fails only on a connection that is gone
	}
	if sub != nil {
		_ = sub.Unsubscribe()
	}
}

// receive takes messages and the server's words about pulls.
func (s *session) receive(msg *nats.Msg) {
	p := s.puller
	if status := msg.Header.Get("Status"); status != "" && len(msg.Data) == 0 {
		s.receiveStatus(status, msg)
		return
	}
	now := time.Now()
	p.mu.Lock()
	s.credit = max(s.credit-1, 0)
	s.heard, p.busy = now, now
	closed, empty := s.closed, s.credit == 0
	p.mu.Unlock()
	d := &Delivery{worker: p.intake.worker, msg: msg, route: p.route, arrived: now}
	var envelope *envelope
	var err error
	if p.jobs {
		d.job = idOfEvent(msg.Subject) // all that counts of the message
	} else {
		envelope, err = decodeEnvelope(msg.Data)
	}
	switch {
	case p.jobs && closed:
		d.Return()
	case p.jobs:
		d.left = p.intake.enterJob()
		p.intake.accept(d)
	case err != nil:
		d.worker.log.Error("unreadable request; returned for another worker", "subject", msg.Subject, "error", err)
		d.refuse()
	case closed:
		d.envelope = envelope
		d.Return()
	default:
		d.envelope, d.route = envelope, envelope.route
		p.intake.accept(d)
	}
	if empty {
		s.ended()
	}
}

// ended says that nothing stands any more.
func (s *session) ended() {
	select {
	case s.idle <- struct{}{}:
	default:
	}
}

func (s *session) receiveStatus(status string, msg *nats.Msg) {
	p := s.puller
	p.mu.Lock()
	s.heard = time.Now()
	switch status {
	case "100":
		p.mu.Unlock()
		return
	case "408": // the rest of one pull has expired
		rest, err := strconv.Atoi(msg.Header.Get("Nats-Pending-Messages"))
		if err != nil || rest < 0 {
			rest = s.credit
		}
		s.credit = max(s.credit-rest, 0)
	case "404":
		s.credit = 0
	default: // 409, 503: the consumer or its stream is gone, or never was
		s.credit = 0
		if !s.closed {
			p.ready, p.retryAt = false, time.Now().Add(50*time.Millisecond)
		}
	}
	p.mu.Unlock()
	s.ended()
	p.intake.signal()
}
