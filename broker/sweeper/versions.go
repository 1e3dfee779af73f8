package sweeper

import (
	"context"
	"strconv"
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
	// removeAtOnce is how many are asked for before the answers are read.
	removeAtOnce = 256
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

// prune removes earlier versions of a shard's records until ctx ends.
func (s *Sweeper) prune(ctx context.Context, shard int) {
	name := strconv.Itoa(shard)
	for ctx.Err() == nil {
		link.PauseFor(ctx, versionsEvery)
		if s.store.NoRoom() {
			continue
		}
		s.mu.Lock()
		old, end := s.versionsOf(name).take()
		s.mu.Unlock()
		if len(old) == 0 {
			continue
		}
		left, err := s.pruneAll(ctx, records.RecordStream+name, old, end)
		if err == nil || ctx.Err() != nil {
			continue
		}
		s.log.Warn("removing earlier versions of records; trying again", "shard", name, "error", err)
		s.mu.Lock()
		s.versionsOf(name).giveBack(left)
		s.mu.Unlock()
		link.PauseFor(ctx, sweepAgain)
	}
}

// versionsOf must be called with mu held.
func (s *Sweeper) versionsOf(shard string) *versions {
	if s.versions[shard] == nil {
		s.versions[shard] = new(versions)
	}
	return s.versions[shard]
}

// pruneAll removes versions. After an error some of those that are left may be there still.
func (s *Sweeper) pruneAll(ctx context.Context, name string, old []records.Superseded, end uint64) (left []records.Superseded, err error) {
	if _, err := s.store.Stream(ctx, name); err != nil || !s.store.KeepsVersions(name) {
		return old, err
	}
	if err := s.store.Durable(ctx, name, end); err != nil {
		return old, err
	}
	for len(old) > 0 {
		some := old[:min(removeAtOnce, len(old))]
		if err := s.store.RemoveAll(ctx, name, some); err != nil {
			return old, err
		}
		old = old[len(some):]
	}
	return nil, nil
}
