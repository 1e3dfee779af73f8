package keeper_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/keeper"
)

func TestTheLastBrokerRoleDecides(t *testing.T) {
	t.Parallel()
	early, late := time.UnixMilli(1_000), time.UnixMilli(2_000)
	config := func(bytes int64, age time.Duration) jetstream.StreamConfig {
		return jetstream.StreamConfig{Name: "S", MaxBytes: bytes, MaxAge: age, Replicas: 1}
	}
	made := func(bytes int64, age time.Duration, since time.Time) jetstream.StreamConfig {
		config, _, _ := keeper.Decide(jetstream.StreamConfig{}, config(bytes, age), since)
		return config
	}
	for _, c := range []struct {
		name           string
		is             jetstream.StreamConfig
		bytes          int64
		age            time.Duration
		since          time.Time
		wantBytes      int64
		wantAge        time.Duration
		change, theirs bool
	}{
		{"as it should be", made(10, time.Minute, early), 10, time.Minute, late, 10, time.Minute, false, false},
		{"the later one decides", made(10, time.Minute, early), 5, time.Minute, late, 5, time.Minute, true, false},
		{"the earlier one does not", made(10, time.Minute, late), 5, time.Minute, early, 10, time.Minute, false, true},
		{"its own are changed", made(10, time.Minute, early), 5, time.Minute, early, 5, time.Minute, true, false},
		{"of another version", config(10, time.Minute), 5, time.Minute, early, 5, time.Minute, true, false},
		{"never kept for a shorter time", made(10, time.Minute, early), 10, time.Second, late, 10, time.Minute, false, false},
		{"also with other changes", made(10, time.Minute, early), 5, time.Second, late, 5, time.Minute, true, false},
		{"kept for longer by the earlier one, too", made(10, time.Minute, late), 5, time.Hour, early, 10, time.Hour, true, true},
	} {
		got, change, theirs := keeper.Decide(c.is, config(c.bytes, c.age), c.since)
		if got.MaxBytes != c.wantBytes || got.MaxAge != c.wantAge || change != c.change || theirs != c.theirs {
			t.Errorf("%s: got %d bytes, %s, change %t, theirs %t", c.name, got.MaxBytes, got.MaxAge, change, theirs)
		}
		if again, change, _ := keeper.Decide(got, config(c.bytes, c.age), c.since); change {
			t.Errorf("%s: it is changed again, to %+v", c.name, again)
		}
	}
}

func TestSilentStreams(t *testing.T) {
	t.Parallel()
	began, silent := time.Now(), errors.New("silent")
	for _, c := range []struct {
		name   string
		config jetstream.StreamConfig
		after  time.Duration
		lost   bool
	}{
		{"one copy, at once", jetstream.StreamConfig{Replicas: 1, Storage: jetstream.MemoryStorage}, 0, false},
		{"one copy, later", jetstream.StreamConfig{Replicas: 1, Storage: jetstream.MemoryStorage}, keeper.LostAlone, true},
		{"several copies elect a leader", jetstream.StreamConfig{Replicas: 3, Storage: jetstream.MemoryStorage}, keeper.LostAlone, false},
		{"several copies, much later", jetstream.StreamConfig{Replicas: 3, Storage: jetstream.MemoryStorage}, keeper.LostTogether, true},
		{"on disk it may come back", jetstream.StreamConfig{Replicas: 1, Storage: jetstream.FileStorage}, time.Hour, false},
	} {
		s := keeper.NewSilence()
		s.Met(&c.config, began, silent)
		if lost := s.Met(&c.config, began.Add(c.after), silent); lost != c.lost {
			t.Errorf("%s: lost is %t", c.name, lost)
		}
		if err := s.Recent(c.config.Name, began.Add(c.after)); !errors.Is(err, silent) {
			t.Errorf("%s: a moment later it is asked about again: %v", c.name, err)
		}
		if err := s.Recent(c.config.Name, began.Add(c.after+time.Minute)); err != nil {
			t.Errorf("%s: a minute later it is not asked about: %v", c.name, err)
		}
		s.Heard(c.config.Name)
		if s.Met(&c.config, began.Add(2*time.Hour), silent) {
			t.Errorf("%s: it counts as lost at its first silence", c.name)
		}
	}
}
