package inference

import "context"

// Stream is an answer that comes in pieces. One goroutine at a time uses it.
type Stream interface {
	// Next waits for the next piece, whose bytes are valid until the call after it. The error is io.EOF when the answer is
	// complete, a *fault.Error when it has broken off, which is for good, and the cause of ctx when that has ended; then Next may be called
	// again.
	Next(ctx context.Context) (*Event, error)
	// Close gives back what the stream holds, and cancels a call that is not complete. It may be called more than once.
	Close()
}

// Event is one piece of an answer, in no dialect: what a stream consists of. Values are raw JSON. A provider that streams
// yields events as they come; of a whole answer they are made at the end. Dialects write them.
type Event struct {
	Kind   EventKind
	Choice int // which of several answers it belongs to

	Text []byte // EventText: a string
	Call *ToolCall
	// Finish is why the answer ended: a string.
	Finish []byte
	Usage  []byte
	// Raw is an event of the model's own, for dialects that pass it; of EventFinish the other members of the answer, each
	// after a comma.
	Raw []byte
}

// EventKind says what an event tells.
type EventKind int

// The kinds.
const (
	EventText   EventKind = iota // a piece of text
	EventCall                    // a call of a tool, or a piece of one
	EventFinish                  // an answer has ended
	EventUsage                   // what the call has used
	EventRaw                     // something that only some dialects can say
)

// ToolCall is a call of a tool, or a piece of one. Values are raw JSON strings; nil: not in this piece.
type ToolCall struct {
	Index               int
	ID, Name, Arguments []byte
}
