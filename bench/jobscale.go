package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	restartJobs  = 100_000
	restartBound = 5 * time.Second
	pollers      = 10_000
	pollersMB    = 500
	fewWaiting   = 1_000
	manyWaiting  = 1_000_000
	bytesAJob    = 700
	rateProbe    = 20_000 // jobs whose accept rate is measured
	waitPatience = 55     // seconds that a poller waits
	drainLimit   = 10 * time.Minute
	// restTime is longer than the two minutes after which Go's runtime collects garbage even when nothing happens.
	restTime = 150 * time.Second
)

// jobScale measures what many waiting jobs and many waiting callers cost.
func (b *bench) jobScale(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	_, modelAddr, err := role(ctx, roleModel)
	if err != nil {
		return err
	}
	b.out.printf("### Many jobs\n\nOne process, an instant model server, %d slots. The route is paused while jobs are placed, in batches of %d by %d "+
		"clients.\n\n", jobSlots, batchSize, batchClients)
	var gates []gate
	for _, scenario := range []func(context.Context, string) ([]gate, error){b.restart, b.longPolls, b.million} {
		more, err := scenario(ctx, "http://"+modelAddr)
		if err != nil {
			return err
		}
		gates = append(gates, more...)
	}
	b.out.gates(gates...)
	return nil
}

// depot is a headrace whose only route is paused.
type depot struct {
	*gateway

	b       *bench
	process *child
}

func (b *bench) newDepot(ctx context.Context, modelURL, durability string) (*depot, error) {
	g, err := newGateway(ctx, b.dir, modelURL, jobSlots, fmt.Sprintf("durability = %q\nmax_store = \"60GiB\"\n[jobs]\nmax_retained = 4000000\nmax_waiting = 4000000", durability))
	if err != nil {
		return nil, err
	}
	d := &depot{gateway: g, b: b}
	if d.process, _, err = g.up(ctx, b.binary); err != nil {
		return nil, err
	}
	if err := d.change(ctx, "pause"); err != nil {
		d.process.stop()
		return nil, err
	}
	return d, nil
}

// change pauses or resumes the route.
func (d *depot) change(ctx context.Context, how string) error {
	status, body, err := once(ctx, d.addr, post(d.addr, "/v1/queues/embeddings/"+how, ""), checkTimeout)
	if err == nil && status != 200 {
		err = fmt.Errorf("%s: status %d %.200s", how, status, body)
	}
	return err
}

// place places n jobs in batches, tells of each its id when note is not nil, and gives the rate.
func (d *depot) place(ctx context.Context, n int, note func(id string)) (float64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var left atomic.Int64
	left.Store(int64(n / batchSize))
	var mu sync.Mutex
	took := func(ids []string) {
		mu.Lock()
		defer mu.Unlock()
		for _, id := range ids {
			if note != nil {
				note(id)
			}
		}
	}
	var running sync.WaitGroup
	began := time.Now()
	for range batchClients {
		running.Go(func() {
			if err := d.placeSome(ctx, &left, took); err != nil {
				cancel(err)
			}
		})
	}
	running.Wait()
	return float64(n) / time.Since(began).Seconds(), context.Cause(ctx)
}

// placeSome places batches as long as some are left.
func (d *depot) placeSome(ctx context.Context, left *atomic.Int64, took func(ids []string)) error {
	c, err := dial(ctx, d.addr)
	if err != nil {
		return err
	}
	defer c.close()
	for left.Add(-1) >= 0 && ctx.Err() == nil {
		if err := c.expire(time.Now().Add(checkTimeout)); err != nil {
			return err
		}
		ids, err := placeIDs(c, d.addr)
		if err != nil {
			return err
		}
		took(ids)
	}
	return nil
}

// placeIDs is placeBatch that tells the jobs' ids.
func placeIDs(c *conn, addr string) ([]string, error) {
	body := `{"jobs":[` + strings.TrimSuffix(strings.Repeat(jobBody+",", batchSize), ",") + `]}`
	status, reply, err := c.fetch(post(addr, "/v1/jobs/batch", body))
	if err != nil {
		return nil, err
	}
	var batch struct {
		Data []struct {
			Status int `json:"status"`
			Job    struct {
				ID string `json:"id"`
			} `json:"job"`
		} `json:"data"`
	}
	if err := json.Unmarshal(reply, &batch); err != nil || status != 202 {
		return nil, fmt.Errorf("placing a batch: status %d %.200s", status, reply)
	}
	ids := make([]string, 0, len(batch.Data))
	for _, item := range batch.Data {
		if item.Status != 202 {
			return nil, fmt.Errorf("a job of a batch: status %d; %.300s", item.Status, reply)
		}
		ids = append(ids, item.Job.ID)
	}
	return ids, nil
}

// restart kills everything with many waiting jobs, and starts it again.
func (b *bench) restart(ctx context.Context, modelURL string) ([]gate, error) {
	d, err := b.newDepot(ctx, modelURL, "power")
	if err != nil {
		return nil, err
	}
	defer func() { d.process.stop() }()
	ids := make([]string, 0, restartJobs)
	rate, err := d.place(ctx, restartJobs, func(id string) { ids = append(ids, id) })
	if err != nil {
		return nil, err
	}
	b.progress("%d jobs placed at %.0f jobs/s", len(ids), rate)
	_ = d.process.cmd.Process.Kill() // it has not ended
	<-d.process.done
	var took time.Duration
	if d.process, took, err = d.up(ctx, b.binary); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := d.change(ctx, "resume"); err != nil {
		return nil, err
	}
	if err := drained(ctx, d.addr, drainLimit); err != nil {
		return nil, err
	}
	ran := time.Since(began)
	good, err := d.succeeded(ctx, ids)
	if err != nil {
		return nil, err
	}
	b.out.printf("* kill -9 of the process with %d waiting jobs (`power`, accepted in batches at %s jobs/s while the route is paused): ready again after "+
		"%.2f s; all were run %.0f s later, and %d of them have succeeded in one attempt.\n", len(ids), number(rate), took.Seconds(), ran.Seconds(), good)
	return []gate{
		atMost("ready after kill -9 with 100,000 waiting jobs, s", took.Seconds(), restartBound.Seconds(), "%.2f"),
		atLeast("of them succeeded in one attempt", float64(good), restartJobs, "%.0f"),
	}, nil
}

// succeeded counts the jobs that have run once and succeeded.
func (d *depot) succeeded(ctx context.Context, ids []string) (int, error) {
	var good, next atomic.Int64
	errs := make(chan error, jobClients)
	for range jobClients {
		go func() {
			c, err := dial(ctx, d.addr)
			for err == nil {
				i := int(next.Add(1)) - 1
				if i >= len(ids) {
					c.close()
					break
				}
				var body []byte
				if err = c.expire(time.Now().Add(checkTimeout)); err != nil {
					break
				}
				if _, body, err = c.fetch(get(d.addr, "/v1/jobs/"+ids[i])); err == nil &&
					strings.Contains(string(body), `"status":"succeeded"`) && strings.Contains(string(body), `"attempt":1`) {
					good.Add(1)
				}
			}
			errs <- err
		}()
	}
	var all error
	for range jobClients {
		all = errors.Join(all, <-errs)
	}
	return int(good.Load()), all
}

// longPolls lets many callers wait for one job each.
func (b *bench) longPolls(ctx context.Context, modelURL string) ([]gate, error) {
	d, err := b.newDepot(ctx, modelURL, "process")
	if err != nil {
		return nil, err
	}
	defer func() { d.process.stop() }()
	ids := make([]string, 0, pollers)
	if _, err := d.place(ctx, pollers, func(id string) { ids = append(ids, id) }); err != nil {
		return nil, err
	}
	answers := make(chan error, pollers)
	var waiting sync.WaitGroup
	defer waiting.Wait()
	for _, id := range ids {
		c, err := dial(ctx, d.addr)
		if err != nil {
			return nil, err
		}
		waiting.Go(func() {
			defer c.close()
			answers <- poll(c, d.addr, id)
		})
	}
	select { // until the last of them has been read
	case <-time.After(settleTime):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	rss, _, err := memory(d.process.pid())
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := d.change(ctx, "resume"); err != nil {
		return nil, err
	}
	good := 0
	for range pollers {
		if err := <-answers; err != nil {
			b.progress("a poller: %v", err)
			continue
		}
		good++
	}
	b.out.printf("* %d callers wait for a job each (`?wait=%d`): %.0f MB; when the route is resumed %d of them are told of success within %.1f s.\n",
		pollers, waitPatience, mb(rss), good, time.Since(began).Seconds())
	return []gate{
		atMost("memory with 10,000 long polls, MB", mb(rss), pollersMB, "%.0f"),
		atLeast("of them told of success", float64(good), pollers, "%.0f"),
	}, nil
}

func poll(c *conn, addr, id string) error {
	if err := c.expire(time.Now().Add((waitPatience + 10) * time.Second)); err != nil {
		return err
	}
	status, body, err := c.fetch(get(addr, fmt.Sprintf("/v1/jobs/%s?wait=%d", id, waitPatience)))
	if err == nil && (status != 200 || !strings.Contains(string(body), `"status":"succeeded"`)) {
		err = fmt.Errorf("status %d %.200s", status, body)
	}
	return err
}

// rested is the memory after a while in which nothing happens.
func (d *depot) rested(ctx context.Context) (int64, error) {
	select {
	case <-time.After(restTime):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	rss, _, err := memory(d.process.pid())
	return rss, err
}

// million compares accepting with few and with many waiting jobs, and tells the memory that each costs.
func (b *bench) million(ctx context.Context, modelURL string) ([]gate, error) {
	d, err := b.newDepot(ctx, modelURL, "process")
	if err != nil {
		return nil, err
	}
	defer func() { d.process.stop() }()
	if _, err := d.place(ctx, fewWaiting, nil); err != nil {
		return nil, err
	}
	few, err := d.place(ctx, rateProbe, nil)
	if err != nil {
		return nil, err
	}
	before, err := d.rested(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if _, err := d.place(ctx, manyWaiting-rateProbe, nil); err != nil {
		return nil, err
	}
	b.progress("%d jobs wait after %s", manyWaiting, time.Since(began).Round(time.Second))
	many, err := d.place(ctx, rateProbe, nil)
	if err != nil {
		return nil, err
	}
	after, err := d.rested(ctx)
	if err != nil {
		return nil, err
	}
	each := float64(after-before) / manyWaiting
	b.out.printf("* %d waiting jobs (`process`): %s jobs/s are accepted, %s with %d waiting; memory, %s after the last of them, has grown from %.0f to %.0f MB, %.0f bytes for each job.\n\n",
		manyWaiting, number(many), number(few), fewWaiting, restTime, mb(before), mb(after), each)
	return []gate{
		atLeast("accept rate, 1,000,000 waiting / 1,000 waiting", many/few, 0.8, "%.2f"),
		atMost("bytes of memory for each of 1,000,000 waiting jobs", each, bytesAJob, "%.0f"),
	}, nil
}
