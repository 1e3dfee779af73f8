package calls

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/intake"
	"headrace/broker/link"
	"headrace/broker/parcel"
	"headrace/internal/budget"
)

// Answerer is the end of the sync lane that answers calls. There is one in a worker process; package intake leases for it. It
// keeps the claims that wait for a front end's word, those that run, and the answers that were not pulled yet.
type Answerer struct {
	dial   link.Dial
	local  *Local // nil when no front end is in this process
	log    *slog.Logger
	bodies *budget.Bytes

	line    *intake.Line  // set by Run before anything is leased
	parcels *parcel.Depot // likewise

	mu      sync.Mutex
	claims  map[uint64]chan claimAnswer // claims that wait for GO, by number
	claimed uint64                      // number of the last claim
	running map[callKey]*claim          // claimed and not yet handed over
}

var _ intake.Kind = (*Answerer)(nil)

// callKey names a call among all front ends.
type callKey struct {
	frontEnd string
	call     uint64
}

// claimAnswer is what a front end says to a claim.
type claimAnswer struct {
	granted bool
	left    time.Duration
}

// NewAnswerer makes one. Large bodies and answers travel over a connection of their own, by dial. bodies is the budget that
// large request bodies are reserved in before they are pulled.
func NewAnswerer(dial link.Dial, local *Local, bodies *budget.Bytes, log *slog.Logger) *Answerer {
	return &Answerer{
		dial: dial, local: local, log: log, bodies: bodies,
		claims: make(map[uint64]chan claimAnswer), running: make(map[callKey]*claim),
	}
}

// Run serves claims over the worker's connection, and bodies over its own. See intake.Kind.
func (a *Answerer) Run(ctx context.Context, line *intake.Line, begun func()) error {
	bulk, err := a.dial.Open(ctx, "worker bulk", a.log, link.Events{})
	if err != nil {
		return link.Stopped(ctx, err)
	}
	defer bulk.NC.Close()
	a.line, a.parcels = line, parcel.New(line.ID, bulk.NC, a.bodies)
	if err := errors.Join(a.parcels.Open(), line.Subscribe(map[string]nats.MsgHandler{
		link.PrefixWorker + line.ID + ".c":   a.receiveControl,
		link.PrefixWorker + line.ID + ".g.*": a.receiveAnswer,
	})); err != nil {
		return err
	}
	a.local.employ(a)
	defer a.local.dismiss(a)
	begun()
	a.parcels.SweepUntil(ctx)
	a.awaitParcels(context.WithoutCancel(ctx))
	return nil
}

// Reconnected does nothing: front ends end the calls that they cannot follow any more, and a claim is asked for again.
func (a *Answerer) Reconnected() {}

// Leaving does nothing: what was claimed is answered.
func (a *Answerer) Leaving() {}

// Running is how many calls this worker runs.
func (a *Answerer) Running() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.running)
}

// Held is how many calls and answers this worker holds; 0 when nothing is left to do. It is for use after Run has begun.
func (a *Answerer) Held() int { return a.Running() + a.parcels.Count() }

// enter registers a claim; false when the call runs here already.
func (a *Answerer) enter(c *claim) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, twice := a.running[c.key]; twice {
		return false
	}
	a.running[c.key] = c
	return true
}

// left forgets a claim that has ended.
func (a *Answerer) left(c *claim) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.running, c.key)
}

// expect gives the subject on which one claim's answer is to come, and where it comes. forget ends that.
func (a *Answerer) expect() (reply string, answer <-chan claimAnswer, forget func()) {
	waiting := make(chan claimAnswer, 1)
	a.mu.Lock()
	a.claimed++
	number := a.claimed
	a.claims[number] = waiting
	a.mu.Unlock()
	return link.PrefixWorker + a.line.ID + ".g." + strconv.FormatUint(number, 36), waiting, func() {
		a.mu.Lock()
		delete(a.claims, number)
		a.mu.Unlock()
	}
}

// awaitParcels gives front ends a moment to pull what was just offered, and flushes the last frames.
func (a *Answerer) awaitParcels(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pingLost)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for a.parcels.Count() > 0 && ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	if err := a.line.Link.NC.FlushWithContext(ctx); err != nil && a.line.Link.NC.IsConnected() {
		a.log.Warn("flushing the last answers", "error", err)
	}
}

// receiveAnswer takes GO or GONE, or the server's answer that the front end has gone.
func (a *Answerer) receiveAnswer(msg *nats.Msg) {
	_, tail, _ := strings.Cut(msg.Subject, link.PrefixWorker+a.line.ID+".g.")
	number, err := strconv.ParseUint(tail, 36, 64)
	if err != nil {
		return
	}
	a.mu.Lock()
	waiting := a.claims[number]
	delete(a.claims, number)
	a.mu.Unlock()
	if waiting == nil {
		return
	}
	var answer claimAnswer // no data is the server's 503: not granted
	if kind, _, r := openFrame(msg.Data); kind == frameGo {
		left := time.Duration(min(r.Uint(), 1<<40)) * time.Millisecond
		answer = claimAnswer{granted: r.Done() == nil, left: left}
	}
	waiting <- answer // capacity 1, and only one answer finds it
}

// receiveControl takes cancels and pings.
func (a *Answerer) receiveControl(msg *nats.Msg) {
	switch kind, call, r := openFrame(msg.Data); kind {
	case frameCancel:
		key := callKey{frontEnd: r.String(), call: call}
		a.mu.Lock()
		c := a.running[key]
		a.mu.Unlock()
		if c != nil {
			c.abort()
		}
	case frameCredit:
		key := callKey{frontEnd: r.String(), call: call}
		total := r.Uint()
		a.mu.Lock()
		c := a.running[key]
		a.mu.Unlock()
		if c != nil && r.Done() == nil {
			if out := c.out.Load(); out != nil {
				out.Allow(total)
			}
		}
	case framePing:
		frontEnd := r.String()
		missing := a.missing(frontEnd, r.Calls())
		if err := msg.Respond(pongFrame(missing)); err != nil {
			a.log.Debug("answering a ping", "error", err)
		}
	case frameClaim, frameReply, frameOffer, frameFail, frameStream, frameChunk, frameEnd, frameGo, frameGone, framePong:
		a.log.Warn("unexpected frame", "kind", string(kind))
	default:
		a.log.Warn("unknown frame", "kind", string(kind))
	}
}

// missing lists those of calls that this worker does not hold. Answers that were offered and not pulled yet
// stay alive by being asked for.
func (a *Answerer) missing(frontEnd string, calls []uint64) (missing []uint64) {
	for _, call := range calls {
		a.mu.Lock()
		c := a.running[callKey{frontEnd, call}]
		a.mu.Unlock()
		if c == nil || !c.held() {
			missing = append(missing, call)
		}
	}
	return missing
}
