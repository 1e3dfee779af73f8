package sweeper

import (
	"encoding/json"
	"maps"
	"slices"

	"headrace/broker/records"
)

// allRead notes that all records of a shard were read.
func (s *Sweeper) allRead(shard string) {
	s.mu.Lock()
	news := !s.countedAll[shard]
	s.countedAll[shard] = true
	all := news && len(s.countedAll) == records.Shards
	s.mu.Unlock()
	if all {
		s.tellQueues()
	}
}

// tellQueues publishes what waits.
func (s *Sweeper) tellQueues() {
	var report records.Report
	if s.disk != nil {
		if err := s.disk.DiskFull(); err != nil {
			report.Full = err.Error()
		}
	}
	s.mu.Lock()
	for subject, n := range s.counts {
		lane, ok := records.ParseLane(subject)
		if !ok {
			continue
		}
		told := records.LaneReport{Route: lane.Route, Priority: lane.Priority, Waiting: n.waiting(), Queued: n.queued, Running: n.running}
		if depth := s.depths[subject]; depth != nil {
			told.Measured, told.Delivered, told.Rate = true, depth.delivered, depth.rate()
			if !depth.oldest.IsZero() {
				told.Oldest = depth.oldest.UnixMilli()
			}
		}
		report.Lanes = append(report.Lanes, told)
	}
	told := s.told
	report.Wake = s.toWake()
	report.Counting = len(s.countedAll) < records.Shards
	report.Paused = slices.Sorted(maps.Keys(s.paused))
	s.mu.Unlock()
	if !told {
		return // what is paused is not known yet
	}
	text, err := json.Marshal(report)
	if err != nil {
		return // strings and numbers always have a JSON form
	}
	if err := s.store.Link.NC.Publish(records.SubjectQueues, text); err != nil {
		s.log.Debug("telling what waits", "error", err)
	}
}
