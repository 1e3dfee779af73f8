package api

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"headrace/api/dialect"
	"headrace/internal/budget"
	"headrace/internal/inference"
)

// chassis is what the server and the desks share. Each of them handles some of the paths and has what only it needs beside.
type chassis struct {
	cfg      Config
	log      *slog.Logger
	broker   Broker
	budget   *budget.Bytes
	gate     gate
	guard    Guard // nil: everything is open
	table    atomic.Pointer[inference.Table]
	applied  atomic.Int64    // when the table came, in seconds since 1970
	draining context.Context //nolint:containedctx // ends when the front end drains; those who are made to wait hear of it
	dialects dialect.Set
	buffers  sync.Pool
	wires    *wirePool
}

func newChassis(cfg Config, deps Deps) *chassis {
	c := &chassis{
		cfg: cfg, broker: deps.Broker, budget: deps.Budget, guard: deps.Guard, gate: newGate(), dialects: dialect.New(), wires: newWirePool(),
		log: cmp.Or(deps.Logger, slog.New(slog.DiscardHandler)),
	}
	c.buffers.New = func() any { return new(dialect.Output) }
	return c
}
