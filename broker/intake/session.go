package intake

import (
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
)

const (
	// unreadAgain is how long no worker gets a message that this one cannot read.
	unreadAgain = 500 * time.Millisecond
	// pullLate is how long after its end a message or the server's last word of a pull may still be on its way.
	pullLate = 500 * time.Millisecond
)

// session is one inbox for the pulls of a lane. It stays open until the last of them has ended at the server: a message that
// is sent to a closed inbox is lost until its lease has run out. Its fields are guarded by the puller's mu.
type session struct {
	puller *puller
	sub    *nats.Subscription
	inbox  string // prefix; a pull's number follows
	last   int    // number of the last pull
	pulls  []standing
	closed bool
	idle   chan struct{} // capacity 1: a pull ended without all it asked for
	finish func()        // ends a closed session; nil while it is open
}

// standing is a pull that the server may still answer.
type standing struct {
	number int
	left   int       // messages asked for and not delivered
	until  time.Time // from when on nothing more is to be expected
}

// pull is the body of a pull request; durations are nanoseconds.
type pull struct {
	Batch   int           `json:"batch"`
	Expires time.Duration `json:"expires,omitempty"`
	NoWait  bool          `json:"no_wait,omitempty"`
}

// publish sends a pull to the consumer of the lane; messages come to the inbox.
func (s *session) publish(request pull) error {
	p := s.puller
	text, err := json.Marshal(request)
	if err != nil {
		return err
	}
	p.mu.Lock()
	s.last++
	number := s.last
	s.pulls = append(s.pulls, standing{number, request.Batch, time.Now().Add(max(request.Expires, pullLate) + pullLate)})
	p.mu.Unlock()
	subject, inbox := link.SubjectAPINext+p.queue.Stream+"."+p.queue.Consumer, s.inbox+strconv.Itoa(number)
	err = p.intake.end.link.NC.PublishRequest(subject, inbox, text)
	if err != nil {
		p.mu.Lock()
		s.over(number)
		p.mu.Unlock()
	}
	return err
}

// credit is how many messages the server may still send. It must be called with the puller's mu held, as all that follows.
func (s *session) credit(now time.Time) (n int) {
	all := len(s.pulls)
	s.pulls = kept(s.pulls, func(one standing) bool { return one.until.After(now) })
	if len(s.pulls) < all { // of each the server says how it ends
		s.puller.silent = true
	}
	for _, one := range s.pulls {
		n += one.left
	}
	return n
}

// over forgets a pull.
func (s *session) over(number int) {
	s.pulls = kept(s.pulls, func(one standing) bool { return one.number != number })
}

// brought counts a message of the oldest pull: it does not say of which it is.
func (s *session) brought() {
	if len(s.pulls) > 0 {
		s.pulls[0].left--
		s.pulls = kept(s.pulls, func(one standing) bool { return one.left > 0 })
	}
}

// kept is pulls without those that keep does not hold for, in the same memory.
func kept(pulls []standing, keep func(standing) bool) []standing {
	n := 0
	for _, one := range pulls {
		if keep(one) {
			pulls[n] = one
			n++
		}
	}
	return pulls[:n]
}

// close makes the session return what still comes, and end when nothing more can: at once where there is one server, which
// drops pulls whose inbox has no listener and sends nothing after that. The servers of a cluster learn later of it.
func (s *session) close(e *End, now time.Time) {
	s.closed = true
	e.retiring.Add(1)
	s.finish = sync.OnceFunc(func() {
		_ = s.sub.Drain() // it fails only on a connection that is gone
		e.retiring.Done()
	})
	if s.credit(now) == 0 || !e.link.Clustered() {
		s.finish()
		return
	}
	until := now
	for _, one := range s.pulls {
		if one.until.After(until) {
			until = one.until
		}
	}
	time.AfterFunc(until.Sub(now), s.finish)
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
	s.brought()
	p.busy, p.proven, p.silent, p.missed = now, true, false, 0
	closed, empty := s.closed, len(s.pulls) == 0
	p.mu.Unlock()
	m := &Message{msg: msg, log: p.intake.end.log, arrived: now}
	d, err := p.lane.Open(m)
	switch {
	case err != nil:
		p.intake.end.log.Error("unreadable request; returned for another worker", "subject", msg.Subject, "error", err)
		m.GiveBackIn(unreadAgain)
	case closed || p.queue.Background && p.intake.roomFor(p, 1) <= 0 || p.lane.Held(now):
		d.Return()
	default:
		if p.queue.Background {
			m.leave = p.intake.enter()
		}
		p.intake.accept(d)
	}
	if empty {
		s.ended()
	}
}

// ended says that no pull stands any more.
func (s *session) ended() {
	link.Ring(s.idle)
	s.puller.mu.Lock()
	finish := s.finish
	s.puller.mu.Unlock()
	if finish != nil {
		finish()
	}
}

// receiveStatus takes what the server says of a pull instead of a message.
func (s *session) receiveStatus(status string, msg *nats.Msg) {
	number, err := strconv.Atoi(msg.Subject[strings.LastIndexByte(msg.Subject, '.')+1:])
	if err != nil {
		return
	}
	p := s.puller
	p.mu.Lock()
	s.over(number)
	empty := len(s.pulls) == 0
	if !s.closed {
		p.learn(status, msg.Header.Get("Description"))
	}
	p.mu.Unlock()
	if empty {
		s.ended()
	}
	p.intake.signal()
}

// learn takes what the server says of a lane's consumer with the end of a pull. It must be called with mu held.
func (p *puller) learn(status, why string) {
	p.silent = false
	switch {
	case status == "408", status == "404": // the pull has expired, or found nothing
		p.proven, p.missed = true, 0
	case status == "409" && !strings.Contains(why, "Deleted"): // it has moved to another server, or has too many pulls
		p.retryAt = time.Now().Add(pullAgain)
	case status == "503" && !p.proven && p.wanted: // there is work and no consumer
		p.ready = false
	default: // the consumer or its stream is gone, or has no leader now
		p.ready, p.gone = false, true
	}
}
