package jobs

import (
	"context"
	"time"

	"headrace/broker/records"
	"headrace/internal/job"
)

// broker is what a Desk needs of a records.Archive. Tests put another store in its place.
type broker struct {
	store   store
	journal journal
	queue   positions
	wire    wire
	conn    connection
}

// store has what is stored of one job; see records.Store.
type store interface {
	recordStore
	bodyStore
	queueStore
	room
}

type recordStore interface {
	Get(ctx context.Context, id job.ID) (*job.Record, error)
	Put(ctx context.Context, r *job.Record, now time.Time) error
	Change(ctx context.Context, id job.ID, move func(*job.Record, time.Time) (same bool, err error)) (*job.Record, error)
	Settle(ctx context.Context, r *job.Record) error
	Shown(ctx context.Context, r *job.Record) error
}

type bodyStore interface {
	PutBody(ctx context.Context, id job.ID, prefix, series string, data []byte, life time.Duration) (*job.Body, error)
	Body(ctx context.Context, id job.ID, prefix string, b *job.Body) ([]byte, error)
	Erase(ctx context.Context, id job.ID, prefixes ...string) error
	ForgetVersions(ctx context.Context, id job.ID) error
}

type queueStore interface {
	Enqueue(ctx context.Context, r *job.Record) error
	Unqueue(ctx context.Context, r *job.Record) error
	ClaimKey(ctx context.Context, scope, key string, mine records.KeyClaim, kept time.Duration) (records.KeyClaim, error)
}

// room says whether a store takes more.
type room interface {
	OpenStreams(ctx context.Context) error
	Used(ctx context.Context, id job.ID) (share float64, err error)
}

// journal has the records of all jobs in their order; see records.Journal.
type journal interface {
	List(ctx context.Context, shard string, list records.Listing, unlisted func(error)) error
	Written(ctx context.Context) (map[string]uint64, error)
	Pause(ctx context.Context, route string, paused bool) error
	ForgetPauses(ctx context.Context, route string) error
}

// positions says where a job stands in its queue; see records.Queues.
type positions interface {
	Position(ctx context.Context, r *job.Record) (number uint64, ok bool)
}

// wire tells other processes what happens; see records.Wire.
type wire interface {
	TellPlaced(all []records.Placement) error
	Cancel(id job.ID) error
}

// connection is what carries all this; see records.Archive.
type connection interface {
	Connected() bool
	News(err error) bool
}
