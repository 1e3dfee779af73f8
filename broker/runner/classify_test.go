package runner_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/records"
	"headrace/broker/runner"
)

func TestAway(t *testing.T) {
	t.Parallel()
	api := func(code int, number jetstream.ErrorCode) error {
		return fmt.Errorf("storing: %w", &jetstream.APIError{Code: code, ErrorCode: number})
	}
	for _, c := range []struct {
		err  error
		away bool
	}{
		{nil, false},
		{context.DeadlineExceeded, true},
		{nats.ErrTimeout, true},
		{nats.ErrNoResponders, true},
		{nats.ErrConnectionClosed, true},
		{nats.ErrDisconnected, true},
		{nats.ErrReconnectBufExceeded, true}, // which is a connection that is lost
		{jetstream.ErrNoStreamResponse, true},
		{records.ErrBrokerLost, true},
		{api(503, 10008), true},  // temporarily unavailable
		{api(503, 10077), false}, // the stream is full
		{api(503, 10023), false}, // the disk is full
		{api(503, 10047), false}, // the server is full
		{api(400, 10071), false}, // a condition that does not hold
		{records.ErrUnsynced, false},
		{records.ErrNoBody, false},
		{records.ErrDamaged, false},
	} {
		if got := runner.Away(c.err); got != c.away {
			t.Errorf("%v: away %t, want %t", c.err, got, c.away)
		}
	}
}
