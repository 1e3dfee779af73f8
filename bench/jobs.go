package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	jobClients   = 64
	batchClients = 8
	batchSize    = 500
	jobSlots     = 32
	syncProbes   = 200
	// leastResult is shorter than any row of 384 floats, in bytes.
	leastResult = 768
	// drainTick is longer than what is told of queues is old.
	drainTick = 600 * time.Millisecond
)

// jobBounds are the figures to reach for one durability.
type jobBounds struct {
	durability    string
	cycles, batch float64 // a second
}

// jobs measures durable jobs: accepted, run and read by many clients, and accepted in batches.
func (b *bench) jobs(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	_, modelAddr, err := role(ctx, roleModel)
	if err != nil {
		return err
	}
	fsync, err := syncTime(b.dir)
	if err != nil {
		return err
	}
	b.out.printf("### Durable jobs\n\nOne process, an instant model server, %d slots; %d clients place a job, wait for its result and place the next; %d clients "+
		"place batches of %d, while the jobs run and while their route is paused (the bound is for the latter). Median of %d windows of %s. A write of 1 KB and its fsync take %.2f ms here (median of %d).\n\n",
		jobSlots, jobClients, batchClients, batchSize, b.rounds, b.window, float64(fsync.Microseconds())/1000, syncProbes)
	var rows [][]string
	var gates []gate
	for _, bound := range []jobBounds{{"power", 2000, 5000}, {"process", 4000, 15000}} {
		servers, err := b.jobRates(ctx, "http://"+modelAddr, bound.durability)
		if err != nil {
			return fmt.Errorf("%s: %w", bound.durability, err)
		}
		for i, s := range servers {
			cycles, running, paused := spreadOf(s.got.cycles), spreadOf(s.got.running), spreadOf(s.got.paused)
			rows = append(rows, []string{
				bound.durability, s.name, number(cycles.median), number(cycles.min) + " - " + number(cycles.max), number(spreadOf(s.got.cpu).median * 1e6),
				number(running.median), number(paused.median), number(paused.min) + " - " + number(paused.max),
			})
			if i > 0 {
				now := servers[0]
				rows = append(rows, []string{
					bound.durability, "ratio", showRatio(now.got.cycles, s.got.cycles), "", showRatio(now.got.cpu, s.got.cpu),
					showRatio(now.got.running, s.got.running), showRatio(now.got.paused, s.got.paused), "",
				})
				continue
			}
			gates = append(gates,
				atLeast("jobs/s accepted, run and read, "+bound.durability, cycles.median, bound.cycles, "%.0f"),
				atLeast("jobs/s accepted in batches, "+bound.durability, paused.median, bound.batch, "%.0f"))
		}
	}
	b.out.table([]string{"durability", "headrace", "accepted, run and read /s", "lowest - highest", "CPU us", "accepted in batches /s, running", "paused", "lowest - highest"}, rows)
	b.out.gates(gates...)
	return nil
}

// syncTime is how long the disk takes to make a kilobyte durable.
func syncTime(dir string) (time.Duration, error) {
	file, err := os.Create(filepath.Join(dir, "sync")) //nolint:gosec // a directory of our own
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }() // the file is never read
	took := make([]float64, syncProbes)
	for i := range took {
		began := time.Now()
		if _, err := file.Write(make([]byte, 1024)); err != nil {
			return 0, err
		}
		if err := file.Sync(); err != nil {
			return 0, err
		}
		took[i] = float64(time.Since(began))
	}
	return time.Duration(spreadOf(took).median), nil
}

// jobFigures has a figure for each round.
type jobFigures struct {
	cycles  []float64 // a second
	cpu     []float64 // seconds of headrace's process for each cycle
	running []float64 // accepted in batches a second, while they run
	paused  []float64 // while they do not
}

// jobServer is a headrace whose jobs are measured.
type jobServer struct {
	name    string
	addr    string
	process *child
	got     jobFigures
}

// jobServers starts headrace, and that of another commit where one is asked for.
func (b *bench) jobServers(ctx context.Context, modelURL, durability string) ([]*jobServer, error) {
	var all []*jobServer
	binaries, names := b.binaries()
	for i, binary := range binaries {
		gateway, err := newGateway(ctx, b.dir, modelURL, jobSlots, fmt.Sprintf("durability = %q", durability))
		if err != nil {
			return all, err
		}
		process, _, err := gateway.up(ctx, binary)
		if err != nil {
			return all, err
		}
		all = append(all, &jobServer{name: names[i], addr: gateway.addr, process: process})
	}
	return all, nil
}

// jobRates measures durable jobs of one durability; within a round every headrace is driven once.
func (b *bench) jobRates(ctx context.Context, modelURL, durability string) ([]*jobServer, error) {
	servers, err := b.jobServers(ctx, modelURL, durability)
	defer func() {
		for _, s := range servers {
			s.process.stop()
		}
	}()
	if err != nil {
		return nil, err
	}
	// The first round warms up. Batches come last: removing the versions of their records would still go on in the window
	// of those who wait for each job.
	for round := range b.rounds + 1 {
		if round == 1 {
			forget(servers)
		}
		for _, s := range rotated(servers, round) {
			if err := b.cycles(ctx, s); err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			b.progress("%s, %s, round %d of %d", durability, s.name, round, b.rounds)
		}
	}
	for round := range b.rounds + 1 {
		for _, s := range rotated(servers, round) {
			m, err := b.batches(ctx, s.addr)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			if round > 0 {
				s.got.running, s.got.paused = append(s.got.running, m[0].rate()), append(s.got.paused, m[1].rate())
			}
			b.progress("%s, %s, round %d of %d: in batches %.0f and %.0f jobs/s", durability, s.name, round, b.rounds, m[0].rate(), m[1].rate())
		}
	}
	return servers, nil
}

// forget drops what the rounds so far gave: they warmed up.
func forget(servers []*jobServer) {
	for _, s := range servers {
		s.got = jobFigures{}
	}
}

// cycles drives one headrace for a window with clients that place a job and wait for it.
func (b *bench) cycles(ctx context.Context, s *jobServer) error {
	busy := cpuTime(s.process.pid())
	w, err := b.jobWindow(ctx, s.addr, jobClients, cycleJob)
	if err != nil {
		return err
	}
	s.got.cycles = append(s.got.cycles, w.rate())
	s.got.cpu = append(s.got.cpu, (cpuTime(s.process.pid())-busy).Seconds()/max(w.jobs, 1))
	return nil
}

// batches places batches while jobs run, and while their route is paused.
func (b *bench) batches(ctx context.Context, addr string) (windows [2]jobWindowed, err error) {
	d := &depot{gateway: &gateway{addr: addr}}
	for i, how := range []string{"resume", "pause"} {
		if err := d.change(ctx, how); err != nil {
			return windows, err
		}
		if windows[i], err = b.jobWindow(ctx, addr, batchClients, placeBatch); err != nil {
			return windows, err
		}
		if err := d.change(ctx, "resume"); err != nil {
			return windows, err
		}
		if err := drained(ctx, addr, drainLimit); err != nil {
			return windows, err
		}
	}
	return windows, nil
}

// jobWindowed is what came of a window.
type jobWindowed struct {
	jobs float64
	took time.Duration
}

func (w jobWindowed) rate() float64 { return w.jobs / w.took.Seconds() }

// jobWindow lets clients do something for a window.
func (b *bench) jobWindow(ctx context.Context, addr string, clients int, do func(*conn, string) (int, error)) (jobWindowed, error) {
	var done atomic.Int64
	var failed error
	var once sync.Once
	var running sync.WaitGroup
	began := time.Now()
	over := began.Add(b.window)
	for range clients {
		running.Go(func() {
			c, err := dial(ctx, addr)
			if err == nil {
				defer c.close()
				err = c.expire(over.Add(checkTimeout))
			}
			for err == nil && time.Now().Before(over) && ctx.Err() == nil {
				var n int
				n, err = do(c, addr)
				done.Add(int64(n))
			}
			if err != nil {
				once.Do(func() { failed = err })
			}
		})
	}
	running.Wait()
	return jobWindowed{jobs: float64(done.Load()), took: time.Since(began)}, failed
}

const jobBody = `{"route":"embeddings","input":{"input":"` + sentence + `"}}`

// cycleJob places a job and reads its result.
func cycleJob(c *conn, addr string) (int, error) {
	status, body, err := c.fetch(post(addr, "/v1/jobs", jobBody))
	if err != nil {
		return 0, err
	}
	var job struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(body, &job); err != nil || status != 202 {
		return 0, fmt.Errorf("placing a job: status %d %.200s", status, body)
	}
	status, body, err = c.fetch(get(addr, "/v1/jobs/"+job.ID+"/result?wait=30"))
	if err != nil {
		return 0, err
	}
	if status != 200 || len(body) < leastResult {
		return 0, fmt.Errorf("reading a result: status %d %.200s", status, body)
	}
	return 1, nil
}

// placeBatch places many jobs and reads nothing.
func placeBatch(c *conn, addr string) (int, error) {
	body := `{"jobs":[` + strings.TrimSuffix(strings.Repeat(jobBody+",", batchSize), ",") + `]}`
	status, reply, err := c.fetch(post(addr, "/v1/jobs/batch", body))
	if err != nil {
		return 0, err
	}
	if n := strings.Count(string(reply), `"status":202`); status != 202 || n != batchSize {
		return 0, fmt.Errorf("placing a batch: status %d, %d of %d jobs; %.300s", status, n, batchSize, reply)
	}
	return batchSize, nil
}

// drained waits until no job waits any more, so that windows do not disturb each other.
func drained(ctx context.Context, addr string, patience time.Duration) error {
	tick := time.NewTicker(drainTick)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		status, body, err := once(ctx, addr, get(addr, "/v1/queues"), checkTimeout)
		if err == nil && status == 200 && strings.Contains(string(body), `"waiting":{"batch":0,"interactive":0,"standard":0}`) {
			return nil
		}
	}
	return errors.New("the jobs are not run")
}
