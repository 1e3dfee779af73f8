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

// The times of a turn.
const (
	LaneTurn = laneTurn
	IdleTurn = idleTurn
	HeldTurn = heldTurn
)
