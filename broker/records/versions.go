package records

import (
	"context"
	"encoding/json"
	"fmt"

	"headrace/broker/link"
	"headrace/internal/job"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// Superseded is a version of a record that a later one has replaced.
type Superseded struct{ Number, By uint64 }

// RemoveAll removes messages from a stream. Some may be gone already.
func (s *Store) RemoveAll(ctx context.Context, stream string, old []Superseded) error {
	if s.NoRoom() {
		return errNoRoom
	}
	ctx, cancel := context.WithTimeout(ctx, StorePatience)
	defer cancel()
	nc := s.Link.NC
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

// ForgetVersions removes what is behind the last version of a job's record, which must be durable: an end that was left
// behind by a new run, or by erasing the job.
func (s *Store) ForgetVersions(ctx context.Context, id job.ID) error {
	return s.KeepLast(ctx, RecordStream+ShardOf(string(id)), RecordSubject(id))
}

// KeepLast removes what is behind the last message of a subject.
func (s *Store) KeepLast(ctx context.Context, name, subject string) error {
	stream, err := s.Stream(ctx, name)
	if err != nil || !s.KeepsVersions(name) {
		return err
	}
	if s.NoRoom() {
		return errNoRoom
	}
	ctx, cancel := context.WithTimeout(ctx, StorePatience)
	defer cancel()
	return stream.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeKeep(1))
}

// KeepsVersions reports whether a stream that was used keeps every version of a record.
func (s *Store) KeepsVersions(stream string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.syncs[stream] != nil
}
