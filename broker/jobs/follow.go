package jobs

import (
	"context"
	"strconv"
	"sync"
	"time"

	"headrace/broker/link"
	"headrace/broker/records"
)

// followAgain is the pause after a failure before a stream is followed again.
const followAgain = time.Second

// Listing gets the entry of every record that is written.
type Listing = records.Listing

// Follow passes every job, and every change of one, to list until ctx ends. It begins with what was written before.
func (j *follower) Follow(ctx context.Context, list Listing) error {
	select {
	case <-j.ready:
	case <-ctx.Done():
		return nil
	}
	var running sync.WaitGroup
	defer running.Wait()
	for shard := range records.Shards {
		running.Go(func() {
			var said link.Said
			for ctx.Err() == nil {
				err := j.journal.List(ctx, strconv.Itoa(shard), list, func(err error) { j.log.Warn("a record cannot be listed", "error", err) })
				if ctx.Err() == nil && j.conn.News(err) && said.News(err) && j.gate.Shut() == nil {
					j.log.Warn("following the jobs' records for lists", "shard", shard, "error", err)
				}
				link.PauseFor(ctx, followAgain)
			}
		})
	}
	return nil
}

// Written returns the number of the last record that was written, by shard.
func (j *follower) Written(ctx context.Context) (map[string]uint64, error) {
	if err := j.await(ctx); err != nil {
		return nil, err
	}
	written, err := j.journal.Written(ctx)
	return written, j.unread("", err)
}
