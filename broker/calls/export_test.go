package calls

import (
	"time"

	"headrace/broker/link"
)

// InlineRequest and InlineReply are what travels at once; LanesTogether is how many routes' calls all streams have room for.
const (
	InlineRequest = inlineRequest
	InlineReply   = inlineReply
	LanesTogether = link.Shards * MaxLanes
)

// ConnectionBack is what happens when the connection is back after a loss.
func (f *FrontEnd) ConnectionBack() { f.connectionBack() }

// PendingFrames bounds the bytes of frames that have come to a front end and were not looked at.
func (f *FrontEnd) PendingFrames(bytes int) error { return f.frames.SetPendingLimits(-1, bytes) }

// Reclaim claims again the only call of a front end for the worker that holds it.
func (f *FrontEnd) Reclaim() (granted bool) {
	for _, c := range f.calls.all() {
		_, granted = c.claim(c.holder(), time.Now())
	}
	return granted
}
