package sweeper

import (
	"github.com/nats-io/nats.go"

	"headrace/broker/records"
)

// notePlaced takes the check off jobs that were queued, unless their record has been written since.
func (s *Sweeper) notePlaced(msg *nats.Msg) {
	all, err := records.ReadPlaced(msg.Data)
	if err != nil {
		s.log.Warn("unreadable word of queued jobs", "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, told := range all {
		p := s.pending[told.ID]
		if p == nil || !p.verify || p.busy || p.revision != told.Revision {
			continue
		}
		p.verify, p.due = false, p.then
		s.place(p)
	}
}
