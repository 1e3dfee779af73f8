package keeper

import (
	"cmp"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// laneTurn is how long a lane may keep its consumer when other lanes wait for one.
	laneTurn = time.Second
	// idleTurn is the turn of a lane in which nothing waits, from its last message on.
	idleTurn = laneTurn / 4
	// heldTurn is the turn of a lane with leases: losing its consumer costs its jobs a second look.
	heldTurn = 5 * time.Second
)

// laneUse says how a lane uses its consumer, from the one that misses it least.
type laneUse int

const (
	laneIdle    laneUse = iota // nothing waits
	laneLeft                   // something waits and no slot asks: paused, without a worker, or busy
	laneAsked                  // slots ask for what waits
	laneWorking                // messages are leased
)

// holder is a lane whose consumer may have to make room.
type holder struct {
	name  string
	use   laneUse
	since time.Time // idle: of the last message; else of its making
}

func holderOf(info *jetstream.ConsumerInfo) holder {
	h := holder{name: info.Name, since: info.Created}
	switch {
	case info.NumAckPending > 0:
		h.use = laneWorking
	case info.NumPending > 0 && info.NumWaiting > 0:
		h.use = laneAsked
	case info.NumPending > 0:
		h.use = laneLeft
	default:
		for _, last := range []*time.Time{info.Delivered.Last, info.AckFloor.Last} {
			if last != nil && last.After(h.since) {
				h.since = *last
			}
		}
	}
	return h
}

// over returns when the holder's turn ends.
func (h holder) over() time.Time {
	switch h.use {
	case laneIdle:
		return h.since.Add(idleTurn)
	case laneWorking:
		return h.since.Add(heldTurn)
	case laneLeft, laneAsked:
	}
	return h.since.Add(laneTurn)
}

// yielding returns up to n of holders, by name, that give up their consumers: first idle ones, the longest idle before the
// others, then those whose turn has been the longest. When there is none, wait is how long the next one's turn lasts.
func yielding(holders []holder, n int, now time.Time) (names []string, wait time.Duration) {
	slices.SortStableFunc(holders, func(a, b holder) int {
		return cmp.Or(cmp.Compare(a.use, b.use), a.since.Compare(b.since))
	})
	wait = heldTurn
	for _, h := range holders {
		switch left := h.over().Sub(now); {
		case left > 0:
			wait = min(wait, left)
		case len(names) < n:
			names = append(names, h.name)
		}
	}
	if len(names) > 0 {
		wait = 0
	}
	return names, wait
}
