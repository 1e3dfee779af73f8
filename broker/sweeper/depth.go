package sweeper

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/link"
	"headrace/broker/records"
)

const (
	// depthEvery is how often the work queues are measured.
	depthEvery = time.Second
	// depthLanes is how many of them at a time; others have their turn the next time.
	depthLanes = 64
	// rateOver is the time over which the rate of starts is taken.
	rateOver = time.Minute
)

// laneDepth is what was measured of a work queue that jobs wait in.
type laneDepth struct {
	oldest    time.Time // when the job that is next was queued; zero when none waits
	delivered uint64    // number in the stream up to which jobs were given to workers
	head      uint64    // number of the job that is next, when it was last looked for
	starts    []starts  // the latest rateOver, oldest first
	at        time.Time
	short     shortage
}

// starts is how many jobs workers have been given in all.
type starts struct {
	at time.Time
	n  uint64
}

// rate is how many jobs a second workers were given.
func (d *laneDepth) rate() float64 {
	if len(d.starts) < 2 {
		return 0
	}
	first, last := d.starts[0], d.starts[len(d.starts)-1]
	if last.n <= first.n || !last.at.After(first.at) {
		return 0 // none, or a consumer that was made anew
	}
	return float64(last.n-first.n) / last.at.Sub(first.at).Seconds()
}

// note adds a measurement.
func (d *laneDepth) note(now time.Time, delivered, started uint64, oldest time.Time) {
	if n := len(d.starts); n > 0 && d.starts[n-1].n > started {
		d.starts = nil
	}
	d.starts = append(d.starts, starts{now, started})
	for len(d.starts) > 2 && now.Sub(d.starts[0].at) > rateOver {
		d.starts = d.starts[1:]
	}
	d.at, d.delivered, d.oldest = now, delivered, oldest
}

// measure looks at the work queues until ctx ends.
func (s *Sweeper) measure(ctx context.Context) {
	tick := time.NewTicker(depthEvery)
	defer tick.Stop()
	for turn := 0; ; turn++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		lanes := s.lanesToMeasure(turn)
		for _, subject := range lanes {
			if err := s.measureLane(ctx, subject); err != nil && ctx.Err() == nil {
				s.log.Debug("measuring a queue", "subject", subject, "error", err)
			}
		}
	}
}

// lanesToMeasure gives the lanes that jobs wait in, and forgets what is known of others for a while.
func (s *Sweeper) lanesToMeasure(turn int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for subject, depth := range s.depths {
		if s.counts[subject].waiting() == 0 && time.Since(depth.at) > rateOver {
			delete(s.depths, subject)
		}
	}
	lanes := make([]string, 0, len(s.counts))
	for subject, n := range s.counts {
		if n.waiting() > 0 {
			lanes = append(lanes, subject)
		}
	}
	slices.Sort(lanes)
	if len(lanes) > depthLanes {
		from := turn * depthLanes % len(lanes)
		lanes = append(lanes[from:], lanes[:from]...)[:depthLanes]
	}
	return lanes
}

func (s *Sweeper) measureLane(ctx context.Context, subject string) error {
	at, ok := records.ParseLane(subject)
	if !ok {
		return fmt.Errorf("%q is not a queue's subject", subject)
	}
	ctx, cancel := context.WithTimeout(ctx, records.StorePatience)
	defer cancel()
	l := records.LaneNamed(at.Provider, at.Route, at.Priority)
	stream, err := s.store.Stream(ctx, l.Stream)
	if err != nil {
		return err
	}
	held, err := s.heldBy(ctx, stream, l, subject)
	if err != nil {
		s.store.Forget(l.Stream)
		return err
	}
	head := held.delivered + 1
	s.mu.Lock()
	if depth := s.depths[subject]; depth != nil {
		head = max(head, depth.head)
	}
	s.mu.Unlock()
	var oldest time.Time
	next, err := nextOf(ctx, stream, l.Subject, held.delivered+1, head)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound): // all are with workers, or wait for their time
	case err != nil:
		return err
	default:
		head, oldest = next.Sequence, next.Time
	}
	if now := time.Now(); s.noteDepth(subject, held, head, oldest, now) {
		if n := s.doubtLane(subject, now); n > 0 {
			s.log.Warn("a queue holds less jobs than it should; looking at all of them", "subject", subject, "jobs", n)
		}
	}
	return nil
}

// noteDepth keeps a measurement and reports whether the lane's jobs are to be looked at.
func (s *Sweeper) noteDepth(subject string, held laneHeld, head uint64, oldest, now time.Time) (look bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	depth := s.depths[subject]
	if depth == nil {
		depth = &laneDepth{}
		s.depths[subject] = depth
	}
	look = depth.short.note(held.missing, held.started, now)
	if oldest.IsZero() {
		oldest = depth.short.oldest(depth.oldest, held.started)
	}
	depth.head = head
	depth.note(now, held.delivered, held.started, oldest)
	return look
}

// laneHeld is what the server says of a lane.
type laneHeld struct {
	delivered, started uint64 // number in the stream up to which jobs were given to workers, and how often that was done
	missing            int    // messages; not positive when there are enough
}

func (s *Sweeper) heldBy(ctx context.Context, stream jetstream.Stream, l link.Lane, subject string) (held laneHeld, err error) {
	expected := s.expected(subject)
	consumer, err := stream.Consumer(ctx, l.Consumer)
	if err == nil {
		info := consumer.CachedInfo()
		expected = min(expected, s.expected(subject)) // what has ended while we asked is no shortage
		held.delivered, held.started = info.Delivered.Stream, info.Delivered.Consumer
		held.missing = expected - info.NumAckPending - int(min(info.NumPending, math.MaxInt32))
		return held, nil
	}
	if !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return held, err
	}
	// No worker has asked yet, or others needed the room. One lane's messages are many to count, so all are.
	expected = s.expectedBeside(subject)
	info, err := stream.Info(ctx)
	if err != nil {
		return held, err
	}
	held.missing = min(expected, s.expectedBeside(subject)) - int(min(info.State.Msgs, math.MaxInt32))
	return held, nil
}

// nextOf reads the first message of a lane from a number on. The server looks at every subject that waits when it is asked
// for the first of several, so it is asked for the one that most likely is.
func nextOf(ctx context.Context, stream jetstream.Stream, lane string, from, likely uint64) (*jetstream.RawStreamMsg, error) {
	msg, err := stream.GetMsg(ctx, likely)
	switch {
	case err == nil && strings.HasPrefix(msg.Subject, strings.TrimSuffix(lane, "*")):
		return msg, nil
	case err != nil && !errors.Is(err, jetstream.ErrMsgNotFound):
		return nil, err
	}
	return stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(lane))
}

// Oldest is when the job that is next was queued, by route and priority.
func (s *Sweeper) Oldest() map[records.Lane]time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest := make(map[records.Lane]time.Time, len(s.depths))
	for subject, depth := range s.depths {
		if lane, ok := records.ParseLane(subject); ok && !depth.oldest.IsZero() && s.counts[subject].waiting() > 0 {
			oldest[lane.Lane] = depth.oldest
		}
	}
	return oldest
}
