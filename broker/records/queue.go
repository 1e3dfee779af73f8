package records

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/link"
	"headrace/internal/job"
)

// Enqueue puts a queued job into its work queue. However often it is called, the job is there once.
func (s *Store) Enqueue(ctx context.Context, r *job.Record) error {
	defer s.timed(storeEnqueue)()
	ctx, cancel := context.WithTimeout(ctx, StorePatience)
	defer cancel()
	msg := nats.NewMsg(queueSubject(r))
	msg.Data = []byte(r.Route)
	err := s.publish(ctx, queueStream+strconv.Itoa(link.ShardOf(r.Route)), msg)
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && strings.Contains(api.Description, "per subject") {
		return nil // it waits already
	}
	if err != nil {
		return fmt.Errorf("queueing job %s: %w", r.ID, err)
	}
	return nil
}

// Unqueue takes a job out of its work queue, if it is there.
func (s *Store) Unqueue(ctx context.Context, r *job.Record) error {
	ctx, cancel := context.WithTimeout(ctx, StorePatience)
	defer cancel()
	stream, err := s.stream(ctx, queueStream+strconv.Itoa(link.ShardOf(r.Route)))
	if err == nil {
		err = takeOut(ctx, stream, queueSubject(r))
	}
	if err != nil {
		return fmt.Errorf("taking job %s out of the queue: %w", r.ID, err)
	}
	return nil
}

// IsQueued reports whether a job is in its work queue, waiting or leased.
func (s *Store) IsQueued(ctx context.Context, r *job.Record) (bool, error) {
	return s.IsPlaced(ctx, LaneNameOf(r), r.ID)
}

// IsPlaced is IsQueued for a caller that has no record.
func (s *Store) IsPlaced(ctx context.Context, lane LaneName, id job.ID) (bool, error) {
	at, ok := lane.Lane()
	if !ok {
		return false, fmt.Errorf("%q is not a subject of a work queue", lane.place(id))
	}
	ctx, cancel := context.WithTimeout(ctx, StorePatience)
	defer cancel()
	stream, err := s.stream(ctx, queueStream+strconv.Itoa(link.ShardOf(at.Route)))
	if err == nil {
		_, err = stream.GetLastMsgForSubject(ctx, lane.place(id))
	}
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	return err == nil, err
}

// errNoRoom says that nothing was removed because the disk is full: the NATS server (2.15) stops answering when it cannot
// write down that it has removed a message.
var errNoRoom = errors.New("the disk is full")

// takeOut removes the message of a subject from a work queue, if there is one, leased or not. It does not purge the subject:
// a purge of less than a consumer's whole filter moves that consumer's floor over leases of other messages, and the NATS
// server never delivers those again.
func takeOut(ctx context.Context, stream jetstream.Stream, subject string) error {
	msg, err := stream.GetLastMsgForSubject(ctx, subject)
	if err == nil {
		if err = stream.DeleteMsg(ctx, msg.Sequence); err != nil { // it may have been acknowledged since
			if _, gone := stream.GetMsg(ctx, msg.Sequence); errors.Is(gone, jetstream.ErrMsgNotFound) {
				err = gone
			}
		}
	}
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil
	}
	return err
}
