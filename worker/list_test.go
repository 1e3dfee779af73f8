package worker_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/worker"
)

// many makes a list of prompts of several lengths.
func many(n int) []string {
	in := make([]string, n)
	for i := range in {
		in[i] = fmt.Sprintf("%d.%s", i, strings.Repeat("x", 10*(i%3)))
		if i%10 == 3 {
			in[i] += "twin"
		}
	}
	return in
}

// largest is the most prompts that a call had, and how many calls there were.
func (s *shop) largest() (rows, calls int) {
	s.model.mu.Lock()
	defer s.model.mu.Unlock()
	for _, c := range s.model.calls {
		rows = max(rows, len(c))
	}
	return rows, len(s.model.calls)
}

func TestLongListIsAskedInPartsAndPutTogether(t *testing.T) {
	t.Parallel()
	for _, slots := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			s := open(t, &texts{fixed: 12 * time.Millisecond, row: time.Millisecond}, limits(inference.BatchAuto), slots)
			s.warm()
			s.checkList(s.askList(t.Context(), many(1000)), many(1000))
			if rows, calls := s.largest(); rows > 80 || calls < 13 {
				t.Errorf("%d slots: %d calls, of at most %d rows", slots, calls, rows)
			}
			s.stop()
		})
	}
}

func TestListIsWholeBeforeSharingIsProven(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, &texts{fixed: 12 * time.Millisecond, row: time.Millisecond}, limits(inference.BatchAuto), 1)
		for range 3 {
			s.checkList(s.askList(t.Context(), many(300)), many(300))
		}
		if _, calls := s.largest(); calls != 3 {
			t.Errorf("%d calls for 3 lists", calls)
		}
		s.stop()
	})
}

// A list with a bad prompt, or of which a part cannot be divided, is answered as if it had been asked whole: it is.
func TestBadListIsAnsweredAsItWouldBeAlone(t *testing.T) {
	t.Parallel()
	short := func(in []string) (provider.Reply, error) {
		if len(in) < 300 && slices.Contains(in, "odd") {
			return predict(in[1:])
		}
		return predict(in)
	}
	for name, tt := range map[string]struct {
		odd   string
		reply func([]string) (provider.Reply, error)
	}{
		"a bad prompt":               {"bad", predict},
		"a part of the wrong length": {"odd", short},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := open(t, &texts{fixed: 12 * time.Millisecond, row: time.Millisecond}, limits(inference.BatchAuto), 2)
				s.warm()
				s.model.mu.Lock()
				s.model.reply = tt.reply
				s.model.mu.Unlock()
				in := many(300)
				in[200] = tt.odd
				list, beside := s.askList(t.Context(), in), s.ask(t.Context(), "beside")
				s.checkList(list, in)
				s.check(beside, "beside")
				if rows, _ := s.largest(); rows != len(in) {
					t.Errorf("the list was not asked whole: %d rows", rows)
				}
				s.stop()
			})
		})
	}
}

// What fails for no fault of the list is told once, and the rest is not asked.
func TestListEndsWithTheModelServer(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		reply func([]string) (provider.Reply, error)
		how   fault.Code
	}{
		"429": {func([]string) (provider.Reply, error) { return jsonReply(429, `{}`) }, fault.UpstreamError},
		"503": {func([]string) (provider.Reply, error) { return jsonReply(503, `{}`) }, fault.UpstreamError},
		"broken": {func([]string) (provider.Reply, error) {
			return provider.Reply{}, fault.New(fault.UpstreamUnavailable, "broke")
		}, fault.UpstreamUnavailable},
		"slow": {func([]string) (provider.Reply, error) {
			return provider.Reply{}, fault.New(fault.UpstreamTimeout, "slow")
		}, fault.UpstreamTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := open(t, &texts{fixed: 12 * time.Millisecond, row: time.Millisecond}, limits(inference.BatchOn), 1)
				s.warm()
				good := 3
				s.model.mu.Lock()
				s.model.reply = func(in []string) (provider.Reply, error) {
					if good--; good < 0 {
						return tt.reply(in)
					}
					return predict(in)
				}
				s.model.mu.Unlock()
				c := s.askList(t.Context(), many(1000))
				if how := <-c.result; how != string(tt.how) {
					t.Errorf("ended with %s: %v", how, c.failed)
				}
				if _, calls := s.largest(); calls != 4 {
					t.Errorf("%d calls", calls)
				}
				s.stop()
			})
		})
	}
}

func TestCallerLeavesItsList(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]string{"gone": "dropped", "late": string(fault.UpstreamTimeout)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := open(t, &texts{fixed: 12 * time.Millisecond, row: time.Millisecond}, limits(inference.BatchOn), 1)
				s.warm()
				ctx, leave := context.WithCancel(t.Context())
				c := &call{from: s.calls, route: "a", ctx: ctx, result: make(chan string, 1), request: &inference.Request{ID: "l", Route: "a", Type: inference.Completions}}
				for _, in := range many(1000) {
					c.request.Items = append(c.request.Items, prompt(in).Items[0])
				}
				if name == "late" {
					c.patience = 300 * time.Millisecond
				}
				s.calls.put(c)
				time.Sleep(250 * time.Millisecond) //nolint:forbidigo // the bubble's clock
				if name == "gone" {
					leave()
				}
				if how := <-c.result; how != end {
					t.Errorf("ended with %s", how)
				}
				leave()
				_, before := s.largest()
				time.Sleep(time.Second) //nolint:forbidigo // the bubble's clock
				if _, calls := s.largest(); calls > before || calls < 2 {
					t.Errorf("%d calls, then %d", before, calls)
				}
				s.check(s.ask(t.Context(), "after"), "after")
				s.stop()
			})
		})
	}
}

// While parts are out, a route may lose the right to share calls: what they brought is not used then.
func TestListIsAskedWholeWhenSharingEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, &texts{fixed: 12 * time.Millisecond, row: time.Millisecond}, limits(inference.BatchOn), 1)
		s.warm()
		list := s.askList(t.Context(), many(1000))
		time.Sleep(250 * time.Millisecond) //nolint:forbidigo // the bubble's clock
		off := *s.route
		off.Batch.Mode = inference.BatchOff
		if err := s.worker.Apply(inference.NewTable(s.route), inference.NewTable(&off)); err != nil {
			t.Fatal(err)
		}
		s.checkList(list, many(1000))
		if rows, calls := s.largest(); rows != 1000 || calls < 3 {
			t.Errorf("the largest of %d calls had %d rows", calls, rows)
		}
		s.stop()
	})
}

func TestListWithoutRoomForItsPartsIsWhole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		model := &texts{fixed: 12 * time.Millisecond, row: time.Millisecond}
		s := openWith(t, model, limits(inference.BatchOn), 1, worker.Deps{MaxParts: 2000})
		s.warm()
		s.checkList(s.askList(t.Context(), many(1000)), many(1000))
		if rows, calls := s.largest(); rows != 1000 || calls < 3 {
			t.Errorf("the largest of %d calls had %d rows", calls, rows)
		}
		s.stop()
	})
}

// Long lists, short ones and single prompts of many callers, some bad: each is answered once and as if it were alone.
func TestListsAmongSingleCallers(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		synctest.Test(t, func(t *testing.T) {
			s := open(t, &texts{fixed: 12 * time.Millisecond, row: time.Millisecond}, limits(inference.BatchAuto), 1+int(seed))
			var clients sync.WaitGroup
			for i := range 12 {
				r := rand.New(rand.NewPCG(seed, uint64(i)))
				clients.Go(func() {
					for k := range 60 {
						if i < 8 {
							in := fmt.Sprintf("%d.%d", i, k)
							if r.IntN(50) == 0 {
								in += "bad"
							}
							s.check(s.ask(t.Context(), in), in)
							continue
						}
						in := many(1 + r.IntN(300))
						if r.IntN(20) == 0 {
							in[r.IntN(len(in))] = "bad"
						}
						s.checkList(s.askList(t.Context(), in), in)
					}
				})
			}
			clients.Wait()
			s.stop()
		})
	}
}

// A caller with one prompt at a time waits for two calls of others at most, whatever lists they ask, and even when they
// come from its own address.
func TestSingleCallerBesideLists(t *testing.T) {
	t.Parallel()
	for _, greedy := range []string{"single", "greedy"} {
		t.Run(greedy, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const fixed, row = 12 * time.Millisecond, time.Millisecond
				s := open(t, &texts{fixed: fixed, row: row}, limits(inference.BatchAuto), 1)
				s.warm()
				over := make(chan struct{})
				var clients sync.WaitGroup
				for range 8 {
					clients.Go(func() {
						for {
							select {
							case <-over:
								return
							default:
								s.checkList(s.askListOf(t.Context(), greedy, many(64)), many(64))
							}
						}
					})
				}
				var took []time.Duration
				for i := range 300 {
					in := strconv.Itoa(i)
					c := &call{from: s.calls, route: "a", ctx: t.Context(), result: make(chan string, 1), request: prompt(in)}
					c.request.Caller = "single"
					began := time.Now()
					s.calls.put(c)
					s.check(c, in)
					took = append(took, time.Since(began))
				}
				close(over)
				clients.Wait()
				slices.Sort(took)
				rows, _ := s.largest()
				best := fixed + time.Duration(rows)*row
				p50, p99 := took[len(took)/2], took[len(took)*99/100]
				t.Logf("lists of %s: p50 %s, p99 %s; the largest call has %d rows and takes %s", greedy, p50, p99, rows, best)
				// Two calls of others, where both had about the same so far, and its own.
				if p99 > 2*best+fixed+20*time.Millisecond {
					t.Errorf("p99 %s", p99)
				}
				s.stop()
			})
		})
	}
}
