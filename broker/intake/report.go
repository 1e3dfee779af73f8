package intake

import (
	"encoding/json"
	"slices"

	"headrace/broker/link"
	"headrace/internal/inference"
)

// maxReport bounds what one worker says of its model servers, in bytes; what does not fit is left out.
const maxReport = 256 << 10

// PoolReport is what a worker knows of the replicas of one model server.
type PoolReport struct {
	Routes   []string            `json:"routes"`
	Replicas []inference.Replica `json:"replicas"` // addresses without what may be secret in them
	// Batching is what was learned of the routes.
	Batching []inference.Batching `json:"batching,omitempty"`
}

// Report is what a worker says every second beside its presence.
type Report struct {
	Worker string       `json:"worker"`
	Pools  []PoolReport `json:"pools"`
}

// reportNow tells all front ends.
func (e *End) reportNow() {
	if e.pools == nil {
		return
	}
	r := Report{Worker: e.id, Pools: e.pools()}
	text, err := json.Marshal(r)
	for err == nil && len(text) > maxReport && len(r.Pools) > 0 {
		r.Pools = r.Pools[:len(r.Pools)/2]
		text, err = json.Marshal(r)
	}
	if err != nil {
		e.log.Warn("telling how replicas fare", "error", err)
		return
	}
	if err := e.link.NC.Publish(link.SubjectStates, text); err != nil {
		e.log.Debug("telling how replicas fare", "error", err)
	}
}

// Serves reports whether the model server is one of a route.
func (p *PoolReport) Serves(route string) bool { return slices.Contains(p.Routes, route) }
