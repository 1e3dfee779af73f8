package calls_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headrace/broker/calls"
	"headrace/broker/link"
	"headrace/internal/fault"
	"headrace/internal/inference"
)

// full checks that err is a refusal which says what is full and when to come again.
func full(r *rig, err error, names string) {
	r.tb.Helper()
	f := fault.From(err)
	if f == nil || f.Code != fault.QueueFull || f.RetryAfter <= 0 || !strings.Contains(f.Message, names) {
		r.tb.Errorf("got %v, want queue_full that names %s and says when to come again", err, names)
	}
}

// crowd is calls of which one runs and the others wait, until proceed is closed.
type crowd struct {
	r       *rig
	route   *inference.Route
	proceed chan struct{}
	calls   sync.WaitGroup
}

// newCrowd makes the first call and waits until it runs.
func newCrowd(r *rig, route *inference.Route) *crowd {
	r.tb.Helper()
	handle, claimed, proceed := hold(r)
	c := &crowd{r: r, route: route, proceed: proceed}
	r.serve(1, handle, route)
	c.add(`"first"`)
	await(r.tb, claimed, "claim")
	return c
}

// add makes one more call that must succeed.
func (c *crowd) add(text string) {
	c.calls.Go(func() {
		res, err := c.r.front.Call(c.r.tb.Context(), c.route, request(c.route, text))
		if err != nil {
			c.r.tb.Errorf("an accepted call failed: %v", err)
		}
		res.Release()
	})
}

// wait returns when n calls wait.
func (c *crowd) wait(n int) {
	c.r.tb.Helper()
	if !eventually(func() bool { return c.r.front.State(c.route.Name).Waiting == n }) {
		c.r.tb.Fatalf("%d calls wait, want %d", c.r.front.State(c.route.Name).Waiting, n)
	}
}

// disperse lets all calls end, and checks that the route works as before.
func (c *crowd) disperse() {
	c.r.tb.Helper()
	close(c.proceed)
	c.calls.Wait()
	for range 5 {
		c.add(`"after"`)
	}
	c.calls.Wait()
	c.wait(0)
}

func TestMaxWaiting(t *testing.T) {
	t.Parallel()
	each(t, func(r *rig) {
		route, other := testRoute("full"), testRoute("other")
		route.MaxWaiting = 5
		c := newCrowd(r, route)
		r.serve(1, r.echo, other)
		for range route.MaxWaiting {
			c.add(`"x"`)
		}
		c.wait(route.MaxWaiting)
		_, err := r.front.Call(r.tb.Context(), route, request(route, `"x"`))
		full(r, err, "max_waiting")
		res, err := r.front.Call(r.tb.Context(), other, request(other, `"x"`))
		if err != nil {
			r.tb.Errorf("another route: %v", err)
		}
		res.Release()
		c.disperse()
	}, inProcess, overTCP, locally)
}

func TestMaxWaitingBytes(t *testing.T) {
	t.Parallel()
	each(t, func(r *rig) {
		route := testRoute("full")
		route.MaxWaitingBytes = 3 * calls.InlineRequest
		large := strings.Repeat("1", 2*calls.InlineRequest) // which waits with the front end
		c := newCrowd(r, route)
		c.add(large)
		c.wait(1)
		_, err := r.front.Call(r.tb.Context(), route, request(route, large))
		full(r, err, "max_waiting_bytes")
		c.add(`"a small one has room"`)
		c.wait(2)
		c.disperse()
	}, inProcess, overTCP, locally)
}

// The embedded server's memory is full: whoever comes then is refused, and whoever came before is served.
func TestMaxMemory(t *testing.T) {
	t.Parallel()
	for _, f := range []form{inProcess, overTCP, locally} {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			r := newSizedRig(t, f, 2<<20)
			route := testRoute("memory")
			c := newCrowd(r, route)
			text := strings.Repeat("1", calls.InlineRequest*3/4)
			var refused, served atomic.Int64
			var others sync.WaitGroup
			const calls = 20
			for range calls {
				others.Go(func() {
					res, err := r.front.Call(t.Context(), route, request(route, text))
					res.Release()
					if err == nil {
						served.Add(1)
						return
					}
					refused.Add(1)
					full(r, err, "broker.max_memory")
				})
			}
			if !eventually(func() bool {
				return refused.Load() > 0 && r.front.State(route.Name).Waiting == calls-int(refused.Load())
			}) {
				t.Errorf("%d of %d calls of %d bytes were refused by a memory of 2 MiB", refused.Load(), calls, len(text))
			}
			close(c.proceed)
			others.Wait()
			c.calls.Wait()
			if served.Load() < 5 {
				t.Errorf("only %d calls were served", served.Load())
			}
			for range 5 {
				c.add(text) // one after the other there is room
				c.calls.Wait()
			}
		})
	}
}

// severable is a way to a server that can be cut for good, as when the machine at its end dies.
type severable struct {
	listener net.Listener
	copying  sync.WaitGroup

	mu    sync.Mutex
	dead  bool
	away  bool // connections are closed as soon as they are made
	conns []net.Conn
	still chan struct{} // closed when bytes pass again; nil while they do
	mute  bool          // only those that come from the server are kept back
}

// stall keeps all bytes back until resume is called: the connections stay, and nothing comes through them.
func (s *severable) stall() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.still = make(chan struct{})
}

func (s *severable) resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.still != nil {
		close(s.still)
		s.still = nil
	}
}

// deafen is stall for what comes from the server only.
func (s *severable) deafen() {
	s.stall()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mute = true
}

// lose closes all connections, and those that are made until restore is called.
func (s *severable) lose() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = true
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

func (s *severable) restore() {
	s.resume()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away, s.mute = false, false
}

// gate is one end of a connection that can be stalled.
type gate struct {
	net.Conn

	way *severable
	in  bool // towards the server
}

// Write waits as long as the way is stalled.
func (g gate) Write(p []byte) (int, error) {
	g.way.mu.Lock()
	still := g.way.still
	if g.in && g.way.mute {
		still = nil
	}
	g.way.mu.Unlock()
	if still != nil {
		<-still
	}
	return g.Conn.Write(p)
}

func newSeverable(tb testing.TB, to string) *severable {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &severable{listener: listener}
	s.copying.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			s.join(in, out)
		}
	})
	tb.Cleanup(s.cut)
	return s
}

func (s *severable) join(in, out net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = append(s.conns, in, out)
	if s.dead || s.away {
		_, _ = in.Close(), out.Close()
	}
	for from, to := range map[net.Conn]net.Conn{in: out, out: in} {
		s.copying.Go(func() {
			_, _ = io.Copy(gate{to, s, to == out}, from) // until one of them is closed
			_, _ = to.Close(), from.Close()
		})
	}
}

func (s *severable) cut() {
	_ = s.listener.Close()
	s.resume()
	s.mu.Lock()
	s.dead = true
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.copying.Wait()
}

// A front end that dies while its calls wait, in the queue and with large bodies, takes them with it: none
// runs, and those of others do.
func TestFrontEndDies(t *testing.T) {
	t.Parallel()
	r := newRig(t, overTCP)
	way := newSeverable(t, r.server.Addr())
	route := testRoute("orphans")
	handle, claimed, proceed := hold(r)
	r.serve(1, handle, route)
	front := r.newFrontBy(link.Dial{URL: "nats://" + way.listener.Addr().String()})
	var callers sync.WaitGroup
	call := func(front *calls.FrontEnd, text string, code fault.Code) {
		callers.Go(func() {
			res, err := front.Call(t.Context(), route, request(route, text))
			res.Release()
			if err == nil && code == "" {
				return
			}
			if fault.CodeOf(err) != code {
				t.Errorf("%.20s: got %v, want %s", text, err, code)
			}
		})
	}
	call(r.front, `"mine"`, "")
	await(t, claimed, "claim")
	for _, size := range []int{1, 10, calls.InlineRequest, 2 * calls.InlineRequest} {
		call(front, `"orphan`+strings.Repeat("x", size)+`"`, fault.NoWorkers)
	}
	if !eventually(func() bool { return front.State(route.Name).Waiting == 4 }) {
		t.Fatal("the calls do not wait")
	}
	call(r.front, `"mine too"`, "")
	if !eventually(func() bool { return r.front.State(route.Name).Waiting == 1 }) {
		t.Fatal("the last call does not wait")
	}
	way.cut()
	close(proceed)
	callers.Wait()
	call(r.front, `"mine again"`, "")
	callers.Wait()
	for range 2 {
		if got := await(t, claimed, "claim"); !strings.HasPrefix(string(got.Request.Items[0]), `"mine`) {
			t.Errorf("%.20s ran though its front end had died", got.Request.Items[0])
		}
	}
}

// Workers are replaced one after the other while calls come in: not one call fails.
func TestRollingWorkers(t *testing.T) {
	t.Parallel()
	each(t, func(r *rig) {
		t := r.tb
		route, second := testRoute("rolling"), testRoute("rolling-too")
		worker := func() (stop func()) { return r.serve(2, r.echo, route, second) }
		old := worker()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		over := make(chan struct{})
		var callers sync.WaitGroup
		var answered atomic.Int64
		for i := range 8 {
			text := `"x"`
			if i == 0 {
				text = `"` + strings.Repeat("x", 2*calls.InlineRequest) + `"`
			}
			to := route
			if i%2 == 1 {
				to = second
			}
			callers.Go(func() {
				for {
					select {
					case <-over:
						return
					default:
					}
					res, err := r.front.Call(ctx, to, request(to, text))
					if err != nil {
						t.Errorf("a call failed: %v", err)
						return
					}
					res.Release()
					answered.Add(1)
				}
			})
		}
		for range 3 {
			before := answered.Load()
			next := worker()
			if !eventually(func() bool { return r.front.State(route.Name).Workers == 2 && r.front.State(second.Name).Workers == 2 }) {
				t.Error("the new worker is not seen")
			}
			old()
			old = next
			if !eventually(func() bool { return r.front.State(route.Name).Workers == 1 && r.front.State(second.Name).Workers == 1 }) {
				t.Error("the worker that has left is still seen")
			}
			if !eventually(func() bool { return answered.Load() >= before+50 }) {
				t.Error("nothing is answered any more")
			}
		}
		close(over)
		callers.Wait()
		t.Logf("%d calls were answered by workers that came and went", answered.Load())
	}, inProcess, overTCP, locally)
}

// A publish that is repeated, because its acknowledgement was late, may be refused: the first one still counts.
func TestRepetitionRefused(t *testing.T) {
	t.Parallel()
	const stored, refused = `{"stream":"INFER_1","seq":7}`, `{"error":{"code":503,"err_code":10023,"description":"insufficient resources"}}`
	for name, c := range map[string]struct {
		messages []string
		ends     bool
	}{
		"refused":             {[]string{refused}, true},
		"stored":              {[]string{stored}, false},
		"stored then refused": {[]string{stored, refused}, false},
	} {
		s, err := calls.NewSolo(testRoute("solo"))
		if err != nil {
			t.Fatal(err)
		}
		var o calls.Outcome
		for _, m := range c.messages {
			o = s.Receive("1", "", []byte(m))
		}
		if o.Ended != c.ends || o.Ended && fault.CodeOf(o.Err) != fault.QueueFull {
			t.Errorf("%s: got %+v", name, o)
		}
		if !c.ends && s.Sequence() != 7 {
			t.Errorf("%s: the message is at %d, want 7", name, s.Sequence())
		}
	}
}
