package sweeper

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/link"
	"headrace/broker/records"
)

// loadPaused reads which queues are paused.
func (s *Sweeper) loadPaused(ctx context.Context, stream jetstream.Stream) error {
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(records.PrefixPause+records.PauseShard+".*"))
	if err != nil {
		return fmt.Errorf("paused queues: %w", err)
	}
	for subject := range info.State.Subjects {
		msg, err := stream.GetLastMsgForSubject(ctx, subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("paused queues: %w", err)
		}
		s.learnPause(subject, msg.Header)
	}
	s.mu.Lock()
	s.told = true
	s.mu.Unlock()
	s.tellQueues()
	return nil
}

// learnPause notes that a queue was paused or resumed.
func (s *Sweeper) learnPause(subject string, header nats.Header) {
	route := link.Untoken(subject[strings.LastIndexByte(subject, '.')+1:])
	s.mu.Lock()
	defer s.mu.Unlock()
	if header.Get(records.HeaderPaused) == "true" {
		s.paused[route] = true
	} else {
		delete(s.paused, route)
	}
}
