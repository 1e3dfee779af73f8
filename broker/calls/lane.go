package calls

import (
	"time"

	"headrace/broker/intake"
	"headrace/broker/link"
	"headrace/internal/inference"
	"headrace/internal/lease"
)

// lane is a route's calls, for one intake.
type lane struct {
	answerer *Answerer
	queue    intake.Queue
}

// Lanes is a route's one lane.
func (a *Answerer) Lanes(route *inference.Route) []intake.Lane {
	at := link.LaneOf(route)
	// A message may be delivered as often as it takes: each busy worker with a standing pull returns it once, and past a bound it
	// would wait unseen. It is there for no longer than its caller waits.
	return []intake.Lane{&lane{a, intake.Queue{Route: route.Name, Wish: link.Wish{
		Stream: at.Stream, Consumer: at.Consumer, Subject: at.Subject, AckWait: ackWait, Memory: true, Life: intake.DormantAfter,
	}}}}
}

// Queue says where the calls wait.
func (l *lane) Queue() intake.Queue { return l.queue }

// Open reads a call's envelope.
func (l *lane) Open(m *intake.Message) (lease.Delivery, error) {
	e, err := decodeEnvelope(m.Data())
	if err != nil {
		return nil, err
	}
	return &delivery{answerer: l.answerer, source: m, envelope: e, caller: m.Header(headerCaller), streams: m.Header(headerStream) != ""}, nil
}

// Held is never true: calls have no pause.
func (l *lane) Held(time.Time) bool { return false }

// Room is all that is free.
func (l *lane) Room(n int) int { return n }

// Standing is n, or no more than probably wait where calls of this process are handed over, so that slots are left for
// these.
func (l *lane) Standing(n, pulled int) int {
	if l.answerer.local == nil {
		return n
	}
	return min(n, 1+max(l.answerer.local.queued(l.queue.Route), 2*pulled))
}
