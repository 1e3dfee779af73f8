package worker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/provider/mlflow"
	"headrace/worker"
)

// texts is a model server in memory that answers prompts as MLflow's do: "bad" fails the whole call, "twin" has two
// predictions, and what it says of a failure names all rows.
type texts struct {
	mu       sync.Mutex
	fixed    time.Duration
	row      time.Duration
	slow     time.Duration                                 // more, for calls that begin with "slow"
	reply    func(inputs []string) (provider.Reply, error) // nil: as above
	calls    [][]string
	inFlight int
	most     int // in flight
	cut      int // calls that were cancelled
	held     int // replies that were not released
}

// Do is part of worker.Upstream.
func (s *texts) Do(ctx context.Context, call provider.Call, _ int64) (provider.Reply, func(), error) {
	var body struct{ Inputs []string }
	if err := json.Unmarshal(call.Body, &body); err != nil {
		return provider.Reply{Status: 400, ContentType: "application/json", Body: []byte(`{"message":"not JSON"}`)}, func() {}, nil
	}
	s.mu.Lock()
	s.calls = append(s.calls, body.Inputs)
	s.inFlight++
	s.most = max(s.most, s.inFlight)
	took, reply := s.fixed+time.Duration(len(body.Inputs))*s.row, s.reply
	if len(body.Inputs) > 0 && strings.HasPrefix(body.Inputs[0], "slow") {
		took += s.slow
	}
	s.mu.Unlock()
	timer := time.NewTimer(took)
	defer timer.Stop()
	var err error
	select {
	case <-timer.C:
	case <-ctx.Done():
		err = context.Cause(ctx)
		if ctx.Err() == context.DeadlineExceeded {
			err = fault.New(fault.UpstreamTimeout, "too slow")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight--
	if err != nil {
		s.cut++
		return provider.Reply{}, nil, err
	}
	if reply == nil {
		reply = predict
	}
	r, err := reply(body.Inputs)
	if err != nil {
		return provider.Reply{}, nil, err
	}
	s.held++
	return r, sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.held--
	}), nil
}

// Run is part of worker.Upstream.
func (s *texts) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Replicas is part of worker.Upstream.
func (s *texts) Replicas() []inference.Replica { return nil }

// predict is what a well-behaved model server says.
func predict(inputs []string) (provider.Reply, error) {
	var rows []any
	for _, in := range inputs {
		switch {
		case strings.Contains(in, "bad"):
			text, err := json.Marshal(map[string]string{"message": "no mask in one of " + strings.Join(inputs, "|")})
			return provider.Reply{Status: 400, ContentType: "application/json", Body: text}, err
		case strings.Contains(in, "twin") && len(inputs) == 1:
			rows = append(rows, in+"1", in+"2")
		case strings.Contains(in, "twin"):
			rows = append(rows, []string{in + "1", in + "2"})
		default:
			rows = append(rows, in+"!")
		}
	}
	text, err := json.Marshal(map[string]any{"predictions": rows})
	return provider.Reply{Status: 200, ContentType: "application/json", Body: text}, err
}

// wanted is what a caller of in would have seen alone.
func wanted(in string) string {
	switch {
	case strings.Contains(in, "bad"):
		return "no mask in one of " + in
	case strings.Contains(in, "twin"):
		return fmt.Sprintf("%q %q", in+"1", in+"2")
	}
	return fmt.Sprintf("%q", in+"!")
}

type shop struct {
	t     *testing.T
	calls *calls
	model *texts
	stop  func()

	worker *worker.Worker
	route  *inference.Route
}

func open(t *testing.T, model *texts, b inference.Batch, slots int) *shop {
	t.Helper()
	return openWith(t, model, b, slots, worker.Deps{})
}

// openWith is open with some of what the worker works with.
func openWith(t *testing.T, model *texts, b inference.Batch, slots int, deps worker.Deps) *shop {
	t.Helper()
	r := route("a", slots, "http://one")
	r.Type, r.Batch, r.Timeout, r.MaxReply = inference.Completions, b, 5*time.Second, 1<<20
	s := &shop{t: t, calls: newCalls(), model: model}
	random := rand.New(rand.NewPCG(3, 4))
	deps.Queue, deps.Providers = s.calls, map[string]provider.Provider{"fake": mlflow.New()}
	if deps.Random == nil {
		deps.Random = random.Float64
	}
	deps.Dial = func(*inference.Route) (worker.Upstream, error) { return model, nil }
	w, err := worker.New(worker.Config{Grace: time.Minute}, deps)
	if err != nil {
		t.Fatal(err)
	}
	s.worker, s.route = w, r
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.Run(ctx, inference.NewTable(r)); err != nil {
			t.Error(err)
		}
	}()
	s.stop = func() {
		cancel()
		<-done
		if n := worker.Parts(w); n != 0 {
			t.Errorf("%d bytes of parts are held", n)
		}
		if s.calls.leased != 0 || model.inFlight != 0 || model.held != 0 {
			t.Errorf("%d leased, %d calls, %d replies are left", s.calls.leased, model.inFlight, model.held)
		}
		for _, p := range w.State() {
			if p.Busy != 0 {
				t.Errorf("%d slots are busy", p.Busy)
			}
		}
	}
	synctest.Wait()
	return s
}

func (s *shop) ask(ctx context.Context, in string) *call {
	c := &call{from: s.calls, route: "a", ctx: ctx, result: make(chan string, 1), request: prompt(in)}
	s.calls.put(c)
	return c
}

// askList asks a list of prompts.
func (s *shop) askList(ctx context.Context, in []string) *call { return s.askListOf(ctx, "", in) }

func (s *shop) askListOf(ctx context.Context, caller string, in []string) *call {
	c := &call{from: s.calls, route: "a", ctx: ctx, result: make(chan string, 1)}
	c.request = &inference.Request{ID: "list", Route: "a", Type: inference.Completions, Caller: caller}
	for _, text := range in {
		c.request.Items = append(c.request.Items, prompt(text).Items[0])
	}
	s.calls.put(c)
	return c
}

// checkList is check for a list: one bad prompt fails it.
func (s *shop) checkList(c *call, in []string) {
	s.t.Helper()
	how := <-c.result
	if all := strings.Join(in, "|"); strings.Contains(all, "bad") {
		said := ""
		if c.failed != nil {
			_, said, _ = strings.Cut(c.failed.Message, "no mask in one of ")
			said = strings.TrimSuffix(said, "…") // of a long text the beginning is shown
		}
		if len(said) < min(len(all), 500) || !strings.HasPrefix(all, said) {
			s.t.Errorf("a list of %d with a bad prompt ended with %q, %v", len(in), how, c.failed)
		}
		return
	}
	var want []string
	for _, text := range in {
		want = append(want, wanted(text))
	}
	if c.answer != strings.Join(want, " ") {
		s.t.Errorf("a list of %d ended with %q, %v: %s", len(in), how, c.failed, c.answer)
	}
}

func prompt(in string) *inference.Request {
	item, _ := json.Marshal(in) //nolint:errchkjson // a text
	return &inference.Request{ID: in, Route: "a", Type: inference.Completions, Items: [][]byte{item}}
}

// check waits for the end of a call, and compares it with what its caller would have seen alone.
func (s *shop) check(c *call, in string) {
	s.t.Helper()
	how := <-c.result
	switch bad := strings.Contains(in, "bad"); {
	case bad && (c.failed == nil || !strings.HasSuffix(c.failed.Message, wanted(in))):
		s.t.Errorf("%q ended with %q, %v", in, how, c.failed)
	case !bad && c.answer != wanted(in):
		s.t.Errorf("%q ended with %q, %v: %s, want %s", in, how, c.failed, c.answer, wanted(in))
	}
}

func limits(mode inference.BatchMode) inference.Batch {
	return inference.Batch{Mode: mode, MaxItems: 64, MaxBytes: 1 << 20, GatherMax: 2 * time.Millisecond, LatencyMax: time.Second}
}

// Clients call again when they are answered. Each sees what it would have seen alone, and together they get more
// answers than a slot that takes one at a time could give.
func TestEachCallerSeesItsOwnAnswer(t *testing.T) {
	t.Parallel()
	for _, mode := range []inference.BatchMode{inference.BatchAuto, inference.BatchOn, inference.BatchOff} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				model := &texts{fixed: 12 * time.Millisecond, row: time.Millisecond}
				s := open(t, model, limits(mode), 1)
				var clients sync.WaitGroup
				for i := range 32 {
					clients.Go(func() {
						for k := range 200 {
							in := fmt.Sprintf("%d.%d", i, k)
							switch r := (i*200 + k) % 100; {
							case r == 7:
								in += "bad"
							case r%10 == 3:
								in += "twin"
							}
							s.check(s.ask(t.Context(), in), in)
						}
					})
				}
				began := time.Now()
				clients.Wait()
				rate := 6400 / time.Since(began).Seconds()
				s.stop()
				t.Logf("%s: %.0f answers a second in %d calls", mode, rate, len(model.calls))
				if mode != inference.BatchOff && rate < 150 {
					t.Errorf("%.0f answers a second; one at a time is 77", rate)
				}
				if model.most != 1 {
					t.Errorf("%d calls at a time in one slot", model.most)
				}
				for _, c := range model.calls {
					if len(c) > 64 || mode == inference.BatchOff && len(c) > 1 {
						t.Errorf("%d rows in one call", len(c))
					}
				}
			})
		})
	}
}

// A model server that is away when the first calls come proves nothing: once it is back, calls are shared.
func TestAbsenceProvesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		model := &texts{fixed: 12 * time.Millisecond, row: time.Millisecond, reply: func([]string) (provider.Reply, error) {
			return provider.Reply{}, fault.New(fault.UpstreamUnavailable, "away")
		}}
		s := open(t, model, limits(inference.BatchAuto), 1)
		for range 40 {
			var all []*call
			for range 8 {
				all = append(all, s.ask(t.Context(), "away"))
			}
			for _, c := range all {
				<-c.result
			}
		}
		model.mu.Lock()
		model.reply = nil
		model.mu.Unlock()
		s.warm()
		held := s.hold()
		one, two := s.ask(t.Context(), "ones"), s.ask(t.Context(), "twos")
		s.check(held, "hold")
		s.check(one, "ones")
		s.check(two, "twos")
		if one.shared != 2 {
			t.Errorf("%d in its call", one.shared)
		}
		s.stop()
	})
}
