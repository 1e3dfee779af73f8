package sweeper_test

import (
	"testing"
	"time"

	"headrace/broker/sweeper"
)

// A busy lane, which always has jobs that have just ended, is not searched again and again.
func TestBusyLaneIsNotSearchedAgainAndAgain(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var s sweeper.Shortage
	looks := 0
	for range 3600 {
		now = now.Add(time.Second)
		if s.Note(1, 0, now) {
			looks++
		}
	}
	if looks < 3 || looks > 8 {
		t.Errorf("looked %d times in an hour", looks)
	}
	now = now.Add(time.Second)
	if s.Note(0, 0, now) || !s.Oldest(now, 0).IsZero() {
		t.Error("a queue that holds enough is short")
	}
	if s.Note(1, 7, now) {
		t.Error("looked at once")
	}
	if before := now.Add(-time.Hour); !s.Oldest(before, 7).Equal(before) || !s.Oldest(time.Time{}, 7).Equal(now) || !s.Oldest(before, 8).IsZero() {
		t.Error("the oldest is wrong")
	}
}
