package intake_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"headrace/broker/intake"
	"headrace/broker/link"
	"headrace/internal/inference"
	"headrace/internal/job"
	"headrace/internal/lease"
)

// kind makes one lane for each priority, or one that callers wait for. Its messages are whole when they say "whole".
type kind struct {
	background bool
	room       func(int) int
}

func (k kind) Lanes(route *inference.Route) (all []intake.Lane) {
	if !k.background {
		return []intake.Lane{lane{k, intake.Queue{Route: route.Name, Wish: link.Wish{Consumer: route.Name}}}}
	}
	for _, p := range job.Priorities() {
		q := intake.Queue{Route: route.Name, Background: true, Priority: p, Wish: link.Wish{Consumer: route.Name + "-" + string(p)}}
		all = append(all, lane{k, q})
	}
	return all
}

func (kind) Run(ctx context.Context, _ *intake.Line, begun func()) error {
	begun()
	<-ctx.Done()
	return nil
}

func (kind) Reconnected() {}

func (kind) Leaving() {}

type lane struct {
	kind

	queue intake.Queue
}

func (l lane) Queue() intake.Queue { return l.queue }

func (l lane) Open(m *intake.Message) (lease.Delivery, error) {
	if string(m.Data()) != "whole" {
		return nil, errors.New("not whole")
	}
	return delivery{m, l.queue.Route}, nil
}

func (lane) Held(time.Time) bool { return false }

func (l lane) Room(n int) int {
	if l.room != nil {
		return l.room(n)
	}
	return n
}

func (lane) Standing(n, _ int) int { return n }

type delivery struct {
	message *intake.Message
	route   string
}

func (d delivery) Route() string { return d.route }

func (d delivery) Return() { d.message.GiveBack() }

func (delivery) Claim(context.Context) (context.Context, lease.Claim, error) {
	return nil, nil, lease.ErrGone
}

func route(name string) *inference.Route {
	return &inference.Route{Name: name, Type: inference.Embeddings, Provider: "p", Slots: 1}
}

// Lanes with waiting callers come first in four turns of five; priorities have 8, 3 and 1 of twelve turns.
func TestTurns(t *testing.T) {
	t.Parallel()
	routes := []*inference.Route{route("a"), route("b")}
	first := make(map[string]int)
	for _, order := range intake.Order(60, routes, kind{}, kind{background: true}) {
		if len(order) != 8 {
			t.Fatalf("%d of 8 lanes are asked: %v", len(order), order)
		}
		first[order[0]]++
	}
	if first["a"] != 48 {
		t.Errorf("callers came first in %d of 60 turns, want 48: %v", first["a"], first)
	}
	favourites := make(map[job.Priority]int)
	for turn := range 12 {
		favourites[intake.Favourite(turn)]++
	}
	want := map[job.Priority]int{job.Interactive: 8, job.Standard: 3, job.Batch: 1}
	if !maps.Equal(favourites, want) {
		t.Errorf("turns %v, want %v", favourites, want)
	}
}

// Each priority is asked in each turn, the favourite first, so that none starves.
func TestEveryPriorityIsAsked(t *testing.T) {
	t.Parallel()
	for i, order := range intake.Order(12, []*inference.Route{route("a")}, kind{background: true}) {
		if want := "a-" + string(intake.Favourite(i+1)); order[0] != want {
			t.Errorf("turn %d begins with %s, want %s", i+1, order[0], want)
		}
		if slices.Sort(order); !slices.Equal(order, []string{"a-batch", "a-interactive", "a-standard"}) {
			t.Errorf("turn %d asks %v", i+1, order)
		}
	}
}

// Background work has all slots but one until its room is told; then that room, within a multiple of the slots.
func TestRoomForBackgroundWork(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ most, room, jobs, want int }{
		{most: 4, room: -1, jobs: 0, want: 3},
		{most: 4, room: -1, jobs: 3, want: 0},
		{most: 1, room: -1, jobs: 0, want: 1},
		{most: 4, room: 0, jobs: 0, want: 0},
		{most: 4, room: 2, jobs: 9, want: 2},
		{most: 4, room: 4, jobs: 15, want: 1},
		{most: 4, room: 4, jobs: 16, want: 0},
	} {
		if got := intake.Room(kind{background: true}, route("a"), c.most, c.room, c.jobs); got != c.want {
			t.Errorf("%+v: room for %d", c, got)
		}
	}
	full := kind{background: true, room: func(int) int { return 0 }}
	if got := intake.Room(full, route("a"), 4, 4, 0); got != 0 {
		t.Errorf("a lane without room has room for %d", got)
	}
}

// Whatever a pull brings, it accepts whole messages only, and never believes to have more coming than it
// asked for.
func FuzzPulled(f *testing.F) {
	f.Add(3, "", "", []byte("whole"))
	f.Add(0, "0", "", []byte("whole")) // no slot is free: it goes back
	f.Add(1, "", "", []byte("junk"))
	for _, status := range []string{"100", "404", "408", "409", "503", "abc"} {
		f.Add(5, status, "2", []byte(nil))
		f.Add(5, status, "-7", []byte(nil))
		f.Add(5, status, "99999999999999999999", []byte(nil))
	}
	f.Fuzz(func(t *testing.T, credit int, status, pending string, data []byte) {
		if credit < 0 {
			return
		}
		w, err := intake.NewLoose(kind{}, route("solo"))
		if err != nil {
			t.Fatal(err)
		}
		header := map[string]string{"Nats-Pending-Messages": pending}
		if status != "" {
			header["Status"] = status
		}
		left, accepted := w.Pulled(credit, header, data)
		if left < 0 || left > credit {
			t.Fatalf("of %d messages %d are to come after %q %q", credit, left, status, pending)
		}
		if want := string(data) == "whole" && credit > 0; (accepted == 1) != want {
			t.Fatalf("accepted %d of %q", accepted, data)
		}
	})
}

func FuzzPresence(f *testing.F) {
	f.Add([]byte(`{"worker":"W","routes":{"a":4,"b":0}}`), []byte(`{"worker":"W","routes":{"b":1}}`))
	f.Add([]byte(`{"worker":"W","routes":null}`), []byte(`{"worker":"W","leaving":true}`))
	f.Add([]byte(`{"worker":"","routes":{"a":1}}`), []byte(`{"worker":"V","routes":{"a":-3}}`))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		roster, now := intake.NewRoster(), time.Now()
		for _, data := range [][]byte{first, second} {
			p, err := intake.ReadPresence(data)
			if err != nil {
				continue
			}
			if p.Worker == "" || len(p.Worker)+len(p.Routes) > len(data) {
				t.Fatalf("accepted %q as worker %q with %d routes", data, p.Worker, len(p.Routes))
			}
			roster.Note(p, now)
			for name := range maps.Keys(p.Routes) {
				if n, _, _ := roster.Serves(name); !p.Leaving && n == 0 {
					t.Fatalf("%q is announced and has no worker", name)
				}
			}
		}
		workers, routes := roster.Size()
		if workers > 2 || routes > len(first)+len(second) {
			t.Fatalf("%d workers, %d routes", workers, routes)
		}
		roster.Expire(now.Add(time.Hour))
		if workers, routes := roster.Size(); workers+routes != 0 {
			t.Fatalf("%d workers and %d routes stay for ever", workers, routes)
		}
	})
}
