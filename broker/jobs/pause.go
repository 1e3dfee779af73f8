package jobs

import (
	"context"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
	"headrace/broker/records"
)

func pauseSubject(route string) string {
	return records.PrefixPause + records.PauseShard + "." + link.Token(route)
}

// pausePatience is how long Pause waits for the sweeper's report to reach the workers.
const pausePatience = 2 * time.Second

// Pause stops the jobs of a route from being started, or lets them start again. Calls and running jobs are not affected, and
// jobs are still accepted. The setting stays until it is changed; setting it again is harmless. When Pause returns, the
// workers have been told, unless the sweeper is away.
func (j *Desk) Pause(ctx context.Context, route string, paused bool) error {
	if err := j.await(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, records.StorePatience)
	defer cancel()
	msg := nats.NewMsg(pauseSubject(route))
	msg.Header.Set(records.HeaderPaused, strconv.FormatBool(paused))
	if err := j.store.Publish(ctx, records.RecordStream+records.PauseShard, msg); link.Full(err) {
		return j.unstored(err)
	} else if err != nil {
		return j.unread("", err)
	}
	if err := j.store.KeepLast(ctx, records.RecordStream+records.PauseShard, msg.Subject); err != nil {
		j.log.Debug("an older pause marker was not removed", "route", route, "error", err)
	}
	ctx, over := context.WithTimeout(ctx, pausePatience)
	defer over()
	for !j.queues.told(ctx, route, paused) {
		if ctx.Err() != nil {
			break // it is stored: a sweeper that returns reads it
		}
	}
	j.queues.learn(map[string]bool{route: paused})
	return nil
}

// told waits for the sweeper's next report and returns whether it agrees with paused about the route.
func (q *queues) told(ctx context.Context, route string, paused bool) bool {
	q.mu.Lock()
	if q.news == nil {
		q.news = make(chan struct{})
	}
	news := q.news
	q.mu.Unlock()
	select {
	case <-news:
	case <-ctx.Done():
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.paused[route] == paused
}

// Paused reports whether the jobs of a route are stopped from being started.
func (j *Desk) Paused(route string) bool {
	j.queues.mu.Lock()
	defer j.queues.mu.Unlock()
	return j.queues.paused[route]
}
