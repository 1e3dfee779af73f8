package app

import (
	"headrace/api/dashboard"
	"headrace/api/dashboard/recent"
	"headrace/api/guard"
	"headrace/broker/calls"
	"headrace/broker/jobs"
	"headrace/internal/inference"
	"headrace/internal/joblist"
)

// served shows a front end as what the dashboard asks for its routes.
type served struct {
	lane

	p *process
}

var _ dashboard.Routes = served{}

// Table is what the front end serves now.
func (s served) Table() *inference.Table { return s.p.served.Load() }

// dashboard makes the pages of a front end.
func (p *process) dashboard(front lane, ring *recent.Ring, list *joblist.List, guard *guard.Guard) (*dashboard.Server, error) {
	deps := dashboard.Deps{
		Routes: served{front, p}, Calls: ring, Jobs: front.jobs, Bodies: front.jobs, Queues: front.jobs, Finder: list, Guard: guard,
		Version: p.version, Log: p.log,
	}
	if p.server != nil {
		deps.Disk = p.disk
	}
	return dashboard.New(deps)
}

// disk is how much of the embedded server's store is used.
func (p *process) disk() (held, limit int64, ok bool) {
	stats, err := p.server.Stats()
	if err != nil {
		return 0, 0, false // it is starting or stopping
	}
	return stats.Store, stats.MaxStore, true
}

// routesASecond is how many routes are asked for their gauges in a second: with more, the gauges are measured less often.
const routesASecond = 500

// gauges measures what waits and who works. It is called once a second by one goroutine.
func (p *process) gauges(front *calls.FrontEnd, jobs *jobs.Desk) func() recent.Gauges {
	var last recent.Gauges
	age := 0
	return func() recent.Gauges {
		table := p.served.Load()
		if age++; age <= table.Len()/routesASecond {
			return last
		}
		age, last = 0, recent.Gauges{}
		for r := range table.All() {
			s := front.State(r.Name)
			last.Waiting += s.Waiting
			last.Workers += s.Workers
			for _, lane := range jobs.Queue(r.Name) {
				last.Jobs += lane.Waiting
			}
		}
		return last
	}
}
