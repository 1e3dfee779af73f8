package records

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/link"
	"headrace/internal/job"
)

// KeyClaim says which job an idempotency key belongs to.
type KeyClaim struct {
	ID          job.ID `json:"id"`
	Fingerprint string `json:"fingerprint"` // of the first request with the key
}

// ClaimKey claims an idempotency key of a scope, and returns the claim that counts, which is on disk: mine, or the first one.
// Keys are kept for the given time. It returns ErrUnreadable when the first claim cannot be read.
func (s *Store) ClaimKey(ctx context.Context, scope, key string, mine KeyClaim, kept time.Duration) (KeyClaim, error) {
	sum := sha256.Sum256([]byte(scope + "\x00" + key))
	name := hex.EncodeToString(sum[:])
	shard := ShardOf(name)
	msg := nats.NewMsg(prefixKey + shard + "." + name)
	var err error
	if msg.Data, err = json.Marshal(mine); err != nil {
		return mine, err
	}
	ctx, cancel := context.WithTimeout(ctx, StorePatience)
	defer cancel()
	err = s.publish(ctx, recordStream+shard, msg, jetstream.WithExpectLastSequencePerSubject(0), jetstream.WithMsgTTL(life(kept)))
	if err == nil || !link.WrongLast(err) {
		return mine, err
	}
	stream, err := s.stream(ctx, recordStream+shard)
	if err != nil {
		return mine, err
	}
	first, err := stream.GetLastMsgForSubject(ctx, msg.Subject)
	if err != nil {
		return mine, err
	}
	if err := s.durable(ctx, recordStream+shard, first.Sequence); err != nil { // the first caller may still wait for it
		return mine, err
	}
	var held KeyClaim
	if err := json.Unmarshal(first.Data, &held); err != nil {
		return mine, fmt.Errorf("%w: an idempotency key: %w", ErrUnreadable, err)
	}
	return held, nil
}
