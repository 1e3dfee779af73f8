package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/internal/job"
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

// errNoRoom says that nothing is removed from a disk that is full: the NATS server (2.15) answers nothing any more when it
// cannot write down that it has removed something.
var errNoRoom = errors.New("the disk is full")

// superseded is a version of a record that a later one has replaced.
type superseded struct{ number, by uint64 }

// versions are what is to be removed from a shard.
type versions struct {
	list []superseded
	end  uint64 // the last version that ended a job; a front end has most likely had it synced
}

// replaced notes that a record's version was replaced.
func (v *versions) replaced(number, by uint64) {
	if len(v.list) < maxSuperseded {
		v.list = append(v.list, superseded{number, by})
	}
}

// ended notes that a version has ended its job.
func (v *versions) ended(number uint64) { v.end = max(v.end, number) }

// take gives the versions that can be removed when everything up to end is on disk.
func (v *versions) take() (old []superseded, end uint64) {
	later := v.list[:0]
	for _, s := range v.list {
		if s.by <= v.end {
			old = append(old, s)
		} else {
			later = append(later, s)
		}
	}
	v.list = later
	return old, v.end
}

// giveBack notes again what was taken and is still there.
func (v *versions) giveBack(old []superseded) { v.list = append(v.list, old...) }

// prune removes earlier versions of a shard's records until ctx ends.
func (s *Sweeper) prune(ctx context.Context, shard int) {
	name := strconv.Itoa(shard)
	for ctx.Err() == nil {
		pauseFor(ctx, versionsEvery)
		if s.store.noRoom() {
			continue
		}
		s.mu.Lock()
		old, end := s.versionsOf(name).take()
		s.mu.Unlock()
		if len(old) == 0 {
			continue
		}
		left, err := s.pruneAll(ctx, recordStream+name, old, end)
		if err == nil || ctx.Err() != nil {
			continue
		}
		s.log.Warn("removing earlier versions of records; trying again", "shard", name, "error", err)
		s.mu.Lock()
		s.versionsOf(name).giveBack(left)
		s.mu.Unlock()
		pauseFor(ctx, sweepAgain)
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
func (s *Sweeper) pruneAll(ctx context.Context, name string, old []superseded, end uint64) (left []superseded, err error) {
	if _, err := s.store.stream(ctx, name); err != nil || !s.store.keepsVersions(name) {
		return old, err
	}
	if err := s.store.durable(ctx, name, end); err != nil {
		return old, err
	}
	for len(old) > 0 {
		some := old[:min(removeAtOnce, len(old))]
		if err := s.store.removeAll(ctx, name, some); err != nil {
			return old, err
		}
		old = old[len(some):]
	}
	return nil, nil
}

// removeAll removes messages from a stream. Some may be gone already.
func (s *jobStore) removeAll(ctx context.Context, stream string, old []superseded) error {
	if s.noRoom() {
		return errNoRoom
	}
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	nc := s.link.nc
	answers, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		return err
	}
	defer func() { _ = answers.Unsubscribe() }() // it fails only on a connection that is gone
	for _, o := range old {
		if err := nc.PublishRequest(subjectAPIDelete+stream, answers.Subject, fmt.Appendf(nil, `{"seq":%d,"no_erase":true}`, o.number)); err != nil {
			return err
		}
	}
	for range old {
		msg, err := answers.NextMsgWithContext(ctx)
		if err != nil {
			return err
		}
		if err := removed(msg.Data); err != nil {
			return err
		}
	}
	return nil
}

// removed reads the server's answer about a message that was to be removed. That it is gone already is what was wanted.
func removed(answer []byte) error {
	var a struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return fmt.Errorf("unreadable answer about a version that was to be removed: %w", err)
	}
	if e := a.Error; e == nil || e.ErrorCode == jetstream.ErrorCode(server.JSSequenceNotFoundErrF) || e.Description == server.ErrStoreMsgNotFound.Error() {
		return nil
	}
	return a.Error
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
