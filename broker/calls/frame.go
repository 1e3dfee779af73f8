package calls

import (
	"encoding/json"
	"fmt"
	"time"

	"headrace/broker/link"
	"headrace/internal/fault"
	"headrace/internal/inference"
)

// A frame is what a worker says about one call to the front end that made it, or the other way round. Its
// first byte is its kind, then the call's number.
//
//	worker                      front end
//	CLAIM  ------------------>  the first one is granted, while the caller waits
//	       <------------------  GO, with the time that is left; or GONE
//	REPLY, OFFER or FAIL ---->  the call ends; an offer is pulled
//	STREAM, CHUNK ... ------->  an answer in pieces, in place of a reply
//	       <------------------  CREDIT, when its reader has taken some
//	END or FAIL ------------->  the stream is complete, or broke off
//	       <------------------  CANCEL, when the caller leaves
//	       <------------------  PING, each second, with the calls that the worker should hold
//	PONG   ------------------>  those that it does not
type frameKind byte

const (
	// From worker to front end.
	frameClaim frameKind = 'C' // worker id; the answer is GO or GONE
	frameReply frameKind = 'R' // the result, inline
	frameOffer frameKind = 'O' // the result, to be pulled
	frameFail  frameKind = 'F' // a failure
	// Of an answer in pieces.
	frameStream frameKind = 'S' // it begins; the result without its pieces
	frameChunk  frameKind = 'D' // number and bytes
	frameEnd    frameKind = 'E' // it is complete; the number of chunks
	// From front end to worker.
	frameGo     frameKind = 'G' // run it; remaining time
	frameGone   frameKind = 'X' // do not run it: the caller has gone or another worker has it
	frameCancel frameKind = 'K' // stop running it; front end id
	frameCredit frameKind = 'W' // front end id, and how many bytes of a stream may be sent in all
	framePing   frameKind = 'P' // front end id and the calls you should hold; the answer is PONG
	framePong   frameKind = 'Q' // those of them that you do not hold
)

// newFrame begins a frame.
func newFrame(kind frameKind, call uint64) *link.Writer {
	w := &link.Writer{Tail: make([]byte, 0, 64)}
	w.Tail = append(w.Tail, byte(kind))
	w.Uint(call)
	return w
}

// openFrame reads what every frame begins with.
func openFrame(data []byte) (frameKind, uint64, *link.Reader) {
	r := &link.Reader{Rest: data}
	kind := frameKind(r.Byte())
	return kind, r.Uint(), r
}

// claimFrame asks whether the worker may run a call.
func claimFrame(call uint64, worker string) []byte {
	w := newFrame(frameClaim, call)
	w.String(worker)
	return w.Tail
}

// goFrame allows it, for the time that the caller has left. It is a duration, because clocks of two machines differ.
func goFrame(call uint64, remaining time.Duration) []byte {
	w := newFrame(frameGo, call)
	w.Uint(uint64(max(remaining, 0) / time.Millisecond))
	return w.Tail
}

// goneFrame refuses it.
func goneFrame(call uint64) []byte { return newFrame(frameGone, call).Tail }

// cancelFrame tells the worker that the caller of a claimed call has left.
func cancelFrame(call uint64, frontEnd string) []byte {
	w := newFrame(frameCancel, call)
	w.String(frontEnd)
	return w.Tail
}

// pingFrame carries the calls in place of one call's number.
func pingFrame(frontEnd string, calls []uint64) []byte {
	w := newFrame(framePing, 0)
	w.String(frontEnd)
	return appendCalls(w, calls)
}

// pongFrame answers a ping with the calls that the worker does not hold.
func pongFrame(missing []uint64) []byte {
	return appendCalls(newFrame(framePong, 0), missing)
}

// appendCalls writes how many calls there are, and their numbers.
func appendCalls(w *link.Writer, calls []uint64) []byte {
	w.Uint(uint64(len(calls)))
	for _, c := range calls {
		w.Uint(c)
	}
	return w.Tail
}

// wireFault is a failure on its way from worker to front end. The cause stays in the worker's log.
type wireFault struct {
	Code       fault.Code      `json:"code"`
	Message    string          `json:"message"`
	Status     int             `json:"status,omitempty"`
	Detail     json.RawMessage `json:"detail,omitempty"`
	RetryAfter int64           `json:"retry_after_ms,omitempty"`
	Param      string          `json:"param,omitempty"`
	Raised     bool            `json:"raised,omitempty"`
	Repeat     fault.Repeat    `json:"repeat,omitempty"`
	Kind       string          `json:"kind,omitempty"`
	Reason     string          `json:"reason,omitempty"`
}

// maxDetail bounds the upstream detail that travels with a failure. A longer one is replaced by the message.
const maxDetail = 128 << 10

// failFrame carries a failure. The model server's detail travels with it when it is JSON and not too large.
func failFrame(call uint64, f *fault.Error) []byte {
	wf := wireFault{
		Code: f.Code, Message: f.Message, Status: f.Status, Param: f.Param, Raised: f.Raised,
		RetryAfter: int64(f.RetryAfter / time.Millisecond), Repeat: f.Repeat, Kind: f.Kind, Reason: f.Reason,
	}
	if len(f.Detail) <= maxDetail && json.Valid(f.Detail) {
		wf.Detail = f.Detail
	}
	w := newFrame(frameFail, call)
	text, err := json.Marshal(wf)
	if err != nil { // only a broken Detail could fail, and it was checked
		text = []byte(`{"code":"internal","message":"internal error"}`)
	}
	w.Tail = append(w.Tail, text...)
	return w.Tail
}

// readFail reads a failure. What cannot be read is an internal error: the call has ended either way.
func readFail(data []byte) *fault.Error {
	var wf wireFault
	if err := json.Unmarshal(data, &wf); err != nil {
		return fault.Wrap(fault.Internal, fmt.Errorf("reading a failure: %w", err), "internal error")
	}
	return &fault.Error{
		Code: wf.Code, Message: wf.Message, Status: wf.Status, Detail: wf.Detail, Param: wf.Param, Raised: wf.Raised,
		RetryAfter: time.Duration(min(max(wf.RetryAfter, 0), 1<<40)) * time.Millisecond, Repeat: wf.Repeat, Kind: wf.Kind, Reason: wf.Reason,
	}
}

// streamFrame begins a stream: what is known of the answer beside its pieces.
func streamFrame(call uint64, head *inference.Result) []byte {
	var w link.Writer
	link.WriteResult(&w, head)
	segments, _ := w.Finish()
	return link.Joined(newFrame(frameStream, call).Tail, segments)
}

// chunkFrame carries bytes of a stream. Chunks are numbered from 0; an empty one has no number of its own, and asks for
// credit.
func chunkFrame(call, number uint64, data []byte) []byte {
	w := newFrame(frameChunk, call)
	w.Uint(number)
	return append(w.Tail, data...)
}

// endFrame says that a stream is complete, and how many chunks it had.
func endFrame(call, chunks uint64) []byte {
	w := newFrame(frameEnd, call)
	w.Uint(chunks)
	return w.Tail
}

// creditFrame says how many bytes of a stream may have been sent in all, so that a later one stands for those that were lost.
func creditFrame(call uint64, frontEnd string, total uint64) []byte {
	w := newFrame(frameCredit, call)
	w.String(frontEnd)
	w.Uint(total)
	return w.Tail
}
