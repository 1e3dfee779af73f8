package records

import (
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/internal/job"
)

// Wire carries what processes tell each other of jobs while they happen. Messages are lost with their connection, and their
// receivers read what they missed. Each take is called by one goroutine at a time, until the archive is closed.
type Wire struct{ nc *nats.Conn }

// Event says that a record was written.
type Event struct {
	ID       job.ID
	State    job.State
	Tag      string // of the write; see Recent
	Revision uint64 // 0 when the event does not say it
}

// Events is a subscription to events.
type Events struct{ sub *nats.Subscription }

// Events passes each event to take. Those that were not taken yet may occupy most bytes; what comes beyond is dropped.
func (w *Wire) Events(most int, take func(Event)) (*Events, error) {
	sub, err := w.nc.Subscribe(prefixEvent+"*.*", func(msg *nats.Msg) {
		revision, err := strconv.ParseUint(msg.Header.Get(jetstream.SequenceHeader), 10, 64)
		if err != nil {
			revision = 0
		}
		take(Event{IdOfEvent(msg.Subject), job.State(msg.Header.Get(headerState)), msg.Header.Get(headerTag), revision})
	})
	if err != nil {
		return nil, err
	}
	return &Events{sub}, sub.SetPendingLimits(-1, most)
}

// Dropped returns how many events were dropped so far.
func (e *Events) Dropped() (int, error) { return e.sub.Dropped() }

// Reports passes each whole report of a sweeper to take, or why one could not be read.
func (w *Wire) Reports(take func(*Report, error)) error {
	var reports Reports
	_, err := w.nc.Subscribe(SubjectQueues, func(msg *nats.Msg) {
		if report, err := reports.Take(msg.Data); err != nil || report != nil {
			take(report, err)
		}
	})
	return err
}

// Asked calls tell whenever a process asks for a report at once.
func (w *Wire) Asked(tell func()) error {
	_, err := w.nc.Subscribe(SubjectQueuesAsk, func(*nats.Msg) { tell() })
	return err
}

// Report tells all processes what waits.
func (w *Wire) Report(r *Report) error {
	messages, err := r.Messages()
	for _, text := range messages {
		if err == nil {
			err = w.nc.Publish(SubjectQueues, text)
		}
	}
	return err
}

// Placed passes to take what front ends have queued. err is why the rest of a message could not be read.
func (w *Wire) Placed(take func(all []Placement, err error)) error {
	_, err := w.nc.Subscribe(subjectPlaced, func(msg *nats.Msg) { take(readPlaced(msg.Data)) })
	return err
}

// TellPlaced tells the sweepers what was queued.
func (w *Wire) TellPlaced(all []Placement) error {
	for _, text := range placedTexts(all) {
		if err := w.nc.Publish(subjectPlaced, text); err != nil {
			return err
		}
	}
	return nil
}

// Cancel tells all workers to abort a running job.
func (w *Wire) Cancel(id job.ID) error {
	if err := w.nc.Publish(SubjectCancel, []byte(id)); err != nil {
		return fmt.Errorf("telling workers of a cancelled job: %w", err)
	}
	return nil
}
