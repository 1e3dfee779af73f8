// Package learned keeps what was learned of one model server: how many calls it runs well at a time, and of each of its routes
// what calls cost, how large they should be, and whether rows may share one. Package batch has the mathematics; what is
// learned here decides nothing by itself.
//
// Nothing here locks: the desk of the model server guards it.
package learned

import (
	"time"

	"headrace/internal/inference"
	"headrace/worker/batch"
)

// Stored is what was learned of one model server, in a form that is stored.
type Stored struct {
	Slots  int                    `json:"slots,omitempty"` // 0: they are given
	Routes map[string]StoredRoute `json:"routes,omitempty"`
}

// StoredRoute is what was learned of one route.
type StoredRoute struct {
	Type  inference.Type   `json:"type"`
	Cost  batch.Snapshot   `json:"cost"`
	Proof batch.ProofState `json:"proof"`
}

// mergeFirst is how much of a model server's time goes to finding out what sharing calls gives, before other numbers of
// slots are tried: while one is, nothing is learned of costs, and sharing mostly gives more.
const mergeFirst = 4 * time.Second

// Server is what is known of one model server.
type Server struct {
	routes map[string]*Route
	served map[string]bool // routes that are in the table
	spent  batch.Spent
	slots  *batch.Slots // nil: their number is given
	width  int
	used   time.Duration // of mergeFirst
}

// NewServer begins with what is stored. slots is how many there are; where most is not 0 they are learned, from slots on up
// to most.
func NewServer(stored Stored, slots, most int) *Server {
	s := &Server{routes: make(map[string]*Route), width: slots}
	if most > 0 {
		s.slots = batch.NewSlots(max(stored.Slots, slots), most)
		s.width = s.slots.Width()
	}
	return s
}

// Serve makes the routes known, and forgets what was learned of one that asks another model now, or within other limits. What is learned of others stays, as calls of theirs may still run, but nothing follows from
// it for the slots.
func (s *Server) Serve(routes []*inference.Route, stored Stored) {
	s.served = make(map[string]bool, len(routes))
	for _, r := range routes {
		s.served[r.Name] = true
		if was := s.routes[r.Name]; was == nil || !was.holds(r) {
			s.routes[r.Name] = newRoute(r, stored.Routes[r.Name])
		}
	}
}

// Route is what is known of a route that was served; nil of any other.
func (s *Server) Route(name string) *Route { return s.routes[name] }

// Width is how many slots there are.
func (s *Server) Width() int { return s.width }

// Ahead is how many requests more than free slots can use show whether more slots would be filled; 0 where their number is
// given.
func (s *Server) Ahead(now time.Time) int {
	if s.slots == nil {
		return 0
	}
	return s.slots.Ahead(now)
}

// Trial says that another number of slots is on trial: how long a call takes says nothing of its cost.
func (s *Server) Trial() bool { return s.slots != nil && s.slots.Trial() }

// Want is how many requests one slot can use.
func (s *Server) Want(now time.Time) int {
	want := 1
	for name := range s.served {
		want = max(want, s.routes[name].want(now))
	}
	return want
}

// Done learns the number of slots from a call that was answered. filled says that requests waited for a slot.
func (s *Server) Done(rows int, took time.Duration, filled bool, now time.Time) {
	if s.slots == nil {
		return
	}
	s.slots.Done(rows, took, filled, s.settled(), now)
	s.used = min(s.used+took, mergeFirst)
	s.width = s.slots.Width()
}

// settled says that nothing else is being tried, nor should be before the number of slots.
func (s *Server) settled() bool {
	for name := range s.served {
		if r := s.routes[name]; !r.Learner.Settled() || s.used < mergeFirst && r.open() {
			return false
		}
	}
	return true
}

// Isolated takes note of a call that was made to isolate, of rows of a route, and of the rows that it found bad.
func (s *Server) Isolated(route string, rows int, took time.Duration, bad int) {
	r, now := s.routes[route], time.Now()
	if s.spent.Add(took, s.width, now) {
		r.Learner.Shrink(rows, now)
	}
	if bad > 0 {
		r.Learner.Bad(bad)
	}
	r.counts.Isolating++
}

// Slots is how many slots were learned, without any on trial; 0: their number is given.
func (s *Server) Slots() int {
	if s.slots == nil {
		return 0
	}
	return s.slots.Learned()
}

// Store is what to save. A proof holds for the model that it was made with, and another one may be served at the
// same address tomorrow: so proofs are made again by each process, and only the pause after a refutation is kept.
func (s *Server) Store() Stored {
	stored := Stored{Slots: s.Slots(), Routes: make(map[string]StoredRoute, len(s.routes))}
	for name, r := range s.routes {
		stored.Routes[name] = r.store()
	}
	return stored
}
