package broker

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headrace/internal/job"
)

// Where writers ask for their writes to be synced, the records' streams keep every version of a record: the server would
// remove the last one, which is on disk, when it has written the next one, which is not there yet, and a loss of power
// between the two could leave neither. What a job has behind it is removed here when its end is on disk.

const (
	// versionsEvery is how often earlier versions are removed.
	versionsEvery = 100 * time.Millisecond
	// maxEnded bounds the jobs that wait for it, in each shard. What is beyond stays until the broker role starts again, or
	// until it expires.
	maxEnded = 500_000
)

// errNoRoom says that nothing is removed from a disk that is full: the NATS server (2.15) answers nothing any more when it
// cannot write down that it has removed something.
var errNoRoom = errors.New("the disk is full")

// endedJobs are jobs whose earlier versions are to be removed.
type endedJobs struct {
	ids      []job.ID
	revision uint64 // of the last of their ends
}

// ended notes that a job has ended. It must be called with mu held.
func (s *Sweeper) ended(shard string, id job.ID, revision uint64) {
	e := s.versions[shard]
	if e == nil {
		e = new(endedJobs)
		s.versions[shard] = e
	}
	if len(e.ids) < maxEnded {
		e.ids = append(e.ids, id)
	}
	e.revision = max(e.revision, revision)
}

// takeEnded gives what is to be done in a shard.
func (s *Sweeper) takeEnded(shard string) endedJobs {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.versions[shard]
	if e == nil {
		return endedJobs{}
	}
	delete(s.versions, shard)
	return *e
}

// prune removes earlier versions of a shard's records until ctx ends.
func (s *Sweeper) prune(ctx context.Context, shard int) {
	name := strconv.Itoa(shard)
	for ctx.Err() == nil {
		pauseFor(ctx, versionsEvery)
		if s.store.noRoom() {
			continue
		}
		e := s.takeEnded(name)
		if len(e.ids) == 0 {
			continue
		}
		if err := s.pruneAll(ctx, recordStream+name, e); err != nil && ctx.Err() == nil {
			s.log.Warn("removing earlier versions of records; trying again", "shard", name, "error", err)
			pauseFor(ctx, sweepAgain)
		}
	}
}

// pruneAll removes what is behind some jobs. After an error those that are left are noted again.
func (s *Sweeper) pruneAll(ctx context.Context, name string, e endedJobs) (err error) {
	done := 0
	defer func() {
		if err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, id := range e.ids[done:] {
				s.ended(name[len(recordStream):], id, e.revision)
			}
		}
	}()
	if _, err := s.store.stream(ctx, name); err != nil || !s.store.keepsVersions(name) {
		return err
	}
	if err := s.store.durable(ctx, name, e.revision); err != nil {
		return err
	}
	for ; done < len(e.ids); done++ {
		if err := s.store.forgetVersions(ctx, e.ids[done]); err != nil {
			return err
		}
	}
	return nil
}

// forgetVersions removes what is behind the last version of a job's record, which must be durable: an end that was left
// behind by a new run, or by erasing the job.
func (s *jobStore) forgetVersions(ctx context.Context, id job.ID) error {
	return s.keepLast(ctx, recordStream+jobShard(string(id)), recordSubject(id))
}

// keepLast removes what is behind the last message of a subject.
func (s *jobStore) keepLast(ctx context.Context, name, subject string) error {
	stream, err := s.stream(ctx, name)
	if err != nil || !s.keepsVersions(name) {
		return err
	}
	if s.noRoom() {
		return errNoRoom
	}
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	return stream.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeKeep(1))
}

// keepsVersions reports whether a stream that was used keeps every version of a record.
func (s *jobStore) keepsVersions(stream string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.syncs[stream] != nil
}
