package lanetest

import (
	"testing"

	"headrace/internal/natstest"
)

// Severable is a way to a server that can be cut, stalled and lost.
type Severable = natstest.Severable

// NewSeverable makes a way to the server at an address.
func NewSeverable(tb testing.TB, to string) *Severable {
	tb.Helper()
	return natstest.NewSeverable(tb, to)
}
