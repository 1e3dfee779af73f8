package worker

import (
	"context"
	"maps"
	"slices"
	"time"

	"headrace/internal/inference"
)

// What tests need of the inside. Nothing here is in a binary.

// Planned is one pool of a plan.
type Planned struct {
	Slots  int
	Routes []string
}

// Plan groups a table's routes by model server.
func Plan(table *inference.Table, filter Filter) map[string]Planned {
	out := make(map[string]Planned)
	for key, s := range plan(table, filter) {
		p := Planned{Slots: s.slots}
		for _, r := range s.routes {
			p.Routes = append(p.Routes, r.Name)
		}
		out[key] = p
	}
	return out
}

// Announcement is what a worker with table's pools tells front ends.
func Announcement(table *inference.Table) map[string]int { return announcement(plan(table, Filter{})) }

// Diff names the pools that start, are updated and stop.
func Diff(old, next *inference.Table) (start, update, stop []string) {
	c := diff(plan(old, Filter{}), plan(next, Filter{}))
	for _, s := range c.start {
		start = append(start, s.key)
	}
	for _, s := range c.update {
		update = append(update, s.key)
	}
	return start, update, c.stop
}

// Hold is how long a slot stays taken after a call that failed with err, when earlier ones took times.
func Hold(ctx context.Context, err error, took time.Duration, times ...time.Duration) time.Duration {
	var r recent
	for _, d := range times {
		r.add(d)
	}
	return r.stillComputing(ctx, err, took)
}

// Pools lists the model servers that have a pool.
func (w *Worker) Pools() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.pools))
}

// Parts is how many bytes of answers to parts of lists a worker holds.
func Parts(w *Worker) int64 { return w.parts.Held() }
