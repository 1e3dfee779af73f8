package calls

import (
	"log/slog"
	"math"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/budget"
	"headrace/internal/fault"
	"headrace/internal/inference"
)

// What fuzz targets and tests need of the inside. Nothing here is in a binary.

// PieceSize is what one message of a parcel carries, InlineRequest and InlineReply what travels at once.
const (
	InlineRequest = inlineRequest
	InlineReply   = inlineReply
	MaxDetail     = maxDetail
)

// EncodeRequest gives the bytes of what differs from call to call.
func EncodeRequest(req *inference.Request) []byte {
	var w link.Writer
	link.WriteRequest(&w, req)
	segments, _ := w.Finish()
	return link.Joined(nil, segments)
}

// DecodeRequest is its inverse.
func DecodeRequest(data []byte) (*inference.Request, error) {
	req := new(inference.Request)
	return req, link.ReadRequest(data, req)
}

// EncodeResult gives a result's bytes.
func EncodeResult(res *inference.Result) []byte {
	var w link.Writer
	link.WriteResult(&w, res)
	segments, _ := w.Finish()
	return link.Joined(nil, segments)
}

// DecodeResult is its inverse.
func DecodeResult(data []byte) (*inference.Result, error) { return link.ReadResult(data) }

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
		in.parcel = &link.ParcelRef{Holder: e.Ref.Holder, ID: e.Ref.ID, Size: e.Ref.Size, Digest: e.Ref.Digest}
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
		e.Ref = &Ref{p.Holder, p.ID, p.Size, p.Digest}
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
		w.Ref(&link.ParcelRef{Holder: f.Ref.Holder, ID: f.Ref.ID, Size: f.Ref.Size, Digest: f.Ref.Digest})
		return w.Tail
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
		f.Name = r.String()
	case frameGo:
		f.Left = time.Duration(min(r.Uint(), 1<<40)) * time.Millisecond
	case frameGone:
	case framePing:
		f.Name = r.String()
		f.Calls = r.Calls()
	case framePong:
		f.Calls = r.Calls()
	case frameOffer:
		ref := r.Ref()
		f.Ref = Ref{ref.Holder, ref.ID, ref.Size, ref.Digest}
	case frameReply, frameFail:
		return f, false
	default:
		return f, false
	}
	return f, r.Done() == nil
}

// EncodeFail gives the frame of a failure.
func EncodeFail(call uint64, err *fault.Error) []byte { return failFrame(call, err) }

// DecodeFail reads what follows a failure's kind and call.
func DecodeFail(data []byte) *fault.Error { return readFail(data) }

// OpenFrame gives a frame's kind, call and rest.
func OpenFrame(data []byte) (kind byte, call uint64, rest []byte, err error) {
	k, call, r := openFrame(data)
	return byte(k), call, r.Rest, r.Err
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
	f, err := NewFrontEnd(link.Dial{URL: "nats://nowhere"}, nil, budget.New(math.MaxInt64), slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	f.link = &link.Link{} // whose nil connection refuses everything
	c := &call{
		id: 1, route: route, lane: link.LaneOf(route), deadline: time.Now().Add(time.Hour), began: time.Now(),
		outcome: make(chan outcome, 1), again: make(chan struct{}, 1),
	}
	f.calls.put(c)
	return &Solo{f, c}, nil
}

// Receive hands the front end a message on the part of its inbox called tail.
func (s *Solo) Receive(tail string, status string, data []byte) Outcome {
	msg := &nats.Msg{Subject: link.PrefixFrontEnd + s.f.id + "." + tail, Data: data}
	if status != "" {
		msg.Header = nats.Header{"Status": []string{status}}
	}
	s.f.receive(msg)
	select {
	case o := <-s.c.outcome:
		out := Outcome{Ended: true, Result: o.result, Err: o.err}
		if o.offer != nil {
			out.Offer = &Ref{o.offer.Holder, o.offer.ID, o.offer.Size, o.offer.Digest}
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
	w, err := NewWorkerEnd(link.Dial{URL: "nats://nowhere"}, nil, records.Shared{}, budget.New(math.MaxInt64), slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	w.link = &link.Link{}
	return &SoloWorker{w, w.Intake([]*inference.Route{route}).pullers[0]}, nil
}

// Control hands the worker a control message.
func (s *SoloWorker) Control(data []byte) {
	s.w.receiveControl(&nats.Msg{Subject: link.PrefixWorker + s.w.id + ".c", Data: data})
}

// Answer hands the worker the answer to a claim and gives what the claim makes of it.
func (s *SoloWorker) Answer(data []byte) (granted bool, left time.Duration) {
	answer := make(chan claimAnswer, 1)
	s.w.mu.Lock()
	s.w.claims[1] = answer
	s.w.mu.Unlock()
	s.w.receiveAnswer(&nats.Msg{Subject: link.PrefixWorker + s.w.id + ".g.1", Data: data})
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

// ConnectionBack is what happens when the connection is back after a loss.
func (f *FrontEnd) ConnectionBack() { f.connectionBack() }

// Left counts what a front end still remembers: calls, and parcels it holds for workers.
func (f *FrontEnd) Left() int { return len(f.calls.all()) + f.parcels.Count() }

// Left counts what a worker still remembers: running calls, and parcels it holds for front ends.
func (w *WorkerEnd) Left() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.running) + w.parcels.Count()
}

// ShortLease makes the leases of this worker's jobs last for ack without a heartbeat. It must be called before Run.
func (w *WorkerEnd) ShortLease(ack time.Duration) {
	w.lease = leaseTimes{ack: ack, beat: ack / 3}
}

// Away reports whether an error of the store costs a job no attempt.
func Away(err error) bool { return away(err) }

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
func (c LoneCall) End(res *inference.Result, err error) {
	c.call.end(outcome{result: res, err: err})
}

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
