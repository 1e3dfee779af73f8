package runner_test

import (
	"context"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/inference"
	"headrace/internal/job"
)

// JobStore writes the state in which a crash leaves a job.
type JobStore struct {
	s *records.Store
	l *link.Link
}

// stored is a store over a connection of its own.
func (r *jobRig) stored() JobStore {
	r.TB.Helper()
	l, err := r.Dial.Open(r.TB.Context(), "test", r.Log, link.Events{})
	if err != nil {
		r.TB.Fatal(err)
	}
	r.TB.Cleanup(l.NC.Close)
	return JobStore{records.NewStore(l, nil, r.Shared), l}
}

// Prepare stores a job's input as Accept does, and puts the record into its first state without writing it.
func (s JobStore) Prepare(ctx context.Context, r *job.Record, body []byte, req *inference.Request) error {
	var w link.Writer
	w.Bytes(body)
	link.WriteRequest(&w, req)
	segments, _ := w.Finish()
	var err error
	r.Input, err = s.s.PutBody(ctx, r.ID, records.InputPrefix(r.ID), "prepared", link.Joined(nil, segments), time.Hour)
	r.Accept(time.Now().UTC())
	return err
}

// Put writes a record.
func (s JobStore) Put(ctx context.Context, r *job.Record) error {
	return s.s.Put(ctx, r, time.Now().UTC())
}

// PutText writes something as a job's record that may be none.
func (s JobStore) PutText(ctx context.Context, r *job.Record, text string) error {
	msg := nats.NewMsg("hrj.rec." + records.ShardOf(string(r.ID)) + "." + string(r.ID))
	msg.Data = []byte(text)
	msg.Header.Set("Hr-State", string(job.Queued))
	msg.Header.Set("Hr-Lane", string(records.LaneNameOf(r))+"."+string(r.ID))
	_, err := s.l.JS.PublishMsg(ctx, msg)
	return err
}

// PutPart replaces one part of a job's stored input or result.
func (s JobStore) PutPart(ctx context.Context, id job.ID, b *job.Body, output bool, n int, data []byte) error {
	prefix := records.InputPrefix(id)
	if output {
		prefix = records.OutputPrefix(id)
	}
	_, err := s.l.JS.Publish(ctx, prefix+b.Series+"."+strconv.Itoa(n), data)
	return err
}

// DropBodies removes what is stored of a job beside its record.
func (s JobStore) DropBodies(ctx context.Context, id job.ID) error {
	return s.s.Erase(ctx, id, records.InputPrefix(id), records.OutputPrefix(id))
}

// Change makes a move on a record and writes it.
func (s JobStore) Change(ctx context.Context, id job.ID, move func(*job.Record, time.Time) error) error {
	_, err := s.s.Change(ctx, id, func(r *job.Record, now time.Time) (bool, error) { return false, move(r, now) })
	return err
}

// Enqueue gives a job its place in the queue.
func (s JobStore) Enqueue(ctx context.Context, r *job.Record) error { return s.s.Enqueue(ctx, r) }

// Unqueue takes it away.
func (s JobStore) Unqueue(ctx context.Context, r *job.Record) error { return s.s.Unqueue(ctx, r) }

// Queued reports whether a job has a place in the queue.
func (s JobStore) Queued(ctx context.Context, r *job.Record) (bool, error) {
	return s.s.IsQueued(ctx, r)
}

// Bodies counts the messages that hold inputs and large results of a job's shard.
func (s JobStore) Bodies(ctx context.Context, id job.ID) (uint64, error) {
	stream, err := s.l.JS.Stream(ctx, "JOBDATA_"+records.ShardOf(string(id)))
	if err != nil {
		return 0, err
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return 0, err
	}
	return info.State.Msgs, nil
}

// callLane names a route's stream and durable.
func callLane(route *inference.Route) (stream, durable string) {
	l := link.LaneOf(route)
	return l.Stream, l.Consumer
}

// jobLane names the stream and the durable of a route's jobs.
func jobLane(route *inference.Route, p job.Priority) (stream, durable string) {
	l := records.LaneOf(route, p)
	return l.Stream, l.Consumer
}
