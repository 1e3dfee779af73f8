package keeper

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// What tests of the inside need.

// Yielding gives the consumers that make room for n others, and how long to wait when there are none.
func Yielding(infos []*jetstream.ConsumerInfo, n int, now time.Time) ([]string, time.Duration) {
	holders := make([]holder, 0, len(infos))
	for _, info := range infos {
		holders = append(holders, holderOf(info))
	}
	return yielding(holders, n, now)
}

// Decide is how a stream should be; see decide.
func Decide(is, should jetstream.StreamConfig, since time.Time) (config jetstream.StreamConfig, change, theirs bool) {
	d := decide(is, should, since)
	return d.config, d.change, d.theirs
}

// Silence is what a keeper knows of silent streams.
type Silence struct{ silence }

// NewSilence knows of none.
func NewSilence() Silence { return Silence{make(silence)} }

// Met, Recent and Heard are those of silence.
func (s Silence) Met(config *jetstream.StreamConfig, now time.Time, err error) (lost bool) {
	return s.met(config, now, err)
}

// Recent is explained with Met.
func (s Silence) Recent(stream string, now time.Time) error { return s.recent(stream, now) }

// Heard is explained with Met.
func (s Silence) Heard(stream string) { s.heard(stream) }

// The times of silence.
const (
	LostAlone    = lostAlone
	LostTogether = lostTogether
)

// The times of a turn.
const (
	LaneTurn = laneTurn
	IdleTurn = idleTurn
	HeldTurn = heldTurn
)
