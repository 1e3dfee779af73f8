package broker_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker"
	"headrace/internal/job"
)

// A job's place in the queue is checked ten seconds after its record was written, unless a front end has said of just this
// record that it is queued.
func TestPlacedIsNotChecked(t *testing.T) {
	t.Parallel()
	now := time.Now()
	deadline := now.Add(time.Hour)
	for name, c := range map[string]struct {
		told    string // of the job "a", whose record has the number 7
		checked bool
	}{
		"nobody says a word":        {"", true},
		"it is queued":              {"a 7\n", false},
		"it was queued before":      {"a 6\n", true},
		"another one is queued":     {"b 7\n", true},
		"among others":              {"b 1\na 7\nc 9\n", false},
		"the word cannot be read":   {"a 7\nx\n", true},
		"the number cannot be read": {"a seven\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := broker.NewSweeper(broker.Dial{URL: "nats://127.0.0.1:4222"}, nil, nil, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			s.Learn(&job.Record{ID: "a", State: job.Queued, Revision: 7, Provider: "p", Route: "r", Priority: job.Standard}, deadline, now)
			s.Placed([]byte(c.told))
			if id := s.Next(now.Add(9 * time.Second)); id != "" {
				t.Errorf("job %q is checked at once", id)
			}
			if id := s.Next(now.Add(11 * time.Second)); (id == "a") != c.checked {
				t.Errorf("%q is checked", id)
			}
			if c.checked {
				return
			}
			if id := s.Next(deadline.Add(time.Second)); id != "a" {
				t.Errorf("its deadline is nobody's any more: %q is due", id)
			}
		})
	}
}

// What is told about a record that was written again meanwhile says nothing: the job may have left the queue and come back.
func TestPlacedOfAnEarlierRun(t *testing.T) {
	t.Parallel()
	s, err := broker.NewSweeper(broker.Dial{URL: "nats://127.0.0.1:4222"}, nil, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	r := &job.Record{ID: "a", Provider: "p", Route: "r", Priority: job.Standard}
	for n, state := range []job.State{job.Queued, job.Running, job.Retrying, job.Queued} {
		r.State, r.Revision = state, uint64(n+1)
		s.Learn(r, now.Add(time.Hour), now)
	}
	s.Placed([]byte("a 1\n"))
	if id := s.Next(now.Add(11 * time.Second)); id != "a" {
		t.Errorf("%q is checked", id)
	}
}

// A front end tells what it has accepted.
func TestPlacedIsTold(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, inProcess)
	nc, err := nats.Connect("", r.server.InProcess())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	told, err := nc.SubscribeSync(broker.SubjectPlaced)
	if err != nil {
		t.Fatal(err)
	}
	first := r.accept(r.record(), `"a"`) // which makes the streams, and may have to be asked for again meanwhile
	second := r.record()
	for broker.JobShard(string(second.ID)) != broker.JobShard(string(first.ID)) {
		second.ID = job.NewID(time.Now())
	}
	r.accept(second, `"b"`)
	want := fmt.Sprintf("%s %d\n", second.ID, second.Revision)
	for {
		msg, err := told.NextMsg(20 * time.Second)
		if err != nil {
			t.Fatalf("%q is not told: %v", want, err)
		}
		if bytes.Contains(msg.Data, []byte(want)) {
			return
		}
	}
}

func TestPlacements(t *testing.T) {
	t.Parallel()
	var p broker.Placements
	take := func() string { return string(bytes.Join(p.Take(), []byte("|"))) }
	p.Add("a", 1)
	if got := take(); got != "" {
		t.Errorf("%q is told before the sweeper can have read the record", got)
	}
	p.Add("b", 2)
	for _, want := range []string{"a 1\n", "b 2\n", ""} {
		if got := take(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	p.Add("c", 3)
	_ = take()
	p.Add("d", 4)
	p.Forget()
	if got := take() + take(); got != "" {
		t.Errorf("%q is told after the broker was away", got)
	}
	for n := range broker.MaxPlaced + 10 {
		p.Add(job.ID(fmt.Sprintf("job-%d", n)), uint64(n))
	}
	_ = take()
	lines := 0
	for _, text := range p.Take() {
		if len(text) > 300<<10 {
			t.Errorf("a message of %d bytes", len(text))
		}
		lines += bytes.Count(text, []byte("\n"))
	}
	if lines != broker.MaxPlaced {
		t.Errorf("%d are remembered, the limit is %d", lines, broker.MaxPlaced)
	}
}

func FuzzPlaced(f *testing.F) {
	f.Add([]byte("a 1\nb 18446744073709551615\n"))
	f.Add([]byte("a  1\n"))
	f.Add([]byte("a 01\n \n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		again, err := broker.ReadPlaced(text)
		if err != nil {
			return
		}
		said := bytes.Join(again, nil)
		third, err := broker.ReadPlaced(said)
		if err != nil || !bytes.Equal(bytes.Join(third, nil), said) {
			t.Errorf("%q is read as %q, that as %q: %v", text, said, third, err)
		}
	})
}
