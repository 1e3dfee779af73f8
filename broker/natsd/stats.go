package natsd

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
)

// ServerStats is what the embedded server holds and has sent.
type ServerStats struct {
	Connections      int
	Memory, Store    int64 // bytes in use
	MaxMemory        int64
	MaxStore         int64
	Streams          []StreamStats
	APIErrors        uint64
	SlowConsumerCuts int64 // connections that were cut because they did not keep up
}

// StreamStats is what one stream holds.
type StreamStats struct {
	Name            string
	Messages, Bytes int64
}

// Stats reads what the server holds now. It returns an error before the server is ready.
func (s *Server) Stats() (*ServerStats, error) {
	select {
	case <-s.ready:
	default:
		return nil, errors.New("broker: the embedded server is not ready")
	}
	ns := s.server()
	js, err := ns.Jsz(&server.JSzOptions{Streams: true, Accounts: true})
	if err != nil {
		return nil, fmt.Errorf("broker: reading the figures of JetStream: %w", err)
	}
	stats := &ServerStats{
		Connections: s.clients(), SlowConsumerCuts: ns.NumSlowConsumers(), APIErrors: js.API.Errors,
		Memory: clamped(js.Memory), Store: clamped(js.Store), MaxMemory: js.Config.MaxMemory, MaxStore: js.Config.MaxStore,
	}
	for _, account := range js.AccountDetails {
		for _, stream := range account.Streams {
			stats.Streams = append(stats.Streams, StreamStats{
				Name: stream.Name, Messages: clamped(stream.State.Msgs), Bytes: clamped(stream.State.Bytes),
			})
		}
	}
	return stats, nil
}

func clamped(n uint64) int64 { return int64(min(n, 1<<62)) }
