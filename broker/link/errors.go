package link

import (
	"errors"

	"github.com/nats-io/nats.go/jetstream"
)

// WrongLast reports whether err says that a write's condition did not hold: another writer was first.
func WrongLast(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == 10164)
}

// Full reports whether err is the refusal of a stream that has reached a limit, or of a server whose disk is full.
func Full(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == 10077 || api.ErrorCode == 10047 || api.ErrorCode == 10023)
}
