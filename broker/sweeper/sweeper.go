package sweeper

import (
	"container/heap"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/job"
)

const (
	// verifyAfter is the age at which a queued job's place in the work queue is checked: whoever accepted it has
	// long put it there, or is gone.
	verifyAfter = 10 * time.Second
	// verifyRunning is how often it is checked that a running job's message is still in the work queue: without it
	// nobody would get the job if its worker died.
	verifyRunning = 2 * records.AckWait
	// sweepAgain is the pause after something could not be done.
	sweepAgain = time.Second
	// sweepHands is how many jobs are seen to at a time.
	sweepHands = 8
)

// Sweeper is the part of the broker role that does what is due about jobs nobody runs: it queues scheduled and
// retried ones when their time comes, ends those whose time is over, and repairs accepts that were cut off between
// record and queue. It learns of every job from the records' streams, so it has nothing to remember. Several may
// run: all they do is conditional or harmless when done twice.
type Sweeper struct {
	dial  link.Dial
	syncs *records.Syncs
	disk  Disk // nil: the server is elsewhere
	log   *slog.Logger

	store *records.Store
	wake  chan struct{}
	work  chan job.ID

	telling    sync.Mutex
	id         string    // of this sweeper in its reports
	reported   uint64    // reports told; guarded by telling
	saidUntold link.Said // why the last report could not be told

	mu       sync.Mutex
	pending  map[job.ID]*pendingJob
	heap     dueHeap
	troubles link.Troubles
	counts   laneCounts
	checks   pacer                // of places in the queue
	wakes    map[records.Lane]int // lanes that workers are to be told to pull from, and how often still
	lanes    map[string]*string
	versions map[string]*versions // by shard
	depths   map[string]*laneDepth
	finished map[job.State]uint64
	counted  map[string]time.Time // by shard: when the last end was written that is counted in finished
	paused   map[string]bool      // routes whose jobs are not to be started
	told     bool                 // paused is complete
	began    time.Time
	// countedAll has the shards whose records were all read once.
	countedAll map[string]bool
	keeps      bool // the records' streams keep every version
}

// Disk is the disk of an embedded server in this process.
type Disk interface {
	// DiskFull is why nothing can be written; nil while there is room.
	DiskFull() error
	// Syncs reports whether the server syncs what is asked for, and nothing else before it acknowledges.
	Syncs() bool
}

// New validates dial. syncs is what this process knows to be on disk, and disk that of the embedded server; both may
// be nil.
func New(dial link.Dial, syncs *records.Syncs, disk Disk, log *slog.Logger) (*Sweeper, error) {
	if err := dial.Validate(); err != nil {
		return nil, err
	}
	return &Sweeper{
		id: rand.Text()[:16], dial: dial, syncs: syncs, disk: disk, log: log, wake: make(chan struct{}, 1), work: make(chan job.ID),
		pending: make(map[job.ID]*pendingJob), counts: make(laneCounts), wakes: make(map[records.Lane]int), lanes: make(map[string]*string), versions: make(map[string]*versions), depths: make(map[string]*laneDepth), finished: make(map[job.State]uint64),
		paused: make(map[string]bool), counted: make(map[string]time.Time), countedAll: make(map[string]bool),
		began: time.Now(),
	}, nil
}

// Run sweeps until ctx ends.
func (s *Sweeper) Run(ctx context.Context) error {
	l, err := s.dial.Open(ctx, "sweeper", s.log, link.Events{})
	if err != nil {
		return link.Stopped(ctx, err)
	}
	defer l.NC.Close()
	s.store = records.NewStore(l, nil, records.Shared{Syncs: s.syncs})
	if s.disk != nil {
		s.store.Full = func() bool { return s.disk.DiskFull() != nil }
		s.keeps = s.disk.Syncs()
	}
	var running sync.WaitGroup
	defer running.Wait()
	for shard := range records.Shards {
		running.Go(func() { s.follow(ctx, records.RecordStream+strconv.Itoa(shard)) })
	}
	if _, err := l.NC.Subscribe(records.SubjectPlaced, s.notePlaced); err != nil {
		return fmt.Errorf("broker: sweeper: %w", err)
	}
	if _, err := l.NC.Subscribe(records.SubjectQueuesAsk, func(*nats.Msg) { s.tellQueues() }); err != nil {
		return fmt.Errorf("broker: sweeper: %w", err)
	}
	for range sweepHands {
		running.Go(func() { s.hand(ctx) })
	}
	for shard := range records.Shards {
		running.Go(func() { s.prune(ctx, shard) })
	}
	running.Go(func() { s.measure(ctx) })
	running.Go(func() { s.clear(ctx) })
	running.Go(func() { link.Every(ctx, records.QueuesEvery, s.tellQueues) })
	s.dispatch(ctx)
	return nil
}

// follow learns of every record there is and of every one that is written, headers only.
func (s *Sweeper) follow(ctx context.Context, name string) {
	var said link.Said
	for ctx.Err() == nil {
		err := s.followOnce(ctx, name)
		if ctx.Err() == nil && s.store.Link.News(err) && said.News(err) {
			s.log.Warn("following the jobs' records", "stream", name, "error", err)
		}
		link.PauseFor(ctx, sweepAgain)
	}
}

func (s *Sweeper) followOnce(ctx context.Context, name string) error {
	reconnects := s.store.Link.Reconnects()
	stream, err := s.store.Stream(ctx, name)
	if err != nil {
		return err
	}
	err = s.followStream(ctx, name[len(records.RecordStream):], stream, reconnects)
	s.store.Forget(name)
	return err
}

func (s *Sweeper) followStream(ctx context.Context, shard string, stream jetstream.Stream, reconnects uint64) error {
	if shard == records.PauseShard {
		if err := s.loadPaused(ctx, stream); err != nil {
			return err
		}
	}
	s.doubt(shard, time.Now())
	config := jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{records.PrefixRecord + shard + ".*", records.PrefixPause + shard + ".*"}, HeadersOnly: true, DeliverPolicy: jetstream.DeliverAllPolicy,
	}
	begun := func(pending uint64) {
		if pending == 0 {
			s.allRead(shard)
		}
	}
	return s.store.Link.Follow(ctx, stream, config, reconnects, begun, func(msg jetstream.Msg) error {
		defer func() {
			if meta, err := msg.Metadata(); err == nil {
				begun(meta.NumPending)
			}
		}()
		if strings.HasPrefix(msg.Subject(), records.PrefixPause) {
			s.learnPause(msg.Subject(), msg.Headers())
			s.tellQueues()
			return nil
		}
		news, err := records.ReadNews(msg)
		if err != nil {
			return err
		}
		s.learn(news, time.Now())
		return nil
	})
}

// learn notes what was written about a job.
func (s *Sweeper) learn(n *records.News, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pending[n.ID]
	if s.keeps && p != nil && p.revision < n.Revision { // else it was told before
		s.versionsOf(n.Shard).replaced(p.revision, n.Revision)
	}
	if n.State.Terminal() {
		s.finish(n.Shard, n.State, n.At)
		s.versionsOf(n.Shard).ended(n.Revision)
		s.drop(n.ID)
		return
	}
	if p == nil {
		id := job.ID(strings.Clone(string(n.ID))) // a message's text would stay as long as a part of it
		p = &pendingJob{id: id, index: -1, lane: s.laneOf(n.Place, id)}
		s.pending[id] = p
	}
	s.count(p, n.State)
	p.verify, p.revision, p.missed = n.State == job.Queued, n.Revision, 0
	p.due, p.then = n.Due, n.Due
	switch {
	case !p.phase.waiting():
		p.due = records.InstantOf(now.Add(verifyRunning))
	case p.verify:
		p.due = records.InstantOf(s.checks.next(now.Add(verifyAfter)))
		if n.Due != 0 {
			p.due = min(n.Due, p.due)
		}
	}
	s.place(p)
}

// finish counts a job that has ended since the sweeper was made, once. It must be called with mu held.
func (s *Sweeper) finish(shard string, state job.State, at time.Time) {
	if !at.After(s.began) || !at.After(s.counted[shard]) {
		return
	}
	s.counted[shard] = at
	if state != job.Erased {
		s.finished[state]++
	}
}

// laneOf is the lane of a place in the queue. Jobs of a lane share its name. It must be called with mu held.
func (s *Sweeper) laneOf(place string, id job.ID) *string {
	lane, _, _ := strings.Cut(place, "."+string(id))
	known := s.lanes[lane]
	if known == nil {
		name := strings.Clone(lane)
		known = &name
		s.lanes[name] = known
	}
	return known
}

// count sees to it that a job is counted by its state. It must be called with mu held.
func (s *Sweeper) count(p *pendingJob, state job.State) {
	if is := phaseOf(state); is != p.phase {
		s.counts.move(*p.lane, p.phase, is)
		p.phase = is
	}
}

// Waiting is how many jobs wait, by route and priority.
func (s *Sweeper) Waiting() map[records.Lane]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	lanes := make(map[records.Lane]int, len(s.counts))
	for subject, n := range s.counts {
		if lane, ok := records.ParseLane(subject); ok && n.waiting() > 0 {
			lanes[lane.Lane] = n.waiting()
		}
	}
	return lanes
}

// Finished is how many jobs have ended since the sweeper was made, by state.
func (s *Sweeper) Finished() map[job.State]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.finished)
}

// place puts a job where it belongs in the heap, unless a hand has it. It must be called with mu held.
func (s *Sweeper) place(p *pendingJob) {
	switch {
	case p.busy:
		return
	case p.index >= 0:
		heap.Fix(&s.heap, int(p.index))
	default:
		heap.Push(&s.heap, p)
	}
	if s.heap[0] == p {
		link.Ring(s.wake)
	}
}

// drop forgets a job. It must be called with mu held.
func (s *Sweeper) drop(id job.ID) {
	p := s.pending[id]
	if p == nil {
		return
	}
	delete(s.pending, id)
	s.count(p, job.Erased)
	if p.index >= 0 {
		heap.Remove(&s.heap, int(p.index))
	}
}

// dispatch gives jobs to hands when they are due, until ctx ends.
func (s *Sweeper) dispatch(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		id, wait := s.next(time.Now())
		if id != "" {
			select {
			case s.work <- id:
				continue
			case <-ctx.Done():
				return
			}
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-s.wake:
		case <-ctx.Done():
			return
		}
	}
}

// next takes the job that is due out of the heap, or says how long there is none.
func (s *Sweeper) next(now time.Time) (job.ID, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.heap) == 0 {
		return "", time.Hour
	}
	first := s.heap[0]
	if first.due == 0 {
		return "", time.Hour
	}
	if wait := first.due.In(now); wait > 0 {
		return "", wait
	}
	_ = heap.Pop(&s.heap) // it is first
	first.busy = true
	return first.id, 0
}

func (s *Sweeper) hand(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-s.work:
			s.settled(id, s.see(ctx, id))
		}
	}
}

// settled puts a job that a hand has seen to back for the next time, if it still waits.
func (s *Sweeper) settled(id job.ID, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		s.log.Warn("seeing to a job", "job", id, "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pending[id]
	if p == nil {
		return
	}
	p.busy = false
	now := time.Now()
	switch {
	case err != nil:
		p.due = records.InstantOf(now.Add(sweepAgain))
	case p.due.Future(now): // it was written meanwhile, and learned of
	case !p.phase.waiting():
		p.due = records.InstantOf(now.Add(verifyRunning))
	case p.verify && p.then.Future(now):
		p.verify, p.due = false, p.then
	default:
		p.due = records.InstantOf(now.Add(sweepAgain)) // what was done about it is learned in a moment
	}
	s.place(p)
}

// see does what is due about one job.
func (s *Sweeper) see(ctx context.Context, id job.ID) error {
	now := time.Now().UTC()
	if place := s.toVerify(id, now); place != "" {
		if placed, err := s.store.IsPlaced(ctx, place); err != nil || placed {
			s.wakeRunning(id)
			return err
		}
	}
	r, err := s.store.Get(ctx, id)
	if errors.Is(err, records.ErrNoJob) {
		s.missed(id, now)
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case r.Lapse(now):
		if err := s.store.Put(ctx, r, now); err != nil {
			return records.UnlessConflict(err)
		}
		return s.store.Unqueue(ctx, r)
	case !r.State.Terminal() && !r.State.Waiting(), r.State == job.Queued:
		queued, err := s.store.IsQueued(ctx, r)
		if err != nil || queued {
			return err
		}
		if n := s.troubles.Met("not in its queue", now); n > 0 {
			s.log.Warn("queueing jobs that are not in their queue", "job", id, "state", r.State, "jobs", n)
		}
		s.putBack(id)
		return s.store.Enqueue(ctx, r)
	case r.State.Waiting() && r.Ripe(now):
		// In this order a crash in between leaves a job that a worker can start; the other way round it would wait
		// for the check.
		if err := s.store.Enqueue(ctx, r); err != nil {
			return err
		}
		r.Queue(now)
		return records.UnlessConflict(s.store.Put(ctx, r, now))
	}
	return nil
}

// toVerify is the place in the queue that a job should have, when nothing else is due about it; else "".
func (s *Sweeper) toVerify(id job.ID, now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pending[id]
	if p == nil || p.phase.waiting() && !p.verify || p.then.Past(now) {
		return ""
	}
	return *p.lane + "." + string(id)
}
