package intake

import (
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
	"headrace/internal/inference"
	"headrace/internal/job"
)

// Size is how many workers and routes a roster remembers.
func (r *Roster) Size() (workers, routes int) { return len(r.workers), len(r.slots) }

// Loose is an intake of one lane without a connection.
type Loose struct{ p *puller }

// NewLoose makes one.
func NewLoose(kind Kind, route *inference.Route) (Loose, error) {
	e, err := NewEnd(link.Dial{URL: "nats://nowhere"}, nil, slog.New(slog.DiscardHandler), kind)
	if err != nil {
		return Loose{}, err
	}
	e.link = &link.Link{} // whose nil connection refuses everything
	return Loose{e.Intake([]*inference.Route{route}).pullers[0]}, nil
}

// Pulled hands a standing pull for credit messages one message, and gives how many it waits for then and how
// many requests it has accepted in all.
func (l Loose) Pulled(credit int, header map[string]string, data []byte) (left, accepted int) {
	session := &session{puller: l.p, idle: make(chan struct{}, 1)}
	if credit > 0 {
		session.pulls = []standing{{1, credit, time.Now().Add(time.Minute)}}
	}
	l.p.intake.free = credit
	msg := &nats.Msg{Subject: "infer.1", Data: data, Header: nats.Header{}}
	for key, value := range header {
		msg.Header[key] = []string{value}
	}
	session.receive(msg)
	l.p.intake.mu.Lock()
	defer l.p.intake.mu.Unlock()
	return session.credit(time.Now()), len(l.p.intake.got)
}

// Order is the order in which the lanes of kinds are asked in each of a number of turns, by their consumers.
func Order(turns int, routes []*inference.Route, kinds ...Kind) (all [][]string) {
	in := newIntake(&End{kinds: kinds}, routes)
	for range turns {
		var names []string
		for _, p := range in.order(in.pullers) {
			names = append(names, p.queue.Consumer)
		}
		all = append(all, names)
	}
	return all
}

// Room is how many messages of a background lane an intake leases that has had most slots free, was told of room, and has
// leased jobs already.
func Room(kind Kind, route *inference.Route, most, room, jobs int) int {
	in := newIntake(&End{kinds: []Kind{kind}}, []*inference.Route{route})
	in.most, in.room, in.jobs = most, room, jobs
	return in.roomFor(in.pullers[0], most)
}

// Favourite is the priority whose turn it is.
func Favourite(turn int) job.Priority { return favourite(turn) }
