package jobs

import (
	"context"
	"strconv"
	"time"

	"headrace/broker/link"
	"headrace/broker/records"

	"github.com/nats-io/nats.go"
)

func pauseSubject(route string) string {
	return records.PrefixPause + records.PauseShard + "." + link.Token(route)
}

// pausePatience is how long Pause waits for the sweeper to have told everybody.
const pausePatience = 2 * time.Second

// Pause keeps the jobs of a route from being started, or lets them start again. Calls and jobs that run are not
// touched; jobs are accepted as before. It is kept until it is changed, and may be repeated. When it returns the
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
		j.log.Debug("an earlier word about a queue stays behind the last one", "route", route, "error", err)
	}
	ctx, over := context.WithTimeout(ctx, pausePatience)
	defer over()
	for !j.queues.told(ctx, route, paused) {
		if ctx.Err() != nil {
			break // it is stored: whoever comes back learns of it
		}
	}
	j.queues.learn(map[string]bool{route: paused})
	return nil
}

// told waits for the sweeper's next word and reports whether it says of a route that it is paused, or that it is not.
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

// Paused reports whether the jobs of a route are kept from being started.
func (j *Desk) Paused(route string) bool {
	j.queues.mu.Lock()
	defer j.queues.mu.Unlock()
	return j.queues.paused[route]
}
