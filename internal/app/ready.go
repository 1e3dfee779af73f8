package app

import (
	"context"
	"time"

	"headrace/api"
	"headrace/broker/link"
)

// announce prints one line when everything is ready, and then waits for the end.
func (p *process) announce(ctx context.Context, server *api.Server, checks ...func() error) error {
	for _, check := range checks {
		if err := await(ctx, check); err != nil {
			return nil //nolint:nilerr // it was stopped first
		}
	}
	used := link.Redact(p.dial.URL)
	switch {
	case p.server != nil && p.server.Addr() != "":
		used = "embedded, listening on " + p.server.Addr()
	case p.server != nil:
		used = "embedded"
	}
	p.out("headrace is ready: %s serves %s; broker: %s\n", shownAddress(server.Addr()), plural(p.cfg.Table.Len(), "route"), used)
	<-ctx.Done()
	return nil
}

// await asks until check is content.
func await(ctx context.Context, check func() error) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for check() != nil {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}
