// Package pieces writes neutral pieces of answers as streams of chunks: OpenAI's of chats and completions, and those of MLflow 3. It is
// pure. The same writers serve pieces that come one at a time and whole answers taken apart.
package pieces

import "headrace/internal/inference"

// Writer writes one stream. It appends to what it is given, and keeps nothing of a piece.
type Writer interface {
	// Piece writes a piece.
	Piece(dst []byte, e *inference.Event) []byte
	// End writes what stands at the end of a complete answer. An error is a *fault.Error: the answer is less than was asked
	// for.
	End(dst []byte) ([]byte, error)
}
