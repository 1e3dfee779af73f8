package app

import (
	"headrace/api/dashboard/recent"
	"headrace/broker/calls"
	"headrace/broker/jobs"
)

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
