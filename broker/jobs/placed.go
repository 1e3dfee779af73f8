package jobs

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
	"headrace/broker/records"
)

const (
	// placedEvery is how often front ends announce what they have queued. An announcement is between one and two intervals old:
	// the sweeper has read the record by then.
	placedEvery = 2 * time.Second
)

// tellPlaced announces what was queued until ctx ends.
func (j *Desk) tellPlaced(ctx context.Context, nc *nats.Conn) {
	link.Every(ctx, placedEvery, func() {
		for _, text := range records.PlacedTexts(j.placements.Take()) {
			if err := nc.Publish(records.SubjectPlaced, text); err != nil {
				j.log.Debug("an announcement of queued jobs failed; the sweeper checks them by reading", "error", err)
			}
		}
	})
}
