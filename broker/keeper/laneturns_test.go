package keeper_test

import (
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/keeper"
)

func TestIdleLanesYieldFirst(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ago := func(d time.Duration) *time.Time { at := now.Add(-d); return &at }
	info := func(name string, made time.Duration, edit func(*jetstream.ConsumerInfo)) *jetstream.ConsumerInfo {
		i := &jetstream.ConsumerInfo{Name: name, Created: *ago(made)}
		edit(i)
		return i
	}
	long := 10 * keeper.HeldTurn
	idle := info("idle", long, func(i *jetstream.ConsumerInfo) { i.Delivered.Last = ago(2 * keeper.LaneTurn) })
	longer := info("longer idle", long, func(i *jetstream.ConsumerInfo) { i.Delivered.Last = ago(3 * keeper.LaneTurn) })
	fresh := info("just served", long, func(i *jetstream.ConsumerInfo) { i.AckFloor.Last = ago(keeper.IdleTurn / 2) })
	left := info("left", long, func(i *jetstream.ConsumerInfo) { i.NumPending = 1 })
	asked := info("asked", long, func(i *jetstream.ConsumerInfo) { i.NumPending, i.NumWaiting = 1, 1 })
	working := info("working", long, func(i *jetstream.ConsumerInfo) { i.NumAckPending = 1 })
	begun := info("begun", keeper.HeldTurn-time.Second, func(i *jetstream.ConsumerInfo) { i.NumAckPending = 1 })
	for _, c := range []struct {
		name  string
		infos []*jetstream.ConsumerInfo
		n     int
		want  []string
		wait  time.Duration
	}{
		{"the longest idle first", []*jetstream.ConsumerInfo{working, asked, left, fresh, idle, longer}, 2, []string{"longer idle", "idle"}, 0},
		{"then those that no slot asks", []*jetstream.ConsumerInfo{working, asked, left, fresh}, 1, []string{"left"}, 0},
		{"then those that had their turn", []*jetstream.ConsumerInfo{working, asked, fresh}, 1, []string{"asked"}, 0},
		{"those with leases last", []*jetstream.ConsumerInfo{begun, working, asked}, 5, []string{"asked", "working"}, 0},
		{"no turn is over", []*jetstream.ConsumerInfo{begun, fresh}, 5, nil, keeper.IdleTurn / 2},
		{"another turn is over first", []*jetstream.ConsumerInfo{begun}, 5, nil, time.Second},
		{"nothing to take", nil, 1, nil, keeper.HeldTurn},
	} {
		names, wait := keeper.Yielding(c.infos, c.n, now)
		if !slices.Equal(names, c.want) || wait != c.wait {
			t.Errorf("%s: got %v, %s; want %v, %s", c.name, names, wait, c.want, c.wait)
		}
	}
}
