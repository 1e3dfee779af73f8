package e2e_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headrace/internal/history"
	"headrace/internal/job"
)

// chaosSettings come from the environment; the defaults are those of a short run.
type chaosSettings struct {
	length     time.Duration // CHAOS: of the faults
	seed       uint64        // SEED
	kills      int           // KILLS: at least
	jobs       int           // JOBS: at most
	batch      int           // BATCH: mean size of a batch
	backlog    int           // BACKLOG: jobs that wait at most
	clients    int           // CLIENTS: of each kind
	durability string        // DURABILITY
	dir        string        // CHAOS_DIR: of the broker's files; "" = a small file system in memory
	logs       string        // CHAOS_LOGS: where the processes' output stays; "" = nowhere
	diskSize   int64
}

func readChaosSettings(t *testing.T) chaosSettings {
	t.Helper()
	s := chaosSettings{durability: cmp.Or(os.Getenv("DURABILITY"), "process"), dir: os.Getenv("CHAOS_DIR"), logs: os.Getenv("CHAOS_LOGS"), diskSize: 6 << 30}
	number := func(name string, otherwise int) int {
		n, err := strconv.Atoi(cmp.Or(os.Getenv(name), strconv.Itoa(otherwise)))
		if err != nil || n < 0 {
			t.Fatalf("%s must be a whole number: %q", name, os.Getenv(name))
		}
		return n
	}
	var err error
	if s.length, err = time.ParseDuration(cmp.Or(os.Getenv("CHAOS"), "10s")); err != nil || s.length <= 0 {
		t.Fatalf("CHAOS must be a duration such as 10m: %q", os.Getenv("CHAOS"))
	}
	if s.seed, err = strconv.ParseUint(cmp.Or(os.Getenv("SEED"), strconv.FormatInt(time.Now().UnixNano(), 10)), 10, 64); err != nil {
		t.Fatalf("SEED: %v", err)
	}
	s.kills = number("KILLS", int(s.length/(4*time.Second)))
	s.jobs, s.batch = number("JOBS", 1_000_000), number("BATCH", 100)
	s.backlog, s.clients = number("BACKLOG", 5000), number("CLIENTS", 2)
	return s
}

// repeat is the command that runs the same schedule again.
func (s chaosSettings) repeat() string {
	return fmt.Sprintf("CHAOS=%s SEED=%d KILLS=%d JOBS=%d BATCH=%d BACKLOG=%d CLIENTS=%d DURABILITY=%s CHAOS_DIR=%q go test -count=1 -timeout 2h -v -run '^TestChaos$' ./e2e",
		s.length, s.seed, s.kills, s.jobs, s.batch, s.backlog, s.clients, s.durability, s.dir)
}

// chaos is a run: clients ask for jobs, read, cancel and repeat them, while a schedule of faults breaks everything.
type chaos struct {
	t        *testing.T
	set      chaosSettings
	h        *history.History
	model    *chaosModel
	fleet    *chaosFleet
	client   *http.Client
	accepted atomic.Int64
	kills    atomic.Int64 // processes
	applied  atomic.Int64 // faults
	looked   atomic.Int64 // jobs, at the end
	over     atomic.Bool  // nobody asks for new jobs
	failed   sync.Map     // why, by number
}

// TestChaos breaks everything while jobs are accepted and run, and proves afterwards on what everybody saw that no promise
// was broken. Its length, seed and load come from the environment; `make chaos` runs a long one.
func TestChaos(t *testing.T) {
	t.Parallel()
	s := readChaosSettings(t)
	t.Logf("to repeat: %s", s.repeat())
	h := history.New()
	c := &chaos{t: t, set: s, h: h, model: newChaosModel(t, h)}
	c.fleet = newChaosFleet(t, s, c.model.URL)
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	t.Cleanup(transport.CloseIdleConnections)
	c.client = &http.Client{Transport: transport}

	stop := c.tell()
	defer stop()
	faults := chaosSchedule(s.seed, s.length, s.kills)
	began := time.Now()
	var clients sync.WaitGroup
	number := uint64(2)
	for _, kind := range []func(*rand.Rand){c.putter, c.keyed, c.async, c.canceller, c.batcher, c.reader} {
		for range s.clients {
			random := rand.New(rand.NewPCG(s.seed, number))
			number++
			clients.Go(func() { kind(random) })
		}
	}
	c.run(faults)
	c.fleet.killAll() // once more, so that the way back is measured
	up := time.Now()
	c.over.Store(true)
	for _, addr := range c.fleet.apis {
		ready(t, c.client, addr)
	}
	h.Recovered("a front end after the death of everything", time.Since(up), 35*time.Second)
	clients.Wait()
	c.settle(up)
	c.rest()
	report := h.Check()
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
	if len(report.Broken) > 0 || t.Failed() {
		for _, f := range faults {
			t.Log(f)
		}
		t.Errorf("to repeat: %s", s.repeat())
	}
	if report.Accepted < 100 {
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

// settle waits until every job has ended, and looks at each of them for the last time.
func (c *chaos) settle(up time.Time) {
	waiting := 0
	for range 25 { // the broker counts while it starts
		waiting = max(waiting, c.fleet.waiting())
		breathe(c.t.Context(), 200*time.Millisecond)
	}
	// The lease, the pauses before other attempts, and what waits at a moderate pace.
	within := 35*time.Second + 20*time.Second + time.Duration(waiting)*time.Second/200
	random := rand.New(rand.NewPCG(c.set.seed, 0))
	for c.fleet.waiting() > 0 && time.Since(up) < within {
		breathe(c.t.Context(), 200*time.Millisecond)
	}
	first := func(wait int) func(*rand.Rand, int) bool {
		return func(random *rand.Rand, n int) bool {
			_, ok := c.view(random, n, wait)
			return ok
		}
	}
	c.lookAt(random, c.h.Open(), first(0))
	for len(c.h.Open()) > 0 && time.Since(up) < 2*within {
		c.lookAt(random, c.h.Open(), first(1))
	}
	c.h.Recovered(fmt.Sprintf("the last job, behind %d that waited,", waiting), time.Since(up), within)
	c.looked.Store(0)
	c.lookAt(random, c.h.Known(), c.lookAgain)
	for _, n := range c.h.Unexplained() {
		c.h.Attempted(n, len(c.attempts(random, n)))
	}
	c.interrupted(random)
}

// lookAt looks at jobs, many at a time.
func (c *chaos) lookAt(random *rand.Rand, numbers []int, look func(*rand.Rand, int) bool) {
	var hands sync.WaitGroup
	next := make(chan int)
	for range 64 {
		random := rand.New(rand.NewPCG(random.Uint64(), 0))
		hands.Go(func() {
			for n := range next {
				c.looked.Add(1)
				for range 10 {
					if look(random, n) {
						break
					}
					breathe(c.t.Context(), 200*time.Millisecond)
				}
			}
		})
	}
	for _, n := range numbers {
		next <- n
	}
	close(next)
	hands.Wait()
}

// attempts reads the attempts at a job by its own account.
func (c *chaos) attempts(random *rand.Rand, n int) []job.Attempt {
	r := c.ask(random, http.MethodGet, "/v1/jobs/"+string(c.h.ID(n))+"/attempts", "")
	var reply struct {
		Data []job.Attempt `json:"data"`
	}
	if r.err != nil || r.status != http.StatusOK || json.Unmarshal(r.body, &reply) != nil {
		c.t.Errorf("the attempts of job %d: %s", n, r)
	}
	return reply.Data
}

// interrupted tells how long interrupted jobs were without a worker, as far as they say: a model server that answers at
// once has them for a moment only. Some of it is the time for which nobody was there.
func (c *chaos) interrupted(random *rand.Rand) {
	var gaps []time.Duration
	for _, n := range c.h.Interrupted() {
		for _, a := range c.attempts(random, n) {
			if a.Outcome == "interrupted" && a.EndedAt != nil {
				gaps = append(gaps, a.EndedAt.Sub(a.StartedAt))
			}
		}
		if len(gaps) > 2000 {
			break
		}
	}
	if len(gaps) > 0 {
		slices.Sort(gaps)
		c.t.Logf("%d interruptions: from an interrupted start to the next one %s in the middle, %s at most", len(gaps),
			gaps[len(gaps)/2].Round(time.Millisecond), gaps[len(gaps)-1].Round(time.Millisecond))
	}
}

// rest waits until nothing is held any more. A lease whose end was lost is there until it has run out.
func (c *chaos) rest() {
	end := time.Now().Add(45 * time.Second)
	values := c.fleet.gauges()
	for held(values) != "" && time.Now().Before(end) {
		breathe(c.t.Context(), 500*time.Millisecond)
		values = c.fleet.gauges()
	}
	for name, value := range values {
		c.h.AtRest(name, value)
	}
}
