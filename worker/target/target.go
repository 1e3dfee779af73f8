// Package target knows where the requests of one route go, and in which form the model server there wants to be asked.
package target

import (
	"context"
	"fmt"

	"headrace/internal/inference"
	"headrace/internal/provider"
)

// Upstream is one model server with all its replicas.
type Upstream interface {
	// Do sends one call and reads the reply, of at most maxReply bytes. release gives the reply's bytes back
	// and is not nil when err is nil. The reply to a call that says so may come in pieces, which release ends. A failure is a *fault.Error, or the cause of a cancelled ctx.
	Do(ctx context.Context, call provider.Call, maxReply int64) (reply provider.Reply, release func(), err error)
	// Run looks after the replicas until ctx ends.
	Run(ctx context.Context) error
	// Replicas tells how each of them fares; addresses are without what may be secret in them.
	Replicas() []inference.Replica
}

// Target is where the requests of one route go.
type Target struct {
	Route    *inference.Route
	Provider provider.Provider
	Merger   provider.Merger   // nil: requests share no calls
	Streamer provider.Streamer // nil: the model server answers whole
	Upstream Upstream

	former provider.Former // nil: there is one form only
	forms  *forms          // of the model server
}

// New makes the targets of routes that share a model server, by the name of the route. Routes with the same headers and
// authorities share a client, and with it its connections. An error names the route.
func New(routes []*inference.Route, providers map[string]provider.Provider, dial func(*inference.Route) (Upstream, error)) (map[string]*Target, error) {
	clients := make(map[string]Upstream)
	targets := make(map[string]*Target, len(routes))
	learned := newForms()
	for _, r := range routes {
		p := providers[r.Provider]
		if p == nil {
			return nil, fmt.Errorf("route %q: provider %q is not built in", r.Name, r.Provider)
		}
		key := fmt.Sprint(r.TLSCA, r.ConnectTimeout, r.Headers) // maps print in the order of their keys
		if clients[key] == nil {
			client, err := dial(r)
			if err != nil {
				return nil, fmt.Errorf("route %q: %w", r.Name, err)
			}
			clients[key] = client
		}
		merger, _ := p.(provider.Merger)
		former, _ := p.(provider.Former)
		streamer, _ := p.(provider.Streamer)
		targets[r.Name] = &Target{Route: r, Provider: p, Merger: merger, Streamer: streamer, former: former, forms: learned, Upstream: clients[key]}
	}
	return targets, nil
}

// Replicas tells how each replica of the model server fares, and the form that is known of it.
func (t *Target) Replicas() []inference.Replica {
	replicas := t.Upstream.Replicas()
	for i := range replicas {
		replicas[i].Format = t.forms.of(replicas[i].URL)
	}
	return replicas
}
