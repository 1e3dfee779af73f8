package broker

import (
	"context"
	"log/slog"
	"math"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"headrace/internal/budget"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/job"
)

// What fuzz targets and tests need of the inside. Nothing here is in a binary.

// PieceSize is what one message of a parcel carries, InlineRequest and InlineReply what travels at once.
const (
	PieceSize     = pieceSize
	InlineRequest = inlineRequest
	InlineReply   = inlineReply
	MaxDetail     = maxDetail
	MaxParts      = maxParts
)

// EncodeRequest gives the bytes of what differs from call to call.
func EncodeRequest(req *inference.Request) []byte {
	var w writer
	writeRequest(&w, req)
	segments, _ := w.finish()
	return joined(nil, segments)
}

// DecodeRequest is its inverse.
func DecodeRequest(data []byte) (*inference.Request, error) {
	req := new(inference.Request)
	return req, readRequest(data, req)
}

// EncodeResult gives a result's bytes.
func EncodeResult(res *inference.Result) []byte {
	var w writer
	writeResult(&w, res)
	segments, _ := w.finish()
	return joined(nil, segments)
}

// DecodeResult is its inverse.
func DecodeResult(data []byte) (*inference.Result, error) { return readResult(data) }

// Ref is a parcelRef.
type Ref struct {
	Holder string
	ID     uint64
	Size   int64
	Digest uint32
}

// Envelope is an envelope. Request is what follows inline, Ref where to pull it from otherwise.
type Envelope struct {
	FrontEnd  string
	Call      uint64
	Remaining time.Duration
	RequestID string
	Route     string
	Kind      inference.Type
	Ref       *Ref
	Request   []byte
}

// Encode gives the message.
func (e *Envelope) Encode() []byte {
	in := envelope{
		frontEnd: e.FrontEnd, call: e.Call, remaining: e.Remaining, requestID: e.RequestID, route: e.Route,
		kind: e.Kind, request: [][]byte{e.Request},
	}
	if e.Ref != nil {
		in.parcel = &parcelRef{holder: e.Ref.Holder, id: e.Ref.ID, size: e.Ref.Size, digest: e.Ref.Digest}
	}
	return in.encode()
}

// DecodeEnvelope is its inverse.
func DecodeEnvelope(data []byte) (*Envelope, error) {
	in, err := decodeEnvelope(data)
	if err != nil {
		return nil, err
	}
	e := &Envelope{
		FrontEnd: in.frontEnd, Call: in.call, Remaining: in.remaining, RequestID: in.requestID, Route: in.route,
		Kind: in.kind, Request: in.inline,
	}
	if p := in.parcel; p != nil {
		e.Ref = &Ref{p.holder, p.id, p.size, p.digest}
	}
	return e, nil
}

// Frame is any frame, with the fields that its kind has.
type Frame struct {
	Kind  byte
	Call  uint64
	Name  string // worker of a claim, front end of a cancel or a ping
	Left  time.Duration
	Calls []uint64
	Ref   Ref
}

// Encode gives the frame's bytes; nil for kinds that are tested elsewhere.
func (f Frame) Encode() []byte {
	switch frameKind(f.Kind) {
	case frameClaim:
		return claimFrame(f.Call, f.Name)
	case frameGo:
		return goFrame(f.Call, f.Left)
	case frameGone:
		return goneFrame(f.Call)
	case frameCancel:
		return cancelFrame(f.Call, f.Name)
	case framePing:
		return pingFrame(f.Name, f.Calls)
	case framePong:
		return pongFrame(f.Calls)
	case frameOffer:
		w := newFrame(frameOffer, f.Call)
		w.ref(&parcelRef{f.Ref.Holder, f.Ref.ID, f.Ref.Size, f.Ref.Digest})
		return w.tail
	case frameReply, frameFail:
	}
	return nil
}

// DecodeFrame reads a frame as its receivers do; ok is false when it is broken or of an unknown kind.
func DecodeFrame(data []byte) (f Frame, ok bool) {
	kind, call, r := openFrame(data)
	f = Frame{Kind: byte(kind), Call: call}
	switch kind {
	case frameClaim, frameCancel:
		f.Name = r.string()
	case frameGo:
		f.Left = time.Duration(min(r.uint(), 1<<40)) * time.Millisecond
	case frameGone:
	case framePing:
		f.Name = r.string()
		f.Calls = r.calls()
	case framePong:
		f.Calls = r.calls()
	case frameOffer:
		ref := r.ref()
		f.Ref = Ref{ref.holder, ref.id, ref.size, ref.digest}
	case frameReply, frameFail:
		return f, false
	default:
		return f, false
	}
	return f, r.done() == nil
}

// EncodeFail gives the frame of a failure.
func EncodeFail(call uint64, err *fault.Error) []byte { return failFrame(call, err) }

// DecodeFail reads what follows a failure's kind and call.
func DecodeFail(data []byte) *fault.Error { return readFail(data) }

// OpenFrame gives a frame's kind, call and rest.
func OpenFrame(data []byte) (kind byte, call uint64, rest []byte, err error) {
	k, call, r := openFrame(data)
	return byte(k), call, r.rest, r.err
}

// DecodePresence gives the fields of an announcement.
func DecodePresence(data []byte) (worker string, routes map[string]int, leaving bool, err error) {
	p, err := readPresence(data)
	if err != nil {
		return "", nil, false, err
	}
	return p.Worker, p.Routes, p.Leaving, nil
}

// Roster is what a front end knows of workers.
type Roster struct{ r *roster }

// NewRoster makes an empty one.
func NewRoster() Roster { return Roster{newRoster()} }

// Note takes an announcement in; a broken one is ignored, as everywhere.
func (r Roster) Note(data []byte, now time.Time) {
	if p, err := readPresence(data); err == nil {
		r.r.note(p, now)
	}
}

// Serves counts the workers of a route.
func (r Roster) Serves(route string) int {
	workers, _, _ := r.r.serves(route)
	return workers
}

// Expire removes the silent ones.
func (r Roster) Expire(now time.Time) { r.r.expire(now) }

// Size is how many workers and routes it remembers.
func (r Roster) Size() (workers, routes int) { return len(r.r.workers), len(r.r.slots) }

// Outcome is what a message made of a call: nothing, or what its caller gets.
type Outcome struct {
	Ended  bool
	Result *inference.Result
	Err    error
	Offer  *Ref
}

// Solo is a front end without a connection that has one call, number 1, in flight.
type Solo struct {
	f *FrontEnd
	c *call
}

// NewSolo makes one.
func NewSolo(route *inference.Route) (*Solo, error) {
	f, err := NewFrontEnd(Dial{URL: "nats://nowhere"}, nil, budget.New(math.MaxInt64), slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	f.link = &link{} // whose nil connection refuses everything
	c := &call{
		id: 1, route: route, lane: laneOf(route), deadline: time.Now().Add(time.Hour), began: time.Now(),
		outcome: make(chan outcome, 1), again: make(chan struct{}, 1),
	}
	f.calls.put(c)
	return &Solo{f, c}, nil
}

// Receive hands the front end a message on the part of its inbox called tail.
func (s *Solo) Receive(tail string, status string, data []byte) Outcome {
	msg := &nats.Msg{Subject: prefixFrontEnd + s.f.id + "." + tail, Data: data}
	if status != "" {
		msg.Header = nats.Header{"Status": []string{status}}
	}
	s.f.receive(msg)
	select {
	case o := <-s.c.outcome:
		out := Outcome{Ended: true, Result: o.result, Err: o.err}
		if o.offer != nil {
			out.Offer = &Ref{o.offer.holder, o.offer.id, o.offer.size, o.offer.digest}
		}
		return out
	default:
		return Outcome{}
	}
}

// Sequence is where the call's message is stored; 0 when that is not known.
func (s *Solo) Sequence() uint64 {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.c.sequence
}

// Holder is who claimed the call.
func (s *Solo) Holder() string { return s.c.holder() }

// Withdraw makes the caller leave.
func (s *Solo) Withdraw() { s.f.leave(s.c) }

// AnswerLate is an answer of the same process that has found the call just before its caller left.
func (s *Solo) AnswerLate(result *inference.Result) { s.c.end(outcome{result: result}) }

// SoloWorker is a worker without a connection.
type SoloWorker struct {
	w *WorkerEnd
	p *puller
}

// NewSoloWorker makes one that pulls from route and waits for claim number 1.
func NewSoloWorker(route *inference.Route) (*SoloWorker, error) {
	w, err := NewWorkerEnd(Dial{URL: "nats://nowhere"}, nil, Shared{}, budget.New(math.MaxInt64), slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	w.link = &link{}
	return &SoloWorker{w, w.Intake([]*inference.Route{route}).pullers[0]}, nil
}

// Control hands the worker a control message.
func (s *SoloWorker) Control(data []byte) {
	s.w.receiveControl(&nats.Msg{Subject: prefixWorker + s.w.id + ".c", Data: data})
}

// Answer hands the worker the answer to a claim and gives what the claim makes of it.
func (s *SoloWorker) Answer(data []byte) (granted bool, left time.Duration) {
	answer := make(chan claimAnswer, 1)
	s.w.mu.Lock()
	s.w.claims[1] = answer
	s.w.mu.Unlock()
	s.w.receiveAnswer(&nats.Msg{Subject: prefixWorker + s.w.id + ".g.1", Data: data})
	a := <-answer
	return a.granted, a.left
}

// Pulled hands a standing pull for credit messages one message, and gives how many it waits for then and how
// many requests it has accepted in all.
func (s *SoloWorker) Pulled(credit int, header map[string]string, data []byte) (left, accepted int) {
	session := &session{puller: s.p, credit: credit, idle: make(chan struct{}, 1)}
	msg := &nats.Msg{Subject: "infer.x", Data: data, Header: nats.Header{}}
	for key, value := range header {
		msg.Header[key] = []string{value}
	}
	session.receive(msg)
	s.p.intake.mu.Lock()
	defer s.p.intake.mu.Unlock()
	return session.credit, len(s.p.intake.got)
}

// Parcels is one end of transfers without a connection.
type Parcels struct{ p *parcels }

// NewParcels makes one.
func NewParcels() Parcels { return Parcels{newParcels("end", nil, budget.New(math.MaxInt64))} }

// Hold keeps segments, as parcel number 1 of a new end.
func (p Parcels) Hold(segments [][]byte, size int64) uint64 { return p.p.hold(segments, size, nil).id }

// Ask hands the end an ask for a piece.
func (p Parcels) Ask(data []byte) { p.p.answer(&nats.Msg{Data: data}) }

// Held counts parcels.
func (p Parcels) Held() int { return p.p.count() }

// Slice is the piece of a parcel that an ask for offset and size gets.
func (p Parcels) Slice(id uint64, offset, size int64) []byte { return p.p.held[id].slice(offset, size) }

// Take hands the end a piece of a transfer of size bytes; it gives the buffer, the number of the piece that
// arrived or -1, and the failure.
func (p Parcels) Take(size int, status string, data []byte) (buf []byte, piece int, err error) {
	t := &transfer{buf: make([]byte, size), arrived: make(chan int, 1), failed: make(chan error, 1)}
	p.p.transfers[7] = t
	msg := &nats.Msg{Subject: prefixPieces + p.p.id + ".7", Data: data}
	if status != "" {
		msg.Header = nats.Header{"Status": []string{status}}
	}
	p.p.take(msg)
	piece = -1
	select {
	case piece = <-t.arrived:
	case err = <-t.failed:
	default:
	}
	return t.buf, piece, err
}

// AskFor is the ask for a piece.
func AskFor(id uint64, offset, size int64) []byte { return askFor(&parcelRef{id: id}, offset, size) }

// Token encodes a name for a subject.
func Token(name string) string { return token(name) }

// ConnectionBack is what happens when the connection is back after a loss.
func (f *FrontEnd) ConnectionBack() { f.connectionBack() }

// ShardOfStream is the inverse of a stream's name.
func ShardOfStream(stream string) (int, bool) { return shardOfStream(stream) }

// Left counts what a front end still remembers: calls, and parcels it holds for workers.
func (f *FrontEnd) Left() int { return len(f.calls.all()) + f.parcels.count() }

// Left counts what a worker still remembers: running calls, and parcels it holds for front ends.
func (w *WorkerEnd) Left() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.running) + w.parcels.count()
}

// Writing notes a record that is about to be written and gives the tag of the write.
func (m *RecentJobs) Writing(r *job.Record, size int) string { return m.writing(r, size) }

// Written notes what became of a write.
func (m *RecentJobs) Written(id job.ID, tag string, revision uint64) { m.written(id, tag, revision) }

// Event notes that a record was written.
func (m *RecentJobs) Event(id job.ID, tag string, revision uint64) *job.Record {
	return m.event(id, tag, revision)
}

// Latest gives a copy of what is remembered of a job.
func (m *RecentJobs) Latest(id job.ID) *job.Record { return m.latest(id) }

// Size is what is held.
func (m *RecentJobs) Size() (records int, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.known), m.held
}

// Flush makes the server sync files with flush. It must be called before Run.
func (s *Server) Flush(flush func(*os.File) error) { s.flush = flush }

// Health makes the server believe what health says of its streams. It must be called before Run.
func (s *Server) Health(health func() string) {
	s.health = func(*server.Server) string { return health() }
}

// What tests of durability have to know.
const (
	SyncOnRequest = syncOnRequest
	StorePatience = storePatience
)

// JobShard is the shard of a job.
func JobShard(id string) string { return jobShard(id) }

// UpTo returns when a stream's writes up to number are on disk.
func (s *Syncs) UpTo(ctx context.Context, nc *nats.Conn, stream string, number uint64) error {
	return s.of(stream).upTo(ctx, &link{nc: nc}, number)
}

// Forget is called when the connection was lost.
func (s *Syncs) Forget() { s.forget() }

// Gathered is the largest number that somebody waits for.
func (s *Syncs) Gathered(stream string) uint64 {
	g := s.of(stream)
	g.mu.Lock()
	defer g.mu.Unlock()
	most := uint64(0)
	for _, f := range []*syncFlight{g.waiting, g.asking} {
		if f != nil {
			most = max(most, f.upTo)
		}
	}
	return most
}

// ShortLease makes the leases of this worker's jobs last for ack without a heartbeat. It must be called before Run.
func (w *WorkerEnd) ShortLease(ack time.Duration) { w.lease = leaseTimes{ack: ack, beat: ack / 3} }

// JobStore writes the state in which a crash leaves a job.
type JobStore struct{ s *jobStore }

// StoreOf is the store that jobs uses; jobs must have run.
func StoreOf(jobs *Jobs) JobStore {
	<-jobs.ready
	return JobStore{jobs.store}
}

// Prepare stores a job's input as Accept does, and puts the record into its first state without writing it.
func (s JobStore) Prepare(ctx context.Context, r *job.Record, body []byte, req *inference.Request) error {
	var w writer
	w.bytes(body)
	writeRequest(&w, req)
	segments, _ := w.finish()
	var err error
	r.Input, err = s.s.putBody(ctx, r.ID, inputPrefix(r.ID), "prepared", joined(nil, segments), time.Hour)
	r.Accept(time.Now().UTC())
	return err
}

// Put writes a record.
func (s JobStore) Put(ctx context.Context, r *job.Record) error {
	return s.s.put(ctx, r, time.Now().UTC())
}

// PutText writes something as a job's record that may be none.
func (s JobStore) PutText(ctx context.Context, r *job.Record, text string) error {
	msg := nats.NewMsg(recordSubject(r.ID))
	msg.Data = []byte(text)
	msg.Header.Set(headerState, string(job.Queued))
	msg.Header.Set(headerLane, queueSubject(r))
	err := s.s.publish(ctx, recordStream+jobShard(string(r.ID)), msg)
	return err
}

// PutPart replaces one part of a job's stored input or result.
func (s JobStore) PutPart(ctx context.Context, id job.ID, b *job.Body, output bool, n int, data []byte) error {
	prefix := inputPrefix(id)
	if output {
		prefix = outputPrefix(id)
	}
	msg := nats.NewMsg(partSubject(prefix, b.Series, n))
	msg.Data = data
	err := s.s.publish(ctx, dataStream+jobShard(string(id)), msg)
	return err
}

// DropBodies removes what is stored of a job beside its record.
func (s JobStore) DropBodies(ctx context.Context, id job.ID) error {
	return s.s.erase(ctx, id, inputPrefix(id), outputPrefix(id))
}

// Change makes a move on a record and writes it.
func (s JobStore) Change(ctx context.Context, id job.ID, move func(*job.Record, time.Time) error) error {
	_, err := s.s.change(ctx, id, func(r *job.Record, now time.Time) (bool, error) { return false, move(r, now) })
	return err
}

// Enqueue gives a job its place in the queue.
func (s JobStore) Enqueue(ctx context.Context, r *job.Record) error { return s.s.enqueue(ctx, r) }

// Unqueue takes it away.
func (s JobStore) Unqueue(ctx context.Context, r *job.Record) error { return s.s.unqueue(ctx, r) }

// Queued reports whether a job has a place in the queue.
func (s JobStore) Queued(ctx context.Context, r *job.Record) (bool, error) {
	return s.s.isQueued(ctx, r)
}

// RecordFields are the names of a record's members, in its JSON.
func RecordFields() []string { return recordFields() }

// QueueOf names the work queue of one route and priority: its stream, the subjects in it, its consumer.
func QueueOf(route *inference.Route, priority job.Priority) (stream, subject, consumer string) {
	l := jobLaneOf(route, priority)
	return l.stream, l.subject, l.consumer
}

// Away reports whether an error of the store costs a job no attempt.
func Away(err error) bool { return away(err) }

// What the store says by itself.
var (
	ErrDamaged    = errDamaged
	ErrBrokerLost = errBrokerLost
	ErrUnsynced   = errUnsynced
)

// Bodies counts the messages that hold inputs and large results of a job's shard.
func (s JobStore) Bodies(ctx context.Context, id job.ID) (uint64, error) {
	stream, err := s.s.stream(ctx, dataStream+jobShard(string(id)))
	if err != nil {
		return 0, err
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return 0, err
	}
	return info.State.Msgs, nil
}

// PendingFrames bounds the bytes of frames that have come to a front end and were not looked at.
func (f *FrontEnd) PendingFrames(bytes int) error { return f.frames.SetPendingLimits(-1, bytes) }

// LoneCall is a call that no front end looks after.
type LoneCall struct{ call *call }

// NewLoneCall makes one that waits.
func NewLoneCall() LoneCall {
	return LoneCall{&call{deadline: time.Now().Add(time.Minute), outcome: make(chan outcome, 1)}}
}

// Claim is a worker's claim.
func (c LoneCall) Claim(worker string) bool {
	_, granted := c.call.claim(worker, time.Now())
	return granted
}

// End ends the call with a result, or with err.
func (c LoneCall) End(res *inference.Result, err error) { c.call.end(outcome{result: res, err: err}) }

// Leave is what the caller does at last.
func (c LoneCall) Leave() {
	c.call.mu.Lock()
	defer c.call.mu.Unlock()
	c.call.state = callWithdrawn
}

// Outcome is what the caller would get; false: nothing yet.
func (c LoneCall) Outcome() (*inference.Result, error, bool) {
	select {
	case o := <-c.call.outcome:
		return o.result, o.err, true
	default:
		return nil, nil, false
	}
}

// State is "waiting", "claimed", "ended" or "withdrawn".
func (c LoneCall) State() string {
	c.call.mu.Lock()
	defer c.call.mu.Unlock()
	return map[callState]string{
		callWaiting: "waiting", callClaimed: "claimed", callEnded: "ended", callWithdrawn: "withdrawn",
	}[c.call.state]
}

// LoseWorker ends the calls of a worker that is gone.
func (f *FrontEnd) LoseWorker(worker string) { f.loseWorker(worker) }

// Reclaim claims again the only call of a front end for the worker that holds it.
func (f *FrontEnd) Reclaim() (granted bool) {
	for _, c := range f.calls.all() {
		_, granted = c.claim(c.holder(), time.Now())
	}
	return granted
}
