package e2e_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// chaosKind is a fault.
type chaosKind string

// The faults.
const (
	killWorker  chaosKind = "kill -9 worker"
	killFront   chaosKind = "kill -9 api"
	killBroker  chaosKind = "kill -9 broker"
	killAll     chaosKind = "kill -9 everything"
	stopWorker  chaosKind = "SIGSTOP worker"
	stopFront   chaosKind = "SIGSTOP api"
	stopBroker  chaosKind = "SIGSTOP broker"
	termWorker  chaosKind = "SIGTERM worker"
	termFront   chaosKind = "SIGTERM api"
	termBroker  chaosKind = "SIGTERM broker"
	cutLink     chaosKind = "cut connections"
	delayLink   chaosKind = "delay connections"
	darkLink    chaosKind = "blackhole connections"
	losePower   chaosKind = "lose power"
	fillDisk    chaosKind = "fill disk"
	modelBusy   chaosKind = "model server 429"
	modelAway   chaosKind = "model server 503"
	modelResets chaosKind = "model server resets"
	modelSlow   chaosKind = "model server slow"
	modelCuts   chaosKind = "model server half bodies"
)

// chaosFault is one fault of a schedule.
type chaosFault struct {
	at     time.Duration
	kind   chaosKind
	target int
	length time.Duration // of those that last
}

func (f chaosFault) String() string {
	return fmt.Sprintf("%8s %s %d for %s", f.at.Round(time.Millisecond), f.kind, f.target, f.length.Round(time.Millisecond))
}

func (f chaosFault) kills() bool { return strings.HasPrefix(string(f.kind), "kill") }

// chaosKinds lists the faults, each as often as it is to come in proportion.
func chaosKinds() (kills, others []chaosKind) {
	kills = []chaosKind{killWorker, killWorker, killWorker, killWorker, killFront, killFront, killFront, killBroker, killBroker, killAll}
	others = []chaosKind{
		stopWorker, stopFront, stopBroker, termWorker, termFront, termBroker, cutLink, cutLink, delayLink, darkLink, fillDisk,
		modelBusy, modelAway, modelResets, modelSlow, modelCuts,
	}
	return kills, others
}

// chaosSchedule is a schedule, the same for the same seed. Each kind comes at least once, but the loss of power.
func chaosSchedule(s chaosSettings) []chaosFault {
	random := rand.New(rand.NewPCG(s.seed, 1))
	killing, others := chaosKinds()
	once := append(slices.Clone(killing), others...)
	slices.Sort(once)
	all := slices.Compact(once)
	count := func() (n int) {
		for _, k := range all {
			if (chaosFault{kind: k}).kills() {
				n++
			}
		}
		return n
	}
	for count() < s.kills {
		all = append(all, killing[random.IntN(len(killing))])
		if random.IntN(2) == 0 {
			all = append(all, others[random.IntN(len(others))])
		}
	}
	for range s.power {
		all = append(all, losePower)
	}
	if s.lease < s.length/3 { // a stopped worker loses its jobs
		all = append(all, stopWorker, stopWorker, stopWorker)
	}
	longest := longestFault(s.length)
	faults := make([]chaosFault, 0, len(all))
	for _, kind := range all {
		f := chaosFault{at: time.Duration(random.Int64N(int64(s.length))), kind: kind, target: random.IntN(6)}
		f.length = 200*time.Millisecond + time.Duration(random.ExpFloat64()*float64(longest)/5)
		f.length = min(f.length, longest)
		if kind == stopBroker || kind == fillDisk || kind == modelSlow || kind == modelBusy || kind == modelAway {
			f.length = min(f.length, 4*time.Second) // no job runs during it
		}
		if kind == stopWorker && s.lease < s.length/3 { // long enough for another worker to take its jobs
			f.length = max(f.length, s.lease*5/2)
		}
		faults = append(faults, f)
	}
	slices.SortFunc(faults, func(a, b chaosFault) int { return int(a.at - b.at) })
	return faults
}

// longestFault is how long a fault lasts at most: in a long run longer than two leases.
func longestFault(length time.Duration) time.Duration { return min(length/8, 70*time.Second) }

// run does what the schedule says, and waits until all faults are over.
func (c *chaos) run(faults []chaosFault) {
	began := time.Now()
	var lasting sync.WaitGroup
	for _, f := range faults {
		<-time.After(time.Until(began.Add(f.at)))
		if c.t.Failed() || !c.going() {
			break
		}
		c.applied.Add(1)
		lasting.Go(func() { c.apply(f) })
	}
	lasting.Wait()
	c.ends.Wait()
	c.fleet.heal()
	c.model.mode.Store(nil)
}

func (c *chaos) apply(f chaosFault) {
	fleet := c.fleet
	worker, front := fleet.workers[f.target%len(fleet.workers)], fleet.fronts[f.target%len(fleet.fronts)]
	link := fleet.proxies[f.target%len(fleet.proxies)]
	switch f.kind {
	case killWorker:
		c.restart(worker, syscall.SIGKILL)
	case killFront:
		c.restart(front, syscall.SIGKILL)
	case killBroker:
		c.restart(fleet.broker, syscall.SIGKILL)
	case killAll:
		fleet.killAll()
		c.kills.Add(int64(len(fleet.all())))
	case losePower:
		fleet.losePower(c.h, func() { c.seeEnds(f) })
		c.kills.Add(int64(len(fleet.all())))
	case termWorker:
		c.restart(worker, syscall.SIGTERM)
	case termFront:
		c.restart(front, syscall.SIGTERM)
	case termBroker:
		c.restart(fleet.broker, syscall.SIGTERM)
	case stopWorker:
		c.pauseWorker(worker, f)
	case stopFront:
		c.pause(front, f.length)
	case stopBroker:
		c.pause(fleet.broker, f.length)
	case cutLink:
		link.cut()
	case delayLink:
		link.slow(20*time.Millisecond + f.length/20)
		c.last(f)
		link.slow(0)
	case darkLink:
		link.darken(true)
		c.last(f)
		link.darken(false)
	case fillDisk:
		c.fill(f)
	case modelBusy, modelAway, modelResets, modelSlow, modelCuts:
		c.model.mode.Store(&f.kind)
		c.last(f)
		c.model.mode.CompareAndSwap(&f.kind, nil)
	}
}

func (c *chaos) last(f chaosFault) { <-time.After(f.length) }

func (c *chaos) restart(r *role, s syscall.Signal) {
	r.busy.Lock()
	defer r.busy.Unlock()
	r.signal(s)
	r.gone(40 * time.Second)
	if s == syscall.SIGKILL {
		c.kills.Add(1)
	}
	r.start()
}

func (c *chaos) pause(r *role, length time.Duration) {
	r.busy.Lock()
	defer r.busy.Unlock()
	r.signal(syscall.SIGSTOP)
	<-time.After(length)
	r.signal(syscall.SIGCONT)
}

// pauseWorker stops a worker for a while. What it runs is looked at before it goes on: another worker may have done it, and
// nothing that comes late may change what was seen.
func (c *chaos) pauseWorker(worker *role, f chaosFault) {
	random := rand.New(rand.NewPCG(c.set.seed, uint64(f.at)))
	look := func(random *rand.Rand, n int) bool {
		if c.h.ID(n) != "" {
			c.look(random, n, 0)
		}
		return true // once will do
	}
	worker.busy.Lock()
	defer worker.busy.Unlock()
	worker.signal(syscall.SIGSTOP)
	ran := c.model.latest()
	c.last(f)
	c.lookAt(random, ran, look)
	worker.signal(syscall.SIGCONT)
}

// seeEnds asks for some jobs and returns as soon as the ends of some of them were seen.
func (c *chaos) seeEnds(f chaosFault) {
	const asked, enough = 24, 12
	random := rand.New(rand.NewPCG(c.set.seed, uint64(f.at)))
	ended := make(chan bool, asked)
	for range asked {
		n, random := c.h.Ask(), rand.New(rand.NewPCG(random.Uint64(), 0))
		c.ends.Go(func() {
			v, ok := chaosView{}, c.placed(random, n, c.ordered(n, byID, ""))
			if ok {
				v, ok = c.view(random, n, 5)
			}
			ended <- ok && v.Status.Terminal()
		})
	}
	seen, tell := 0, time.After(10*time.Second)
	for range asked {
		select {
		case end := <-ended:
			if end {
				seen++
			}
		case <-tell:
			return
		}
		if seen == enough {
			return
		}
	}
}

// fill leaves the broker without room for a while. The broker is not touched, so that it has to recover by itself.
func (c *chaos) fill(f chaosFault) {
	r := c.fleet.broker
	r.busy.Lock()
	defer r.busy.Unlock()
	if err := c.fleet.disk.fill(r.pid()); err != nil {
		c.t.Errorf("filling the disk: %v", err)
	}
	c.last(f)
	if err := c.fleet.disk.free(r.pid()); err != nil {
		c.t.Errorf("giving the disk back: %v", err)
	}
	c.recovers(f)
}

// recovers waits until jobs are accepted again in every shard, although the broker is not restarted.
func (c *chaos) recovers(f chaosFault) {
	within := 30*time.Second + longestFault(c.set.length) // for which the front ends may be stopped or cut off
	began := time.Now()
	random := rand.New(rand.NewPCG(c.set.seed, uint64(f.at)))
	for range 24 {
		n := c.h.Ask()
		for c.h.ID(n) == "" && time.Since(began) <= within && c.going() {
			r := c.ask(random, http.MethodPut, fmt.Sprint("/v1/jobs/own-", n), c.envelopeOf(n, "emb", ""))
			var v chaosView
			if r.err == nil && (r.status == http.StatusAccepted || r.status == http.StatusOK) && json.Unmarshal(r.body, &v) == nil {
				c.took(n, v.view(), r.asked)
				break
			}
			breathe(c.t.Context(), 100*time.Millisecond)
		}
	}
	c.h.Recovered("a broker whose disk was full", time.Since(began), within)
}
