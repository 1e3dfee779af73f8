package records

import (
	"container/list"
	"crypto/rand"
	"strconv"
	"sync"
	"sync/atomic"

	"headrace/internal/job"
)

// Recent remembers the records that this process wrote a moment ago, so that a worker or a waiting caller of the same process
// need not read them from the store. A decision on a remembered record is written on the condition that it is still the
// last one, and the event of every write reaches whatever waits for the job: a record that was overtaken costs a read and
// nothing else. The least recently written records are dropped first. A nil Recent remembers nothing.
type Recent struct {
	limit int64 // bytes of records
	tags  atomic.Uint64
	name  string // before each tag: those of other processes are not ours

	mu    sync.Mutex
	known map[job.ID]*list.Element // of *recentJob
	order *list.List               // the latest write first
	held  int64
}

// recentOverhead is about how many bytes a record takes up in addition to its text.
const recentOverhead = 1 << 10

// recentJob is one record. It is never changed; callers get copies.
type recentJob struct {
	id       job.ID
	record   *job.Record
	size     int64
	tag      string // of the write; its event carries it
	base     uint64 // revision that the write replaces
	revision uint64 // 0 = not known to be stored
}

// NewRecent returns a Recent of up to limit bytes of records; 0 remembers nothing.
func NewRecent(limit int64) *Recent {
	if limit <= 0 {
		return nil
	}
	return &Recent{limit: limit, name: rand.Text()[:10] + "-", known: make(map[job.ID]*list.Element), order: list.New()}
}

// writing remembers a record that is about to be written and returns the write's tag; "" when nothing is remembered.
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

// written records the result of a write. Revision 0 means that it failed, or that its result is not known.
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

// Event takes the event of a write, by any process, and returns the record that was written when it is remembered.
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

// Latest returns a copy of a job's last record as far as this process knows; nil when it knows none.
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

// Clear forgets everything, because events may have been lost.
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

// find returns the entry of a job; nil when there is none. It must be called with mu held.
func (m *Recent) find(id job.ID) *recentJob {
	if at := m.known[id]; at != nil {
		e, _ := at.Value.(*recentJob) // the list holds nothing else
		return e
	}
	return nil
}

// last returns the job that was written least recently. It must be called with mu held, and with at least one record known.
func (m *Recent) last() job.ID {
	e, _ := m.order.Back().Value.(*recentJob) // the list holds nothing else
	return e.id
}

// drop forgets a job. It must be called with mu held.
func (m *Recent) drop(id job.ID) {
	if e := m.find(id); e != nil {
		m.held -= e.size
		m.order.Remove(m.known[id])
		delete(m.known, id)
	}
}

// copy returns a copy of the record. It must be called with mu held.
func (e *recentJob) copy() *job.Record {
	r := e.record.Clone()
	r.Revision = e.revision
	return r
}
