package jobs

import (
	"context"
	"time"

	"headrace/broker/link"
	"headrace/broker/records"

	"github.com/nats-io/nats.go"
)

const (
	// placedEvery is how often they do. What they say is between one and two such times old: the sweeper has read the
	// record by then.
	placedEvery = 2 * time.Second
)

// tellPlaced tells sweepers until ctx ends.
func (j *Desk) tellPlaced(ctx context.Context, nc *nats.Conn) {
	link.Every(ctx, placedEvery, func() {
		for _, text := range records.PlacedTexts(j.placements.Take()) {
			if err := nc.Publish(records.SubjectPlaced, text); err != nil {
				j.log.Debug("the sweeper has to look for itself what was queued", "error", err)
			}
		}
	})
}
