package e2e_test

import (
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headrace/e2e/history"
)

// chaos is a run: clients ask for jobs, read, cancel and repeat them, while a schedule of faults breaks everything.
type chaos struct {
	t        *testing.T
	set      chaosSettings
	h        *history.History
	model    *chaosModel
	fleet    *chaosFleet
	client   *http.Client
	began    time.Time
	accepted atomic.Int64
	kills    atomic.Int64   // processes
	applied  atomic.Int64   // faults
	looked   atomic.Int64   // jobs, at the end
	over     atomic.Bool    // no new jobs are placed
	failed   sync.Map       // why, by number
	asked    sync.Map       // how, by number
	ends     sync.WaitGroup // those who wait for ends while the power goes
}

// going reports whether there is still something to find out.
func (c *chaos) going() bool {
	return c.t.Context().Err() == nil && (c.set.until == "" || !c.h.Broken(c.set.until))
}

// TestChaos breaks everything while jobs are accepted and run, and proves afterwards on what everybody saw that no promise
// was broken. Its length, seed and load come from the environment; `make chaos` runs a long one.
func TestChaos(t *testing.T) {
	t.Parallel()
	s := readChaosSettings(t)
	t.Logf("to repeat: %s", s.repeat())
	h := history.New()
	c := &chaos{t: t, set: s, h: h, model: newChaosModel(t, h, s)}
	c.fleet = newChaosFleet(t, s, c.model.URL)
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	t.Cleanup(transport.CloseIdleConnections)
	c.client = &http.Client{Transport: transport}

	stop := c.tell()
	defer stop()
	faults := chaosSchedule(s)
	began := time.Now()
	c.began = began
	var clients sync.WaitGroup
	number := uint64(2)
	for _, kind := range []func(*rand.Rand){c.putter, c.keyed, c.async, c.canceller, c.batcher, c.reader, c.follower, c.meddler} {
		for range s.clients {
			random := rand.New(rand.NewPCG(s.seed, number))
			number++
			clients.Go(func() { kind(random) })
		}
	}
	random := rand.New(rand.NewPCG(s.seed, 0))
	clients.Go(func() { c.pauser(rand.New(rand.NewPCG(s.seed, number))) })
	c.run(faults)
	c.fleet.killAll() // once more, so that the way back is measured
	up := time.Now()
	c.over.Store(true)
	for _, addr := range c.fleet.apis {
		ready(t, c.client, addr)
	}
	h.Recovered("a front end after the death of everything", time.Since(up), 35*time.Second)
	clients.Wait()
	report := h.SoFar()
	if c.going() {
		c.settle(random, up)
		if len(h.Open()) == 0 { // else there is enough to tell, and no rest to wait for
			c.holds(random)
			c.tellsEnds(random)
			c.rest()
		}
		report = h.SoFar()
		if c.going() { // else not everything was looked at
			report = h.Check()
		}
	}
	s.write(t, report)
	kills := 0
	for _, f := range faults {
		if f.kills() {
			kills++
		}
	}
	t.Logf("%s of faults, %s in all: %d faults of %d, %d of them kills, of %d processes; the model server ran %d calls", s.length,
		time.Since(began).Round(time.Second), c.applied.Load(), len(faults), kills, c.kills.Load(), c.model.runs.Load())
	t.Log(report)
	why := make(map[any]int)
	c.failed.Range(func(_, code any) bool {
		why[code]++
		return true
	})
	t.Logf("jobs that failed, some of which ran again, by the reason: %v", why)
	if !c.going() {
		t.Errorf("it ends early, as %s is broken", s.until)
	}
	if len(report.Broken) > 0 || t.Failed() {
		for _, f := range faults {
			t.Log(f)
		}
		t.Errorf("to repeat: %s", s.repeat())
	}
	if report.Accepted < 100 && c.going() {
		t.Errorf("%d accepted jobs are too few to prove anything", report.Accepted)
	}
}

// tell says now and then how far a long run has come.
func (c *chaos) tell() (stop func()) {
	over, told := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(told)
		tick := time.NewTicker(30 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
				c.t.Logf("%d faults, %d processes killed, %d jobs accepted, %d calls of the model server, %d open jobs, %d looked at for the last time",
					c.applied.Load(), c.kills.Load(), c.accepted.Load(), c.model.runs.Load(), len(c.h.Open()), c.looked.Load())
			}
		}
	}()
	return func() {
		close(over)
		<-told
	}
}
