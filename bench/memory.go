package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	waitingClients  = 1500
	rowsOfReply     = 12  // of 384 floats: 100 kB
	maxWaitingMB    = 400 // peak
	maxIdleMB       = 40
	maxStart        = 300 * time.Millisecond
	starts          = 9
	settleTime      = 3 * time.Second
	gatherPatience  = 2 * time.Minute
	answersPatience = 2 * time.Minute
)

// memory measures headrace's start, its idle memory, and its memory with many callers waiting.
func (b *bench) memory(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	idle, took, err := b.idle(ctx)
	if err != nil {
		return err
	}
	var rows [][]string
	gates := []gate{
		atMost("start to ready, ms (median)", spreadOf(took).median*1e3, float64(maxStart.Milliseconds()), "%.0f"),
		atMost("idle, MB", mb(idle), maxIdleMB, "%.1f"),
	}
	for _, slots := range []int{speedSlots, waitingClients} {
		c, err := b.crowd(ctx, slots)
		if err != nil {
			return err
		}
		rows = append(rows, []string{
			strconv.Itoa(slots), strconv.Itoa(c.held), strconv.Itoa(waitingClients - c.held), fmt.Sprintf("%.1f", mb(c.waiting)),
			fmt.Sprintf("%.1f", mb(c.peak)), fmt.Sprintf("%.2f", c.took.Seconds()), strconv.Itoa(c.answered),
		})
		gates = append(gates,
			atMost(fmt.Sprintf("peak with %d callers, %d slots, MB", waitingClients, slots), mb(c.peak), maxWaitingMB, "%.0f"),
			atLeast(fmt.Sprintf("right answers, %d slots", slots), float64(c.answered), waitingClients, "%.0f"))
		if c.why != nil {
			b.progress("a call failed: %v", c.why)
		}
	}
	s := spreadOf(took)
	b.out.printf("### Memory and start\n\nStart is the time from the start of the process to the first 200 of /readyz, over %d starts: "+
		"%.0f ms (%.0f - %.0f). Idle is resident memory %s after that. Then %d callers wait at once: the model server "+
		"holds every call it gets, the rest waits in the queue; when all are there it lets go, and answers each with %d kB. "+
		"Memory is resident memory of headrace's process by the kernel's account (VmRSS, VmHWM).\n\n",
		starts, s.median*1e3, s.min*1e3, s.max*1e3, settleTime, waitingClients, rowsOfReply*len(renderRow(384))/1000)
	b.out.table([]string{"slots", "held", "queued", "waiting MB", "peak MB", "drained in s", "right answers"}, rows)
	b.out.gates(gates...)
	return nil
}

// idle starts headrace several times, and reads the memory of the last one.
func (b *bench) idle(ctx context.Context) (rss int64, took []float64, err error) {
	gateway, err := newGateway(ctx, b.dir, "http://127.0.0.1:9", speedSlots)
	if err != nil {
		return 0, nil, err
	}
	for range starts {
		process, start, err := gateway.up(ctx, b.binary)
		if err != nil {
			return 0, nil, err
		}
		took = append(took, start.Seconds())
		if len(took) == starts {
			select {
			case <-time.After(settleTime):
			case <-ctx.Done():
			}
			rss, _, err = memory(process.pid())
		}
		process.stop()
		if err != nil {
			return 0, nil, err
		}
	}
	return rss, took, nil
}

// crowd is what many waiting callers gave.
type crowd struct {
	held     int   // calls at the model server
	waiting  int64 // bytes of memory while all wait
	peak     int64 // bytes
	took     time.Duration
	answered int // right ones
	why      error
}

// crowd lets all callers wait, releases them and counts.
func (b *bench) crowd(ctx context.Context, slots int) (crowd, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	_, modelAddr, err := role(ctx, roleModel, "-hold")
	if err != nil {
		return crowd{}, err
	}
	gateway, err := newGateway(ctx, b.dir, "http://"+modelAddr, slots)
	if err != nil {
		return crowd{}, err
	}
	process, _, err := gateway.up(ctx, b.binary)
	if err != nil {
		return crowd{}, err
	}
	defer process.stop()
	answers := make(chan error, waitingClients)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer stop() // what still waits then ends with headrace
	if err := gather(ctx, gateway.addr, &asking, answers); err != nil {
		return crowd{}, err
	}
	c := crowd{held: min(slots, waitingClients)}
	gathered := func() error { return allWait(ctx, modelAddr, gateway.addr, c.held) }
	if err := process.until(ctx, gatherPatience, "all callers wait", gathered); err != nil {
		return c, err
	}
	if c.waiting, _, err = memory(process.pid()); err != nil {
		return c, err
	}
	began := time.Now()
	if _, _, err := once(ctx, modelAddr, post(modelAddr, "/release", ""), checkTimeout); err != nil {
		return c, fmt.Errorf("release: %w", err)
	}
	for range waitingClients {
		if err := <-answers; err != nil {
			c.why = err
			continue
		}
		c.answered++
	}
	c.took = time.Since(began)
	_, c.peak, err = memory(process.pid())
	return c, err
}

// gather lets all callers ask; each sends nil or its failure to answers.
func gather(ctx context.Context, addr string, asking *sync.WaitGroup, answers chan<- error) error {
	text := strings.TrimSuffix(strings.Repeat(`"`+sentence+`", `, rowsOfReply), ", ")
	request := post(addr, viaGateway, `{"text": [`+text+`]}`)
	for range waitingClients {
		caller, err := dial(ctx, addr)
		if err != nil {
			return fmt.Errorf("dial: %w", err)
		}
		asking.Go(func() {
			defer caller.close()
			answers <- ask(caller, request)
		})
	}
	return nil
}

// ask makes one call and checks the whole reply.
func ask(caller *conn, request []byte) error {
	if err := caller.expire(time.Now().Add(gatherPatience + answersPatience)); err != nil {
		return err
	}
	status, body, err := caller.fetch(request)
	if err != nil {
		return err
	}
	var reply struct {
		Embeddings []json.RawMessage `json:"embeddings"`
	}
	if status != 200 {
		return fmt.Errorf("status %d: %.300s", status, body)
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		return err
	}
	if len(reply.Embeddings) != rowsOfReply {
		return fmt.Errorf("%d rows instead of %d", len(reply.Embeddings), rowsOfReply)
	}
	return nil
}

// errGathering says that not all callers wait yet.
var errGathering = errors.New("not all callers wait yet")

// allWait is nil when the model server holds as many calls as it should, and headrace's queue the others.
func allWait(ctx context.Context, modelAddr, addr string, held int) error {
	_, text, err := once(ctx, modelAddr, get(modelAddr, "/held"), checkTimeout)
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(string(text)); err != nil || n != held {
		return fmt.Errorf("%w: the model server holds %s", errGathering, text)
	}
	_, text, err = once(ctx, addr, get(addr, "/v1/routes/embeddings"), checkTimeout)
	if err != nil {
		return err
	}
	var route struct {
		Waiting int `json:"waiting"`
	}
	if err := json.Unmarshal(text, &route); err != nil {
		return err
	}
	if route.Waiting != waitingClients-held {
		return fmt.Errorf("%w: %d are queued", errGathering, route.Waiting)
	}
	return nil
}
