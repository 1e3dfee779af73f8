package worker

import (
	"maps"
	"slices"
	"strings"

	"headrace/internal/inference"
)

// Filter says which routes of the table a worker serves. Empty lists let everything pass.
type Filter struct {
	Providers []string
	Routes    []string
}

// Admits says whether a worker with this filter serves a route.
func (f Filter) Admits(r *inference.Route) bool {
	return (len(f.Providers) == 0 || slices.Contains(f.Providers, r.Provider)) &&
		(len(f.Routes) == 0 || slices.Contains(f.Routes, r.Name))
}

// spec is one pool as a table wants it: a model server and the routes that share its slots.
type spec struct {
	key    string // it may hold secrets
	shown  string // the key as a log may show it
	slots  int
	learn  bool // slots is where to begin
	routes []*inference.Route
}

// replicas is how many addresses the model server has.
func (s *spec) replicas() int { return 1 + strings.Count(s.key, " ") }

// serverKey names a model server: its replicas, whatever their order. Trailing slashes do not matter.
func serverKey(urls []string) string {
	trimmed := make([]string, len(urls))
	for i, u := range urls {
		trimmed[i] = strings.TrimRight(u, "/")
	}
	slices.Sort(trimmed)
	return strings.Join(slices.Compact(trimmed), " ")
}

// publicServers lists the addresses of a model server as a log may show them.
func publicServers(urls []string) string {
	public := make([]string, len(urls))
	for i, u := range urls {
		public[i] = inference.PublicAddress(u)
	}
	return strings.Join(public, " ")
}

// plan groups the admitted routes of a table by model server. When routes of one server ask for different
// numbers of slots, the largest counts; they are learned where no route asks for a number. Each replica brings its
// own slots.
func plan(table *inference.Table, filter Filter) map[string]spec {
	pools := make(map[string]spec)
	for r := range table.All() {
		if !filter.Admits(r) {
			continue
		}
		key := serverKey(r.Servers)
		s, shared := pools[key]
		s.learn = r.LearnSlots && (s.learn || !shared)
		s.key, s.shown = key, publicServers(r.Servers)
		s.slots = max(s.slots, r.Slots*(1+strings.Count(key, " ")))
		s.routes = append(s.routes, r)
		pools[key] = s
	}
	return pools
}

// announcement is what a worker with these pools tells front ends.
func announcement(pools map[string]spec) map[string]int {
	slots := make(map[string]int)
	for _, s := range pools {
		for _, r := range s.routes {
			slots[r.Name] = s.slots
		}
	}
	return slots
}

// change is what must happen to get from one set of pools to another.
type change struct {
	start, update []spec
	stop          []string
}

// diff compares two plans. A pool whose number of slots changes is replaced; one whose routes change keeps
// its slots and whatever runs in them.
func diff(old, next map[string]spec) change {
	var c change
	for _, key := range slices.Sorted(maps.Keys(next)) {
		was, exists := old[key]
		switch {
		case !exists:
			c.start = append(c.start, next[key])
		case was.slots != next[key].slots || was.learn != next[key].learn:
			c.stop = append(c.stop, key)
			c.start = append(c.start, next[key])
		case !slices.Equal(was.routes, next[key].routes):
			c.update = append(c.update, next[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(old)) {
		if _, stays := next[key]; !stays {
			c.stop = append(c.stop, key)
		}
	}
	return c
}
