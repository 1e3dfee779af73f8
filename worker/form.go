package worker

import (
	"slices"
	"time"

	"headrace/worker/batch"
)

// form chooses what goes out next, out of what waits. It must be called with the desk's mu held.
func (d *desk) form(now time.Time) *load {
	d.waiting = slices.DeleteFunc(d.waiting, func(r *request) bool { return r.over() })
	d.cut(now)
	d.sweep(now)
	if len(d.waiting) == 0 {
		return nil
	}
	items := make([]batch.Item, len(d.waiting))
	for i, r := range d.waiting {
		items[i] = r.itemFor(d.routeOf(r))
	}
	b := d.former.Form(items, now)
	head := d.waiting[b.Members[0]]
	if l := d.probe(head, now); l != nil {
		return l
	}
	g := &pending{requests: slices.Clone(d.waiting), items: items, batch: b, began: now, rows: b.Load.Rows}
	if !items[b.Members[0]].Solo {
		if wait := d.patience(g, now); wait > 0 {
			g.until = now.Add(wait)
			d.pending = g
			d.wake(wait)
			return nil
		}
	}
	return d.load(g, now)
}

// cut makes lists of long requests, and puts a part of each list in line that has none there. It must be called with
// the desk's mu held.
func (d *desk) cut(now time.Time) {
	d.waiting = slices.DeleteFunc(d.waiting, func(r *request) bool {
		if !r.long(d.routeOf(r), now) {
			return false
		}
		cut := batch.NewList(lengthsOf(r.rows.Values), d.routeOf(r).Learner, now)
		d.lists = append(d.lists, d.listed(r, cut))
		return true
	})
	for _, x := range d.lists {
		if r := x.next(d.routeOf(x.whole).Learner, now); r != nil {
			d.waiting = append(d.waiting, r)
		}
	}
	d.lists = nil
}

// sweep takes out of line what cannot be answered in its time any more, so that no slot is spent on it. It looks at
// requests whose cost is learned, and never at jobs: one that is late is repeated. It must be called with the desk's mu
// held.
func (d *desk) sweep(now time.Time) {
	if len(d.waiting) < 2 {
		return
	}
	var some []*request
	var items []batch.Item
	for _, r := range d.waiting {
		if r.merges && !r.alone && r.item.Kind == batch.Call {
			some, items = append(some, r), append(items, r.itemFor(d.routeOf(r)))
		}
	}
	for _, i := range batch.Sweep(items, d.former.Learner, now).Hopeless {
		d.hopeless = append(d.hopeless, some[i])
		d.waiting = slices.DeleteFunc(d.waiting, func(r *request) bool { return r == some[i] })
	}
}

// dropped gives what sweep took out of line, to be ended.
func (d *desk) dropped() []*request {
	d.mu.Lock()
	defer d.mu.Unlock()
	some := d.hopeless
	d.hopeless = nil
	return some
}

// patience is how long a batch waits for the next arrival.
func (d *desk) patience(g *pending, now time.Time) time.Duration {
	m := batch.Moment{Load: g.batch.Load, Limit: g.batch.Limit, First: g.items[g.batch.Members[0]].Arrival}
	if d.pending == g {
		m.Began = g.began
	}
	for _, i := range g.batch.Members {
		if due := g.items[i].Deadline; !due.IsZero() {
			slack := max(due.Sub(now)-g.batch.Expected, 1)
			if m.Slack == 0 || slack < m.Slack {
				m.Slack = slack
			}
		}
	}
	return d.gather.Wait(m, d.known.Route(g.items[g.batch.Members[0]].Key.Route).Learner.Cost(), now, d.random())
}

// gathered ends the waiting of a batch. Where rows have been found to depend on each other since it began, what was gathered is
// not sent together.
func (d *desk) gathered(g *pending, now time.Time) *load {
	d.pending = nil
	route := d.known.Route(g.items[g.batch.Members[0]].Key.Route)
	d.gather.Report(g.rows, g.batch.Load.Rows, now.Sub(g.began), route.Learner.Cost())
	if route.Proof.May() {
		if l := d.load(g, now); l != nil {
			return l
		}
	}
	return d.form(now)
}

// load makes a load of a batch; nil when all its members have ended by then.
func (d *desk) load(g *pending, now time.Time) *load {
	l := &load{batch: g.batch, gathered: now.Sub(g.began)}
	route := d.known.Route(g.items[g.batch.Members[0]].Key.Route)
	l.batch.Members, l.batch.Load, l.batch.Bytes = nil, batch.Load{}, 0
	for _, i := range g.batch.Members {
		if g.requests[i].over() {
			continue
		}
		l.requests = append(l.requests, g.requests[i])
		l.batch.Members = append(l.batch.Members, i)
		l.batch.Load = batch.Load{Rows: l.batch.Load.Rows + g.items[i].Rows, Length: max(l.batch.Load.Length, g.items[i].Length)}
		l.batch.Bytes += g.items[i].Bytes
	}
	if len(l.requests) == 0 {
		return nil
	}
	d.former.Fair.Sent(g.items, &l.batch, route.Learner.Cost())
	l.shadow = len(l.requests) > 1 && route.Proof.Shadow(d.random())
	return l
}

// probe gives the head and up to three others as a probe, when one is due.
func (d *desk) probe(head *request, now time.Time) *load {
	route := d.routeOf(head)
	if !head.probes() || route.Proof.May() {
		return nil
	}
	l := &load{probe: true, requests: []*request{head}}
	for _, r := range d.waiting {
		if r != head && r.probes() && r.item.Key == head.item.Key && len(l.requests) < batch.ProbeMembers {
			l.requests = append(l.requests, r)
		}
	}
	if len(l.requests) < 2 || !route.Proof.Probe(now) {
		return nil
	}
	for _, r := range l.requests {
		l.batch.Load = batch.Load{Rows: l.batch.Load.Rows + r.item.Rows, Length: max(l.batch.Load.Length, r.item.Length)}
	}
	return l
}
