package brokertest

import (
	"context"
	"errors"
	"sync"
	"time"

	"headrace/broker/records"
	"headrace/internal/job"
)

// ErrFault is what a Fake returns where Break says so.
var ErrFault = errors.New("the store fails")

// Broken says when an operation of a Fake fails: before it did what it should, or after.
type Broken int

// The ways to fail. The caller cannot tell them apart.
const (
	Works Broken = iota
	NotDone
	Done
)

// Breaks decides whether an operation of a Fake fails, with ErrFault, or with err when it is not nil. It may be called by several
// goroutines at a time.
type Breaks func(operation string, id job.ID) (how Broken, err error)

// Fake is a store of jobs in memory that fails on command. It has what desks and sweepers need of a records.Archive, and runs in
// a bubble of testing/synctest. Its zero value is ready.
type Fake struct {
	mu      sync.Mutex
	broken  Breaks
	last    uint64
	stored  map[job.ID]*job.Record
	queued  map[job.ID]records.LaneName
	readers map[string][]chan *records.News
	events  []func(records.Event)
	reports []*records.Report
	calls   map[string]int
	placed  func([]records.Placement, error)
	asked   func()
	pruned  map[uint64]bool
	dropped int
}

// do counts an operation and does it, if it is to be done.
func (f *Fake) do(operation string, id job.ID, work func() error) error {
	f.mu.Lock()
	if f.calls == nil {
		f.calls, f.stored, f.queued = make(map[string]int), make(map[job.ID]*job.Record), make(map[job.ID]records.LaneName)
		f.readers, f.pruned = make(map[string][]chan *records.News), make(map[uint64]bool)
	}
	f.calls[operation]++
	broken := f.broken
	f.mu.Unlock()
	how, wrong := Works, ErrFault
	if broken != nil {
		var err error
		if how, err = broken(operation, id); err != nil {
			wrong = err
		}
	}
	if how == NotDone {
		return wrong
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := work(); err != nil {
		return err
	}
	if how == Done {
		return wrong
	}
	return nil
}

// Break decides from now on what fails; nil = nothing does.
func (f *Fake) Break(broken Breaks) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = broken
}

// Calls returns how often an operation was called.
func (f *Fake) Calls(operation string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[operation]
}

// Now returns a job's record; nil when there is none.
func (f *Fake) Now(id job.ID) *job.Record {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := f.stored[id]; r != nil {
		return r.Clone()
	}
	return nil
}

// Queued reports whether a job is in its queue.
func (f *Fake) Queued(id job.ID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.queued[id]
	return ok
}

// TakeOut makes a queue's entry disappear.
func (f *Fake) TakeOut(id job.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.queued, id)
}

// LastReport is what was told last; nil when nothing was.
func (f *Fake) LastReport() *records.Report {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.reports) == 0 {
		return nil
	}
	return f.reports[len(f.reports)-1]
}

// Get is part of the store.
func (f *Fake) Get(_ context.Context, id job.ID) (r *job.Record, err error) {
	err = f.do("get", id, func() error {
		if f.stored[id] == nil {
			return records.ErrNoJob
		}
		r = f.stored[id].Clone()
		return nil
	})
	return r, err
}

// Put is part of the store.
func (f *Fake) Put(_ context.Context, r *job.Record, _ time.Time) error {
	return f.do("put", r.ID, func() error {
		if was := f.stored[r.ID]; was != nil && was.Revision != r.Revision || was == nil && r.Revision != 0 {
			return records.ErrConflict
		}
		f.last++
		r.Revision = f.last
		f.stored[r.ID] = r.Clone()
		n := news(r)
		for _, reader := range f.readers[n.Shard] {
			reader <- n
		}
		for _, take := range f.events {
			go take(records.Event{ID: r.ID, State: r.State, Revision: r.Revision})
		}
		return nil
	})
}

func news(r *job.Record) *records.News {
	n := &records.News{
		ID: r.ID, State: r.State, Lane: records.LaneNameOf(r), Shard: records.ShardOf(string(r.ID)), Revision: r.Revision, At: time.Now(),
	}
	if due := r.Due(); !due.IsZero() {
		n.Due = records.InstantOf(due)
	}
	return n
}

// Change is part of the store.
func (f *Fake) Change(ctx context.Context, id job.ID, move func(*job.Record, time.Time) (bool, error)) (*job.Record, error) {
	r, err := f.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if same, err := move(r, time.Now()); err != nil || same {
		return r, err
	}
	return r, f.Put(ctx, r, time.Now())
}

// Settle is part of the store.
func (f *Fake) Settle(_ context.Context, r *job.Record) error {
	return f.do("settle", r.ID, func() error { return nil })
}

// Shown is part of the store.
func (f *Fake) Shown(_ context.Context, r *job.Record) error {
	return f.do("shown", r.ID, func() error { return nil })
}

// Enqueue is part of the store.
func (f *Fake) Enqueue(_ context.Context, r *job.Record) error {
	return f.do("enqueue", r.ID, func() error {
		f.queued[r.ID] = records.LaneNameOf(r)
		return nil
	})
}

// Unqueue is part of the store.
func (f *Fake) Unqueue(_ context.Context, r *job.Record) error {
	return f.do("unqueue", r.ID, func() error {
		delete(f.queued, r.ID)
		return nil
	})
}

// IsPlaced is part of the store.
func (f *Fake) IsPlaced(_ context.Context, lane records.LaneName, id job.ID) (is bool, err error) {
	err = f.do("placed", id, func() error {
		is = f.queued[id] == lane
		return nil
	})
	return is, err
}

// Held is part of the queues.
func (f *Fake) Held(_ context.Context, lane records.LaneName) (held records.Held, err error) {
	err = f.do("held", "", func() error {
		for _, at := range f.queued {
			if at == lane {
				held.Jobs++
			}
		}
		return nil
	})
	return held, err
}

// Next is part of the queues. No job is next.
func (f *Fake) Next(context.Context, records.LaneName, uint64, uint64) (number uint64, queued time.Time, ok bool, err error) {
	return 0, queued, false, nil
}

// Leftovers is part of the queues. There are none.
func (f *Fake) Leftovers(context.Context, int, records.Known) error {
	return nil
}

// Follow is part of the journal.
func (f *Fake) Follow(ctx context.Context, shard string, to records.Reader) error {
	all := make(chan *records.News, 1000)
	if err := f.do("follow", "", func() error {
		for _, r := range f.stored {
			if n := news(r); n.Shard == shard {
				all <- n
			}
		}
		f.readers[shard] = append(f.readers[shard], all)
		return nil
	}); err != nil {
		return err
	}
	to.PausesRead()
	to.Begin(shard)
	for {
		to.Left(shard, uint64(len(all)))
		select {
		case n := <-all:
			to.Record(n)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Prune is part of the journal.
func (f *Fake) Prune(_ context.Context, _ string, old []records.Superseded, _ uint64) (left []records.Superseded, err error) {
	err = f.do("prune", "", func() error {
		for _, o := range old {
			f.pruned[o.Number] = true
		}
		return nil
	})
	if err != nil {
		return old, err
	}
	return nil, nil
}

// Pruned returns how many versions were removed.
func (f *Fake) Pruned() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.pruned)
}

// Placed is part of the wire.
func (f *Fake) Placed(take func([]records.Placement, error)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.placed = take
	return nil
}

// Asked is part of the wire.
func (f *Fake) Asked(tell func()) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = tell
	return nil
}

// Report is part of the wire.
func (f *Fake) Report(r *records.Report) error {
	return f.do("report", "", func() error {
		f.reports = append(f.reports, r)
		return nil
	})
}

// Connected reports true.
func (f *Fake) Connected() bool { return true }

// News reports that every error is worth a line.
func (f *Fake) News(error) bool { return true }
