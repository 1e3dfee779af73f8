package sweeper

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"headrace/broker/link"
	"headrace/broker/records"
)

// Where writers ask for their writes to be synced, the records' streams keep every version of a record: the server would
// remove the last one, which is on disk, when it has written the next one, which is not there yet, and a loss of power
// between the two could leave neither. The sweeper, which learns of every version, removes what a later one that is on disk
// has superseded, by its number and many at once: a purge of the subject costs the server four times as much.

const (
	// versionsEvery is how often earlier versions are removed.
	versionsEvery = 100 * time.Millisecond
	// maxSuperseded bounds the versions that wait for it, in each shard. What is beyond stays until the broker role starts
	// again, or until it expires.
	maxSuperseded = 1_000_000
)

// versions are what is to be removed from a shard.
type versions struct {
	list []records.Superseded
	end  uint64 // the last version that ended a job; a front end has most likely had it synced
}

// replaced notes that a record's version was replaced.
func (v *versions) replaced(number, by uint64) {
	if len(v.list) < maxSuperseded {
		v.list = append(v.list, records.Superseded{Number: number, By: by})
	}
}

// ended notes that a version has ended its job.
func (v *versions) ended(number uint64) { v.end = max(v.end, number) }

// take gives the versions that can be removed when everything up to end is on disk.
func (v *versions) take() (old []records.Superseded, end uint64) {
	later := v.list[:0]
	for _, s := range v.list {
		if s.By <= v.end {
			old = append(old, s)
		} else {
			later = append(later, s)
		}
	}
	v.list = later
	return old, v.end
}

// giveBack notes again what was taken and is still there.
func (v *versions) giveBack(old []records.Superseded) { v.list = append(v.list, old...) }

// cleaner removes what is of no use any more: superseded versions, which it owns, and leftovers.
type cleaner struct {
	schedule *schedule
	full     func() error // why nothing can be written
	log      *slog.Logger

	mu       sync.Mutex
	versions map[string]*versions // by shard
}

// replaced notes that a version of a record was replaced.
func (c *cleaner) replaced(shard string, number, by uint64) {
	c.of(shard, func(v *versions) { v.replaced(number, by) })
}

// ended notes that a version has ended its job.
func (c *cleaner) ended(shard string, number uint64) {
	c.of(shard, func(v *versions) { v.ended(number) })
}

// of calls do with the versions of a shard.
func (c *cleaner) of(shard string, do func(*versions)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.versions == nil {
		c.versions = make(map[string]*versions)
	}
	if c.versions[shard] == nil {
		c.versions[shard] = new(versions)
	}
	do(c.versions[shard])
}

// prune removes earlier versions of a shard's records until ctx ends.
func (c *cleaner) prune(ctx context.Context, j journal, shard string) {
	for ctx.Err() == nil {
		link.PauseFor(ctx, versionsEvery)
		if c.full() != nil {
			continue
		}
		var old []records.Superseded
		var end uint64
		c.of(shard, func(v *versions) { old, end = v.take() })
		if len(old) == 0 {
			continue
		}
		left, err := j.Prune(ctx, shard, old, end)
		if err == nil || ctx.Err() != nil {
			continue
		}
		c.log.Warn("removing earlier versions of records; trying again", "shard", shard, "error", err)
		c.of(shard, func(v *versions) { v.giveBack(left) })
		link.PauseFor(ctx, sweepAgain)
	}
}
