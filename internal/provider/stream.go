package provider

import (
	"time"

	"headrace/internal/inference"
)

// Streamer is what a provider implements beside Provider when model servers of its kind can answer in pieces. Encode sets
// Call.Stream when the request wants a stream and the model server may give one. A reply that is no stream all the same is
// a whole answer, and goes to Decode.
type Streamer interface {
	// Pieces makes the reader of the stream that reply begins. It is for that stream alone.
	Pieces(route *inference.Route, req *inference.Request, reply Reply) Pieces
}

// Pieces turns the events of one stream into neutral ones, in their order. It is pure, and used by one goroutine.
type Pieces interface {
	// Read reads an event's name and data. done says that the answer is complete; without it, the end of the stream is a cut.
	// What it returns does not alias data. An error is a *fault.Error and ends the stream: UpstreamError for one that the
	// model server tells, UpstreamBadResponse for an event that cannot be read.
	Read(name, data string) (pieces []inference.Event, done bool, err error)
}

// Events are the server-sent events of a reply, as they come.
type Events interface {
	// Next gives the next event's name and data, and waits for it patience at most. The error is a *fault.Error, or the cause
	// of a cancelled context: UpstreamUnavailable for a stream that ends, UpstreamTimeout for one that is silent,
	// UpstreamBadResponse for an event that is too long. There is no event after an error.
	Next(patience time.Duration) (name, data string, err error)
	// Close ends the stream, and the connection unless the stream has ended by itself. It may be called more than once.
	Close()
}
