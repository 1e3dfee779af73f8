package calls

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
	"headrace/broker/records"
)

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

func (s *session) publish(request pull) error {
	text, err := json.Marshal(request)
	if err != nil {
		return err
	}
	l := s.puller.lane
	return s.puller.intake.worker.link.NC.PublishRequest(link.SubjectAPINext+l.Stream+"."+l.Consumer, s.inbox, text)
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
		d.job = records.IdOfEvent(msg.Subject) // all that counts of the message
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
