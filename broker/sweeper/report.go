package sweeper

import (
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
	s.telling.Lock() // the parts of one report follow each other
	defer s.telling.Unlock()
	report, complete := s.report()
	if !complete {
		return // what is paused is not known yet
	}
	s.reported++
	report.From, report.Number = s.id, s.reported
	messages, err := report.Messages()
	for _, text := range messages {
		if err == nil {
			err = s.store.Link.NC.Publish(records.SubjectQueues, text)
		}
	}
	if s.saidUntold.News(err) && s.store.Link.NC.IsConnected() { // a connection that is lost has its own line
		s.log.Warn("cannot tell workers and front ends what waits: jobs may not start; trying on", "lanes", len(report.Lanes), "error", err)
	}
}

// report is what waits; complete is false until it is known what is paused.
func (s *Sweeper) report() (report *records.Report, complete bool) {
	report = new(records.Report)
	if s.disk != nil {
		if err := s.disk.DiskFull(); err != nil {
			report.Full = err.Error()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
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
	report.Counting = len(s.countedAll) < records.Shards
	report.Paused = slices.Sorted(maps.Keys(s.paused))
	if s.told {
		report.Wake = s.toWake()
	}
	return report, s.told
}
