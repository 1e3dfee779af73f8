package records

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/link"
	"headrace/internal/job"
)

// Superseded is a version of a record, by its number, that a later one (By) has replaced.
type Superseded struct{ Number, By uint64 }

// removeAtOnce is how many removals are requested before the answers are read.
const removeAtOnce = 256

// Prune removes versions of a shard's records when everything up to end is on disk. Some may be gone already. It returns those
// that are left, of which some may be gone after an error.
func (j *Journal) Prune(ctx context.Context, shard string, old []Superseded, end uint64) (left []Superseded, err error) {
	s, name := j.store, recordStream+shard
	if _, err := s.stream(ctx, name); err != nil || !s.keepsVersions(name) {
		return old, err
	}
	if err := s.durable(ctx, name, end); err != nil {
		return old, err
	}
	for len(old) > 0 {
		some := old[:min(removeAtOnce, len(old))]
		if err := s.removeAll(ctx, name, some); err != nil {
			return old, err
		}
		old = old[len(some):]
	}
	return nil, nil
}

// removeAll removes messages from a stream. Some of them may be gone already.
func (s *streams) removeAll(ctx context.Context, stream string, old []Superseded) error {
	if s.noRoom() {
		return errNoRoom
	}
	ctx, cancel := context.WithTimeout(ctx, StorePatience)
	defer cancel()
	nc := s.link.NC
	answers, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		return err
	}
	defer func() { _ = answers.Unsubscribe() }() // it fails only on a connection that is gone
	for _, o := range old {
		if err := nc.PublishRequest(link.SubjectAPIDelete+stream, answers.Subject, fmt.Appendf(nil, `{"seq":%d,"no_erase":true}`, o.Number)); err != nil {
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

// removed reads the server's answer to a removal. A message that is gone already counts as removed.
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

// ForgetVersions removes the versions before the last one of a job's record, which must be durable: ends that a new run or
// an erasure has replaced.
func (s *Store) ForgetVersions(ctx context.Context, id job.ID) error {
	return s.keepLast(ctx, recordStream+ShardOf(string(id)), recordSubject(id))
}

// keepLast removes all messages of a subject but the last.
func (s *streams) keepLast(ctx context.Context, name, subject string) error {
	stream, err := s.stream(ctx, name)
	if err != nil || !s.keepsVersions(name) {
		return err
	}
	if s.noRoom() {
		return errNoRoom
	}
	ctx, cancel := context.WithTimeout(ctx, StorePatience)
	defer cancel()
	return stream.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeKeep(1))
}

// keepsVersions reports whether a stream that was used keeps every version of a record.
func (s *streams) keepsVersions(stream string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.syncs[stream] != nil
}
