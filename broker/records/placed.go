package records

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"

	"headrace/internal/job"
)

// Whoever accepts a job may die between writing its record and queueing it, so the sweeper checks that a job that waits
// has its place in the queue. In a backlog this would be one read for every job; therefore front ends tell the sweeper
// what they have queued. A word that is lost costs a read and nothing else.

const (
	// SubjectPlaced is where front ends say what they have queued.
	SubjectPlaced = "hr.job.placed"
	// maxPlaced bounds what a front end remembers in that time; what is beyond is checked by reading.
	maxPlaced = 100_000
	// placedBytes is about how long one message gets.
	placedBytes = 256 << 10
)

// placement says that a job was in its queue when its record had this number.
type placement struct {
	ID       job.ID
	Revision uint64
}

// Placements are what a front end has queued and not told yet.
type Placements struct {
	mu    sync.Mutex
	fresh []placement
	ripe  []placement // noted before the last call of take
}

func (p *Placements) Add(id job.ID, revision uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.fresh) < maxPlaced {
		p.fresh = append(p.fresh, placement{id, revision})
	}
}

// Take gives what was noted before the last call.
func (p *Placements) Take() []placement {
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

// PlacedTexts writes placements as lines of an id and a number, in messages of a moderate size.
func PlacedTexts(all []placement) [][]byte {
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

// ReadPlaced reads such a message.
func ReadPlaced(text []byte) ([]placement, error) {
	all := make([]placement, 0, bytes.Count(text, []byte("\n")))
	for line := range bytes.Lines(text) {
		id, number, ok := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
		revision, err := strconv.ParseUint(string(number), 10, 64)
		if !ok || err != nil || len(id) == 0 {
			return nil, fmt.Errorf("%.80q is no job and number", line)
		}
		all = append(all, placement{job.ID(id), revision})
	}
	return all, nil
}
