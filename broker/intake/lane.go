package intake

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
	"headrace/internal/inference"
	"headrace/internal/job"
	"headrace/internal/lease"
)

// Kind is one kind of work that a worker process leases.
type Kind interface {
	// Lanes makes the lanes of a route for one intake.
	Lanes(route *inference.Route) []Lane
	// Run serves what claims need of the process's connection, from when it calls begun until ctx ends. It returns when all
	// that it has started has ended. Nothing is leased before every kind has begun.
	Run(ctx context.Context, line *Line, begun func()) error
	// Reconnected is called when the connection was lost and is back, before anything is leased over it.
	Reconnected()
	// Leaving is called when the process has announced that it takes nothing new.
	Leaving()
}

// Lane is what an intake pulls from. Its methods are called by several goroutines and do not wait.
type Lane interface {
	// Queue says where the lane's messages are. It never changes.
	Queue() Queue
	// Open makes a delivery of a message. After an error the message is given back for another worker, in a while.
	Open(m *Message) (lease.Delivery, error)
	// Held reports whether the lane must not be pulled from now.
	Held(now time.Time) bool
	// Room is how many messages may be leased now, of n for which slots are free.
	Room(n int) int
	// Standing is how many messages a pull should wait for, of n for which slots are free, when nothing waits and the slots
	// have no other lane. pulled of the last lease were pulled, the others were offered.
	Standing(n, pulled int) int
}

// Queue describes a lane: its consumer, and its place among the lanes that share slots.
type Queue struct {
	link.Wish // the stream, the consumer, and how it is made

	Route string
	// Background lanes hold work that no caller waits for. They get the slots that other lanes leave them, and a turn now and
	// then. What is in them waits for any worker, so a worker that leaves does not stay for it. While they are dormant they are
	// woken by Name; of other lanes the stream is asked what waits.
	Background bool
	Priority   job.Priority // among background lanes
	Name       string       // for Line.Wake; of background lanes only
}

// Line is the connection of a worker process as its kinds of work use it.
type Line struct {
	ID   string // of the worker on the wire, new with every start
	Link *link.Link

	end *End
}

// Epoch grows with every reconnect.
func (l *Line) Epoch() int { return l.end.currentEpoch() }

// Signal makes all intakes look at their lanes again.
func (l *Line) Signal() { l.end.signal() }

// Wake wakes dormant background lanes by their names: those of waiting, and of left those that were not pulled from over
// this connection yet, in which work may be left whose worker is gone.
func (l *Line) Wake(waiting, left []string) { l.end.sleepers.wakeNamed(waiting, left) }

// Offer gives a delivery to a free slot of the process, and reports whether there was one for its route.
func (l *Line) Offer(d lease.Delivery) bool { return l.end.offer(d) }

// Subscribe subscribes to each subject until the connection is closed.
func (l *Line) Subscribe(handlers map[string]nats.MsgHandler) error { return l.end.subscribe(handlers) }

// laneOf is the subject that the lane of a message listens on: the message's own, or one whose last token is a wildcard.
func laneOf(subject string) (own, wild string) {
	return subject, subject[:strings.LastIndexByte(subject, '.')+1] + "*"
}
