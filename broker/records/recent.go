package records

import (
	"container/list"
	"crypto/rand"
	"strconv"
	"sync"
	"sync/atomic"

	"headrace/internal/job"
)

// Recent remembers the records that this process wrote a moment ago, so that who runs or follows a job of the same
// process need not read it from the store. Whatever is decided on a remembered record is written on the condition
// that it is still the last one, and whoever waits is told of every write by its event: a record that was overtaken
// costs a read and nothing else. The least recently written go first. nil remembers nothing.
type Recent struct {
	limit int64 // bytes of records
	tags  atomic.Uint64
	name  string // before each tag: those of other processes are not ours

	mu    sync.Mutex
	known map[job.ID]*list.Element // of *recentJob
	order *list.List               // the latest write first
	held  int64
}

// recentOverhead is about what a record takes up beside its text, in bytes.
const recentOverhead = 1 << 10

// recentJob is one record. It is never changed; who wants to makes a copy.
type recentJob struct {
	id       job.ID
	record   *job.Record
	size     int64
	tag      string // of the write, told by its event
	base     uint64 // revision that the write replaces
	revision uint64 // 0 = not known to be stored
}

// NewRecent remembers up to limit bytes of records; 0 remembers nothing.
func NewRecent(limit int64) *Recent {
	if limit <= 0 {
		return nil
	}
	return &Recent{limit: limit, name: rand.Text()[:10] + "-", known: make(map[job.ID]*list.Element), order: list.New()}
}

// writing notes a record that is about to be written and gives the tag for the write; "" when nothing is remembered.
func (m *Recent) writing(r *job.Record, size int) string {
	if m == nil {
		return ""
	}
	tag := m.name + strconv.FormatUint(m.tags.Add(1), 36)
	e := &recentJob{id: r.ID, record: r.Clone(), size: int64(size) + recentOverhead, tag: tag, base: r.Revision}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(r.ID)
	m.known[r.ID] = m.order.PushFront(e)
	for m.held += e.size; m.held > m.limit; {
		m.drop(m.last())
	}
	return tag
}

// written notes what became of a write; revision 0: it was not made, or nobody knows.
func (m *Recent) written(id job.ID, tag string, revision uint64) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.find(id)
	switch {
	case e == nil || e.tag != tag:
	case revision == 0:
		m.drop(id)
	default:
		e.revision = revision
	}
}

// Event notes that a record was written by somebody, with what tag, and gives that record when it is remembered.
func (m *Recent) Event(id job.ID, tag string, revision uint64) *job.Record {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.find(id)
	switch {
	case e == nil:
		return nil
	case e.tag == tag:
		e.revision = revision
		return e.copy()
	case e.revision == 0 && e.base >= revision, e.revision > revision: // the news is older than the write
	default:
		m.drop(id)
	}
	return nil
}

// Latest gives a copy of a job's record as it was stored last, as far as this process knows; nil: it does not.
func (m *Recent) Latest(id job.ID) *job.Record {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.find(id)
	if e == nil || e.revision == 0 {
		return nil
	}
	return e.copy()
}

// Clear forgets everything: events may have been lost.
func (m *Recent) Clear() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.known)
	m.order.Init()
	m.held = 0
}

// find must be called with mu held.
func (m *Recent) find(id job.ID) *recentJob {
	if at := m.known[id]; at != nil {
		e, _ := at.Value.(*recentJob) // the list holds nothing else
		return e
	}
	return nil
}

// last is the job that was written least recently. It must be called with mu held, and with something known.
func (m *Recent) last() job.ID {
	e, _ := m.order.Back().Value.(*recentJob) // the list holds nothing else
	return e.id
}

// drop must be called with mu held.
func (m *Recent) drop(id job.ID) {
	if e := m.find(id); e != nil {
		m.held -= e.size
		m.order.Remove(m.known[id])
		delete(m.known, id)
	}
}

// copy must be called with mu held.
func (e *recentJob) copy() *job.Record {
	r := e.record.Clone()
	r.Revision = e.revision
	return r
}
