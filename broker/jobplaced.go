package broker

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/internal/job"
)

// Whoever accepts a job may die between writing its record and queueing it, so the sweeper checks that a job that waits
// has its place in the queue. In a backlog this would be one read for every job; therefore front ends tell the sweeper
// what they have queued. A word that is lost costs a read and nothing else.

const (
	// subjectPlaced is where front ends say what they have queued.
	subjectPlaced = "hr.job.placed"
	// placedEvery is how often they do. What they say is between one and two such times old: the sweeper has read the
	// record by then.
	placedEvery = 2 * time.Second
	// maxPlaced bounds what a front end remembers in that time; what is beyond is checked by reading.
	maxPlaced = 100_000
	// placedBytes is about how long one message gets.
	placedBytes = 256 << 10
)

// placement says that a job was in its queue when its record had this number.
type placement struct {
	id       job.ID
	revision uint64
}

// placements are what a front end has queued and not told yet.
type placements struct {
	mu    sync.Mutex
	fresh []placement
	ripe  []placement // noted before the last call of take
}

func (p *placements) add(id job.ID, revision uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.fresh) < maxPlaced {
		p.fresh = append(p.fresh, placement{id, revision})
	}
}

// take gives what was noted before the last call.
func (p *placements) take() []placement {
	p.mu.Lock()
	defer p.mu.Unlock()
	ripe := p.ripe
	p.ripe, p.fresh = p.fresh, nil
	return ripe
}

// forget is called when the broker was away: it may have lost what was queued.
func (p *placements) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fresh, p.ripe = nil, nil
}

// tellPlaced tells sweepers until ctx ends.
func (j *Jobs) tellPlaced(ctx context.Context, nc *nats.Conn) {
	every(ctx, placedEvery, func() {
		for _, text := range placedTexts(j.placements.take()) {
			if err := nc.Publish(subjectPlaced, text); err != nil {
				j.log.Debug("the sweeper has to look for itself what was queued", "error", err)
			}
		}
	})
}

// placedTexts writes placements as lines of an id and a number, in messages of a moderate size.
func placedTexts(all []placement) [][]byte {
	var texts [][]byte
	var text []byte
	for _, p := range all {
		text = append(text, p.id...)
		text = append(text, ' ')
		text = strconv.AppendUint(text, p.revision, 10)
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

// readPlaced reads such a message.
func readPlaced(text []byte) ([]placement, error) {
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

// notePlaced takes the check off jobs that were queued, unless their record has been written since.
func (s *Sweeper) notePlaced(msg *nats.Msg) {
	all, err := readPlaced(msg.Data)
	if err != nil {
		s.log.Warn("unreadable word of queued jobs", "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, told := range all {
		p := s.pending[told.id]
		if p == nil || !p.verify || p.busy || p.revision != told.revision {
			continue
		}
		p.verify, p.due = false, p.then
		s.place(p)
	}
}
