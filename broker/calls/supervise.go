package calls

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/intake"
	"headrace/broker/link"
	"headrace/internal/fault"
)

const (
	// superviseEvery is how often a front end looks after its calls and pings the workers that hold them.
	superviseEvery = time.Second
	// pingLost is the silence after which a worker that holds calls counts as lost.
	pingLost = 3 * time.Second
)

// supervisor notices when a call waits or runs in vain: no worker serves its route, its publish got lost, its worker is
// gone or does not hold it any more.
type supervisor struct {
	calls   *callTable
	workers *intake.Roster
	inbox   *inbox
	post    *post
	watch   watch
	seeker  *seeker
	log     *slog.Logger
}

// run looks after calls until ctx ends.
func (s *supervisor) run(ctx context.Context) {
	tick := time.NewTicker(superviseEvery)
	defer tick.Stop()
	var looking sync.WaitGroup
	defer looking.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, worker := range s.workers.Expire(now) {
				s.log.Warn("a worker is silent", "worker", worker)
			}
			held := s.review(now)
			for worker, calls := range held {
				s.ping(worker, calls, now)
			}
			for _, worker := range s.watch.silent(now, held) {
				s.loseWorker(worker)
			}
			for _, c := range s.seeker.oldest(now) {
				looking.Go(func() { s.seeker.look(ctx, c) })
			}
		}
	}
}

// review acts on calls that wait in vain, and gives the claimed ones by worker.
func (s *supervisor) review(now time.Time) (held map[string][]uint64) {
	held = make(map[string][]uint64)
	for _, c := range s.calls.all() {
		c.mu.Lock()
		state, worker, claimed, sequence, deadline := c.state, c.worker, c.claimedAt, c.sequence, c.deadline
		c.mu.Unlock()
		age := now.Sub(c.began)
		switch {
		case (state == callClaimed || state == callEnded) && worker != "" && now.Sub(claimed) >= superviseEvery:
			// Also with an answer that waits to be pulled: its worker keeps it for as long as it is asked.
			held[worker] = append(held[worker], c.id)
		case state == callWithdrawn && now.Sub(deadline) > pingLost:
			s.calls.remove(c.id) // its publish was never acknowledged
		case state == callWaiting && sequence == 0 && age > publishPatience:
			s.inbox.repeat(c)
		case state == callWaiting && age > 2*link.PresenceWait:
			if workers, _, _ := s.workers.Serves(c.route.Name); workers == 0 {
				c.end(outcome{err: noWorkers(c.route.Name)})
			}
		}
	}
	return held
}

// ping asks a worker which of the calls that it claimed it does not hold.
func (s *supervisor) ping(worker string, calls []uint64, now time.Time) {
	s.watch.ask(worker, now)
	reply := link.PrefixFrontEnd + s.post.id + ".p-" + worker
	if err := s.post.link.NC.PublishRequest(link.PrefixWorker+worker+".c", reply, pingFrame(s.post.id, calls)); err != nil {
		s.log.Debug("pinging a worker", "worker", worker, "error", err)
	}
}

// receivePong takes the answer, or the word of the server that the worker is not connected.
func (s *supervisor) receivePong(worker string, msg *nats.Msg) {
	if len(msg.Data) == 0 && msg.Header.Get("Status") == "503" {
		s.loseWorker(worker)
		return
	}
	s.watch.answered(worker)
	kind, _, r := openFrame(msg.Data)
	if kind != framePong {
		return
	}
	for _, id := range r.Calls() {
		c := s.calls.get(id)
		if c == nil {
			continue
		}
		if c.holder() == worker && c.unknown() {
			c.end(outcome{err: workerLost()})
		}
	}
}

// workerLost is the end of a call whose worker is gone.
func workerLost() error {
	return fault.New(fault.UpstreamUnavailable, "the worker that ran the call is gone; the call may have run; try again")
}

// loseWorker ends the calls of a worker that is gone.
func (s *supervisor) loseWorker(worker string) {
	s.log.Warn("a worker with running calls is gone", "worker", worker)
	s.watch.answered(worker)
	s.workers.Lose(worker)
	for _, c := range s.calls.all() {
		if c.holder() == worker {
			c.end(outcome{err: workerLost()})
		}
	}
}

// watch remembers which workers owe an answer to a ping, and since when.
type watch struct {
	mu    sync.Mutex
	asked map[string]time.Time
}

// ask notes that a worker owes an answer from now on, unless it does already.
func (w *watch) ask(worker string, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, owes := w.asked[worker]; !owes {
		w.asked[worker] = now
	}
}

// answered notes that it owes none.
func (w *watch) answered(worker string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.asked, worker)
}

// silent names the workers of held that owe an answer for too long, and forgets those that hold nothing.
func (w *watch) silent(now time.Time, held map[string][]uint64) (lost []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for worker, since := range w.asked {
		switch {
		case held[worker] == nil:
			delete(w.asked, worker)
		case now.Sub(since) >= pingLost:
			lost = append(lost, worker)
		}
	}
	return lost
}
