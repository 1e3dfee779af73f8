package intake

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
)

// Message is one leased message. Its lease ends with Ack or GiveBack, or by itself.
type Message struct {
	msg     *nats.Msg
	log     *slog.Logger
	arrived time.Time // monotonic
	leave   func()    // gives back the place that the message has in its intake; nil when it has none, or once called
}

// Subject is what the message was published on.
func (m *Message) Subject() string { return m.msg.Subject }

// Data is what it says.
func (m *Message) Data() []byte { return m.msg.Data }

// Header is the first value of a header; "" when there is none.
func (m *Message) Header(key string) string { return m.msg.Header.Get(key) }

// Age is for how long it has been leased.
func (m *Message) Age() time.Duration { return time.Since(m.arrived) }

// First reports whether the message was leased for the first time.
func (m *Message) First() bool {
	meta, err := m.msg.Metadata()
	return err == nil && meta.NumDelivered == 1
}

// Ack removes the message from its queue.
func (m *Message) Ack() { _ = m.settle("+ACK") }

// GiveBack ends the lease; another slot gets the message at once. The server remembers that only while it runs.
func (m *Message) GiveBack() { _ = m.settle("-NAK") }

// GiveBackIn ends the lease; no worker gets the message before d is over. The server writes that to disk where the queue is on
// disk, however short d is.
func (m *Message) GiveBackIn(d time.Duration) { _ = m.settle(fmt.Sprintf(`-NAK {"delay": %d}`, d)) }

// Extend makes the lease begin again.
func (m *Message) Extend() error { return m.settle("+WPI") }

// Leave gives back the place that the message has in its intake. It is to be called when the work is over; then the intake
// may lease more. A second call does nothing.
func (m *Message) Leave() {
	if m.leave != nil {
		m.leave()
		m.leave = nil
	}
}

// settle tells the server what becomes of the lease. Where that is lost the lease ends by itself.
func (m *Message) settle(verdict string) error {
	err := m.msg.Respond([]byte(verdict))
	if err != nil {
		m.log.Debug("settling a lease", "subject", m.msg.Subject, "verdict", verdict, "error", err)
	}
	return err
}
