package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// pauseShard is the shard of the records' streams that holds which queues are paused.
	pauseShard = "0"
	// subjectQueuesAsk asks the sweeper to tell at once.
	subjectQueuesAsk = "hr.job.queues.ask"
	// headerPaused says whether a queue is paused; its name is the subject's last token.
	headerPaused = "Hr-Paused"
)

func pauseSubject(route string) string { return prefixPause + pauseShard + "." + token(route) }

// pausePatience is how long Pause waits for the sweeper to have told everybody.
const pausePatience = 2 * time.Second

// Pause keeps the jobs of a route from being started, or lets them start again. Calls and jobs that run are not
// touched; jobs are accepted as before. It is kept until it is changed, and may be repeated. When it returns the
// workers have been told, unless the sweeper is away.
func (j *Jobs) Pause(ctx context.Context, route string, paused bool) error {
	if err := j.await(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	msg := nats.NewMsg(pauseSubject(route))
	msg.Header.Set(headerPaused, strconv.FormatBool(paused))
	if err := j.store.publish(ctx, recordStream+pauseShard, msg); full(err) {
		return j.unstored(err)
	} else if err != nil {
		return j.unread("", err)
	}
	if err := j.store.keepLast(ctx, recordStream+pauseShard, msg.Subject); err != nil {
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
func (j *Jobs) Paused(route string) bool {
	j.queues.mu.Lock()
	defer j.queues.mu.Unlock()
	return j.queues.paused[route]
}

// loadPaused reads which queues are paused.
func (s *Sweeper) loadPaused(ctx context.Context, stream jetstream.Stream) error {
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(prefixPause+pauseShard+".*"))
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
	route := untoken(subject[strings.LastIndexByte(subject, '.')+1:])
	s.mu.Lock()
	defer s.mu.Unlock()
	if header.Get(headerPaused) == "true" {
		s.paused[route] = true
	} else {
		delete(s.paused, route)
	}
}

// pauses is what a worker knows of paused queues. Before the sweeper's first word nothing is started, unless that
// word does not come.
type pauses struct {
	mu     sync.Mutex
	began  time.Time
	heard  bool
	paused map[string]bool
}

// begin starts the time in which the first word is waited for.
func (p *pauses) begin(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.began = now
}

// note takes the sweeper's word and reports whether it is news.
func (p *pauses) note(paused []string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	news := !p.heard || len(paused) != len(p.paused)
	now := make(map[string]bool, len(paused))
	for _, route := range paused {
		news = news || !p.paused[route]
		now[route] = true
	}
	p.heard, p.paused = true, now
	return news
}

// holds reports whether the jobs of a route must not be started.
func (p *pauses) holds(route string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.paused[route] || !p.heard && now.Sub(p.began) < queuesStale
}

// noteQueues wakes the intakes when a queue was paused or resumed.
func (w *WorkerEnd) noteQueues(msg *nats.Msg) {
	report, err := readQueues(msg.Data)
	if err != nil {
		w.log.Warn("unreadable report of queues", "error", err)
		return
	}
	w.sleepers.noteJobs(report)
	if !w.paused.note(report.Paused) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for in := range w.intakes {
		in.signal()
	}
}
