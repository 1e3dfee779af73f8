package records

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/internal/job"
)

const (
	// inlineBody is the size in bytes of the largest input or result that is stored in the record itself.
	inlineBody = 64 << 10
	// partSize is how many bytes of a larger one go into one message.
	partSize = 1 << 20
)

// PutBody stores data for life. It leaves small bodies to the record.
func (s *Store) PutBody(ctx context.Context, id job.ID, prefix, series string, data []byte, life time.Duration) (*job.Body, error) {
	sum := sha256.Sum256(data)
	b := &job.Body{Bytes: int64(len(data)), SHA256: hex.EncodeToString(sum[:]), Series: series}
	if len(data) <= inlineBody {
		b.Inline = data
		return b, nil
	}
	defer s.timed(storeBody)()
	stream, last := dataStream+ShardOf(string(id)), uint64(0)
	for rest := data; len(rest) > 0; b.Parts++ {
		msg := nats.NewMsg(partSubject(prefix, series, b.Parts))
		msg.Data = rest[:min(len(rest), partSize)]
		rest = rest[len(msg.Data):]
		ctx, cancel := context.WithTimeout(ctx, 2*StorePatience)
		ack, err := s.write(ctx, stream, msg, jetstream.WithMsgTTL(max(life, time.Second)))
		cancel()
		if err != nil {
			return nil, fmt.Errorf("storing %d bytes for job %s: %w", len(data), id, err)
		}
		last = ack.Sequence
	}
	if err := s.durable(ctx, stream, last); err != nil {
		return nil, fmt.Errorf("storing %d bytes for job %s: %w", len(data), id, err)
	}
	return b, nil
}

// Body reads stored bytes and checks their digest. It returns ErrNoBody when some of them are gone.
func (s *Store) Body(ctx context.Context, id job.ID, prefix string, b *job.Body) ([]byte, error) {
	if b == nil {
		return nil, ErrNoBody
	}
	data := b.Inline
	if b.Parts > 0 {
		defer s.timed(storeBody)()
		stream, err := s.stream(ctx, dataStream+ShardOf(string(id)))
		if err != nil {
			return nil, err
		}
		data = make([]byte, 0, b.Bytes)
		for n := range b.Parts {
			msg, err := readPart(ctx, stream, partSubject(prefix, b.Series, n))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return nil, ErrNoBody
			}
			if err != nil {
				return nil, fmt.Errorf("reading %d bytes of job %s: %w", b.Bytes, id, err)
			}
			data = append(data, msg.Data...)
		}
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != b.SHA256 {
		return nil, fmt.Errorf("job %s, %d bytes: %w", id, len(data), ErrDamaged)
	}
	return data, nil
}

func readPart(ctx context.Context, stream jetstream.Stream, subject string) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*StorePatience)
	defer cancel()
	return stream.GetLastMsgForSubject(ctx, subject)
}

// Erase removes a job's input and results.
func (s *Store) Erase(ctx context.Context, id job.ID, prefixes ...string) error {
	ctx, cancel := context.WithTimeout(ctx, StorePatience)
	defer cancel()
	stream, err := s.stream(ctx, dataStream+ShardOf(string(id)))
	if err != nil {
		return err
	}
	for _, prefix := range prefixes {
		if err := stream.Purge(ctx, jetstream.WithPurgeSubject(prefix+">")); err != nil {
			return fmt.Errorf("erasing job %s: %w", id, err)
		}
	}
	return nil
}

const (
	// BodyMargin is how much longer than its record a body is kept.
	BodyMargin = time.Hour
)
