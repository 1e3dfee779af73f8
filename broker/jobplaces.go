package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/internal/job"
)

// enqueue puts a job that is queued into its work queue. It is there once, however often this is called.
func (s *jobStore) enqueue(ctx context.Context, r *job.Record) error {
	defer s.timed(storeEnqueue)()
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	msg := nats.NewMsg(queueSubject(r))
	msg.Data = []byte(r.Route)
	err := s.publish(ctx, queueStream+strconv.Itoa(shardOf(r.Route)), msg)
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && strings.Contains(api.Description, "per subject") {
		return nil // it waits already
	}
	if err != nil {
		return fmt.Errorf("queueing job %s: %w", r.ID, err)
	}
	return nil
}

// unqueue takes a job out of its work queue, where it may have been.
func (s *jobStore) unqueue(ctx context.Context, r *job.Record) error {
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	stream, err := s.stream(ctx, queueStream+strconv.Itoa(shardOf(r.Route)))
	if err == nil {
		err = takeOut(ctx, stream, queueSubject(r))
	}
	if err != nil {
		return fmt.Errorf("taking job %s out of the queue: %w", r.ID, err)
	}
	return nil
}

// isQueued reports whether a job is in its work queue, waiting or leased.
func (s *jobStore) isQueued(ctx context.Context, r *job.Record) (bool, error) {
	return s.isPlaced(ctx, queueSubject(r))
}

// isPlaced reports whether a place in a work queue is taken.
func (s *jobStore) isPlaced(ctx context.Context, place string) (bool, error) {
	lane, ok := parseLane(place[:strings.LastIndexByte(place, '.')])
	if !ok {
		return false, fmt.Errorf("%q is no place in a work queue", place)
	}
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	stream, err := s.stream(ctx, queueStream+strconv.Itoa(shardOf(lane.Route)))
	if err == nil {
		_, err = stream.GetLastMsgForSubject(ctx, place)
	}
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	return err == nil, err
}
