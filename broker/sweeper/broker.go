package sweeper

import (
	"context"
	"time"

	"headrace/broker/records"
	"headrace/internal/job"
)

// broker is what a Sweeper needs of a records.Archive. Tests put another store in its place.
type broker struct {
	store   store
	queues  queues
	journal journal
	wire    wire
	conn    connection
}

// store has what is stored of one job; see records.Store.
type store interface {
	Get(ctx context.Context, id job.ID) (*job.Record, error)
	Put(ctx context.Context, r *job.Record, now time.Time) error
	Enqueue(ctx context.Context, r *job.Record) error
	Unqueue(ctx context.Context, r *job.Record) error
	IsPlaced(ctx context.Context, lane records.LaneName, id job.ID) (bool, error)
}

// queues measures and clears the work queues; see records.Queues.
type queues interface {
	Held(ctx context.Context, lane records.LaneName) (records.Held, error)
	Next(ctx context.Context, lane records.LaneName, from, likely uint64) (number uint64, queued time.Time, ok bool, err error)
	Leftovers(ctx context.Context, shard int, known records.Known) error
}

// journal has all records in the order in which they were written; see records.Journal.
type journal interface {
	Follow(ctx context.Context, shard string, to records.Reader) error
	Prune(ctx context.Context, shard string, old []records.Superseded, end uint64) (left []records.Superseded, err error)
}

// wire hears and tells other processes; see records.Wire.
type wire interface {
	Placed(take func(all []records.Placement, err error)) error
	Asked(tell func()) error
	Report(r *records.Report) error
}

// connection is what carries all this; see records.Archive.
type connection interface {
	Connected() bool
	News(err error) bool
}
