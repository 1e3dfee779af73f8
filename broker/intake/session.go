package intake

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
)

// unreadAgain is how long no worker gets a message that this one cannot read.
const unreadAgain = 500 * time.Millisecond

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

// pull is the body of a pull request; durations are nanoseconds.
type pull struct {
	Batch     int           `json:"batch"`
	Expires   time.Duration `json:"expires,omitempty"`
	Heartbeat time.Duration `json:"idle_heartbeat,omitempty"`
	NoWait    bool          `json:"no_wait,omitempty"`
}

// publish sends a pull to the consumer of the lane; messages come to the inbox.
func (s *session) publish(request pull) error {
	text, err := json.Marshal(request)
	if err != nil {
		return err
	}
	l := s.puller.queue
	return s.puller.intake.end.link.NC.PublishRequest(link.SubjectAPINext+l.Stream+"."+l.Consumer, s.inbox, text)
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
	m := &Message{msg: msg, log: p.intake.end.log, arrived: now}
	d, err := p.lane.Open(m)
	switch {
	case err != nil:
		p.intake.end.log.Error("unreadable request; returned for another worker", "subject", msg.Subject, "error", err)
		m.GiveBackIn(unreadAgain)
	case closed:
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

// ended says that nothing stands any more.
func (s *session) ended() { link.Ring(s.idle) }

// receiveStatus takes what the server says of a pull instead of a message.
func (s *session) receiveStatus(status string, msg *nats.Msg) {
	p := s.puller
	p.mu.Lock()
	s.heard = time.Now()
	switch status {
	case "100": // a heartbeat: the pull still waits
		p.mu.Unlock()
		return
	case "408": // the rest of one pull has expired
		rest, err := strconv.Atoi(msg.Header.Get("Nats-Pending-Messages"))
		if err != nil || rest < 0 {
			rest = s.credit
		}
		s.credit = max(s.credit-rest, 0)
	case "404": // a pull that does not wait found nothing
		s.credit = 0
	default: // 409, 503: the consumer or its stream is gone, or never was; it is made again when there is work
		s.credit = 0
		if !s.closed {
			p.ready, p.gone = false, true
		}
	}
	p.mu.Unlock()
	s.ended()
	p.intake.signal()
}
