// Package flow carries the pieces of an answer between a sender and a receiver that may be in different processes: as numbered chunks of
// bytes, of which no more are under way than the receiver has room for. It is pure but for its waiting: who uses it
// brings chunks and credit across.
//
//	Out.Send -> chunk 0, 1, ... -> In.Put ... In.End -> Reader.Next
//	Out.Allow  <------- credit, in bytes in all ------- as the reader reads
//
// A chunk that is missing, or comes twice, ends the stream with an error: its reader never takes a part of an answer for all
// of it. Credit may be lost, because each tells the sum; a sender that waits for it asks each second.
package flow

// ring makes a channel of one place ready, once.
func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}
