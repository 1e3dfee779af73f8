package calls

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
	"headrace/internal/fault"
)

const (
	// superviseEvery is how often a front end looks after its calls and pings the workers that hold them.
	superviseEvery = time.Second
	// pingLost is the silence after which a worker that holds calls counts as lost.
	pingLost = 3 * time.Second
)

// receive takes everything that is sent to this front end's inbox. It runs on one goroutine and never blocks.
func (f *FrontEnd) receive(msg *nats.Msg) {
	_, tail, _ := strings.Cut(msg.Subject, link.PrefixFrontEnd+f.id+".")
	switch {
	case tail == link.FramesToken[1:]:
		f.receiveFrame(msg)
	case strings.HasPrefix(tail, "p-"):
		f.receivePong(tail[2:], msg)
	default:
		if id, err := strconv.ParseUint(tail, 36, 64); err == nil {
			f.receiveAck(id, msg)
		}
	}
}

func (f *FrontEnd) receiveFrame(msg *nats.Msg) {
	kind, id, r := openFrame(msg.Data)
	c := f.calls.get(id)
	switch kind {
	case frameClaim:
		f.receiveClaim(c, id, r.String(), msg)
	case frameReply:
		if c != nil {
			c.end(f.arrive(r.Rest))
		}
	case frameOffer:
		if ref := r.Ref(); c != nil && r.Done() == nil {
			c.end(outcome{offer: ref})
		}
	case frameFail:
		if c != nil {
			c.end(outcome{err: readFail(r.Rest)})
		}
	case frameGo, frameGone, frameCancel, framePing, framePong:
		f.log.Warn("unexpected frame", "kind", string(kind))
	default:
		f.log.Warn("unknown frame", "kind", string(kind))
	}
}

func (f *FrontEnd) receiveClaim(c *call, id uint64, worker string, msg *nats.Msg) {
	answer := goneFrame(id)
	if c != nil {
		if left, ok := c.claim(worker, time.Now()); ok {
			answer = goFrame(id, left)
		}
	}
	f.tell(msg.Reply, answer)
}

// pubAck is the answer of JetStream to a publish.
type pubAck struct {
	Sequence uint64 `json:"seq"`
	Error    *struct {
		Code        int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
}

// readAck reads an acknowledgement. Nearly all are {"stream":"INFER_3","seq":12}, and one comes with each call, so
// that form is read without the JSON package.
func readAck(data []byte) (ack pubAck, err error) {
	if rest, ok := bytes.CutPrefix(data, []byte(`{"stream":"`+link.StreamPrefix)); ok {
		_, rest, _ = bytes.Cut(rest, []byte(`","seq":`))
		if digits, ok := bytes.CutSuffix(rest, []byte("}")); ok {
			if ack.Sequence, err = strconv.ParseUint(string(digits), 10, 64); err == nil {
				return ack, nil
			}
		}
	}
	err = json.Unmarshal(data, &ack)
	return ack, err
}

// receiveAck notes where a message is stored, or why it is not.
func (f *FrontEnd) receiveAck(id uint64, msg *nats.Msg) {
	c := f.calls.get(id)
	if c == nil {
		return // answered already
	}
	if len(msg.Data) == 0 && msg.Header.Get("Status") == "503" {
		f.repeat(c) // there is no such stream
		return
	}
	ack, err := readAck(msg.Data)
	if err != nil {
		f.log.Warn("unreadable acknowledgement", "error", err)
		return
	}
	if ack.Error != nil {
		f.refused(c, ack.Error.Description)
		return
	}
	c.mu.Lock()
	c.sequence = ack.Sequence
	withdrawn := c.state == callWithdrawn
	c.mu.Unlock()
	if withdrawn {
		f.deleteMessage(c.lane.Stream, ack.Sequence)
		f.calls.remove(id)
	}
}

// refused ends a call whose message the broker would not store, unless it was a repetition of one that is stored.
func (f *FrontEnd) refused(c *call, reason string) {
	c.mu.Lock()
	stored := c.worker != "" || c.sequence != 0
	c.mu.Unlock()
	if stored {
		return
	}
	f.log.Warn("the broker refused a request", "stream", c.lane.Stream, "reason", reason)
	full := fault.New(fault.QueueFull, "the broker's queue is full (broker.max_memory); try again later")
	full.RetryAfter = time.Second
	c.end(outcome{err: full})
	f.calls.remove(c.id) // nothing more will be said about it
}

// forget removes a withdrawn call whose message was never stored.
func (f *FrontEnd) forget(c *call) {
	c.mu.Lock()
	withdrawn := c.state == callWithdrawn
	c.mu.Unlock()
	if withdrawn {
		f.calls.remove(c.id)
	}
}

func (f *FrontEnd) repeat(c *call) {
	f.forget(c)
	select {
	case c.again <- struct{}{}:
	default:
	}
}

// supervise looks after calls until ctx ends.
func (f *FrontEnd) supervise(ctx context.Context) {
	tick := time.NewTicker(superviseEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, worker := range f.roster.expire(now) {
				f.log.Warn("a worker is silent", "worker", worker)
			}
			held := f.review(now)
			for worker, calls := range held {
				f.ping(worker, calls, now)
			}
			for _, worker := range f.watch.silent(now, held) {
				f.loseWorker(worker)
			}
		}
	}
}

// review acts on calls that wait in vain, and gives the claimed ones by worker.
func (f *FrontEnd) review(now time.Time) (held map[string][]uint64) {
	held = make(map[string][]uint64)
	for _, c := range f.calls.all() {
		c.mu.Lock()
		state, worker, claimed, sequence, deadline := c.state, c.worker, c.claimedAt, c.sequence, c.deadline
		c.mu.Unlock()
		age := now.Sub(c.began)
		switch {
		case (state == callClaimed || state == callEnded) && worker != "" && now.Sub(claimed) >= superviseEvery:
			// Also with an answer that waits to be pulled: its worker keeps it for as long as it is asked.
			held[worker] = append(held[worker], c.id)
		case state == callWithdrawn && now.Sub(deadline) > pingLost:
			f.calls.remove(c.id) // its publish was never acknowledged
		case state == callWaiting && sequence == 0 && age > publishPatience:
			f.repeat(c)
		case state == callWaiting && age > 2*link.PresenceWait:
			if workers, _, _ := f.roster.serves(c.route.Name); workers == 0 {
				c.end(outcome{err: noWorkers(c.route.Name)})
			}
		}
	}
	return held
}

func (f *FrontEnd) ping(worker string, calls []uint64, now time.Time) {
	f.watch.ask(worker, now)
	reply := link.PrefixFrontEnd + f.id + ".p-" + worker
	if err := f.link.NC.PublishRequest(link.PrefixWorker+worker+".c", reply, pingFrame(f.id, calls)); err != nil {
		f.log.Debug("pinging a worker", "worker", worker, "error", err)
	}
}

func (f *FrontEnd) receivePong(worker string, msg *nats.Msg) {
	if len(msg.Data) == 0 && msg.Header.Get("Status") == "503" {
		f.loseWorker(worker)
		return
	}
	f.watch.answered(worker)
	kind, _, r := openFrame(msg.Data)
	if kind != framePong {
		return
	}
	for _, id := range r.Calls() {
		c := f.calls.get(id)
		if c == nil {
			continue
		}
		if c.holder() == worker && c.unknown() {
			c.end(outcome{err: workerLost()})
		}
	}
}

func workerLost() error {
	return fault.New(fault.UpstreamUnavailable, "the worker that ran the call is gone; the call may have run; try again")
}

// loseWorker ends the calls of a worker that is gone.
func (f *FrontEnd) loseWorker(worker string) {
	f.log.Warn("a worker with running calls is gone", "worker", worker)
	f.watch.answered(worker)
	f.roster.lose(worker)
	for _, c := range f.calls.all() {
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

func (w *watch) ask(worker string, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, owes := w.asked[worker]; !owes {
		w.asked[worker] = now
	}
}

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
