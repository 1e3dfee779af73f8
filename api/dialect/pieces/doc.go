// Package pieces writes neutral pieces of answers as the streams of OpenAI's paths: chunks of chats and completions, and the
// events of responses. It is pure. The same writers serve pieces that come one at a time and whole answers taken apart.
//
// What a model server's own events lack is added, so that a client library can build the answer: AgentServer says neither
// how a response begins nor how it ends.
package pieces

import "headrace/internal/inference"

// Writer writes one stream. It appends to what it is given, and keeps nothing of a piece.
type Writer interface {
	// Piece writes a piece.
	Piece(dst []byte, e *inference.Event) []byte
	// End writes what stands at the end of a complete answer. An error is a *fault.Error: the answer is less than was asked
	// for.
	End(dst []byte) ([]byte, error)
	// Broken writes the event that ends a stream after an error; body is the error in the dialect's form. No client takes a stream
	// that ends so for a complete answer.
	Broken(dst, body []byte) []byte
}
