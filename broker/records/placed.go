package records

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"

	"headrace/internal/job"
)

// A front end that accepts a job may die between writing its record and queueing it, so the sweeper checks that each waiting
// job has its place in the queue. In a backlog that would be one read for every job; therefore front ends tell the
// sweeper what they have queued. A lost message costs a read and nothing else.

const (
	// subjectPlaced is where front ends announce what they have queued.
	subjectPlaced = "hr.job.placed"
	// maxPlaced bounds what a front end remembers between two announcements. The sweeper checks the rest by reading.
	maxPlaced = 100_000
	// placedBytes is the size in bytes beyond which an announcement is split.
	placedBytes = 256 << 10
)

// Placement says that a job was in its queue when its record had this revision.
type Placement struct {
	ID       job.ID
	Revision uint64
}

// Placements are the jobs that a front end has queued and not announced yet.
type Placements struct {
	mu    sync.Mutex
	fresh []Placement
	ripe  []Placement // added before the last call of Take
}

// Add remembers that a job was queued at a revision of its record.
func (p *Placements) Add(id job.ID, revision uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.fresh) < maxPlaced {
		p.fresh = append(p.fresh, Placement{id, revision})
	}
}

// Take returns what was added before the previous call of Take.
func (p *Placements) Take() []Placement {
	p.mu.Lock()
	defer p.mu.Unlock()
	ripe := p.ripe
	p.ripe, p.fresh = p.fresh, nil
	return ripe
}

// Forget is called when the broker was away: it may have lost what was queued.
func (p *Placements) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fresh, p.ripe = nil, nil
}

// placedTexts writes placements as lines of an id and a revision, split into messages of moderate size.
func placedTexts(all []Placement) [][]byte {
	var texts [][]byte
	var text []byte
	for _, p := range all {
		text = append(text, p.ID...)
		text = append(text, ' ')
		text = strconv.AppendUint(text, p.Revision, 10)
		text = append(text, '\n')
		if len(text) > placedBytes {
			texts, text = append(texts, text), nil
		}
	}
	if len(text) > 0 {
		texts = append(texts, text)
	}
	return texts
}

// readPlaced reads a message that placedTexts wrote.
func readPlaced(text []byte) ([]Placement, error) {
	all := make([]Placement, 0, bytes.Count(text, []byte("\n")))
	for line := range bytes.Lines(text) {
		id, number, ok := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
		revision, err := strconv.ParseUint(string(number), 10, 64)
		if !ok || err != nil || len(id) == 0 {
			return nil, fmt.Errorf("malformed Placement %.80q", line)
		}
		all = append(all, Placement{job.ID(id), revision})
	}
	return all, nil
}
