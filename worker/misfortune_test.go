package worker_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
)

// warm makes the desk learn that calls of several rows pay, and leaves the slot free.
func (s *shop) warm() {
	s.t.Helper()
	for range 60 {
		var all []*call
		for range 16 {
			all = append(all, s.ask(s.t.Context(), "warm"))
		}
		for _, c := range all {
			s.check(c, "warm")
		}
	}
	s.model.mu.Lock()
	defer s.model.mu.Unlock()
	s.model.calls = nil
}

// hold keeps the slot busy for a call of one row, so that what is asked then goes out together.
func (s *shop) hold() *call {
	s.t.Helper()
	c := s.ask(s.t.Context(), "hold")
	for {
		synctest.Wait()
		s.model.mu.Lock()
		busy := s.model.inFlight > 0
		s.model.mu.Unlock()
		if busy {
			return c
		}
		time.Sleep(time.Millisecond) //nolint:forbidigo // the bubble's clock
	}
}

func jsonReply(status int, body string) (provider.Reply, error) {
	return provider.Reply{Status: status, ContentType: "application/json", Body: []byte(body)}, nil
}

// Whatever goes wrong with a call that several share, each is answered as if it had been asked alone.
func TestMisfortuneInCompany(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]func(inputs []string) (provider.Reply, error){
		"one prediction too many": func(in []string) (provider.Reply, error) { return predict(append([]string{"x"}, in...)) },
		"one prediction missing":  func(in []string) (provider.Reply, error) { return predict(in[1:]) },
		"speaks of all rows": func(in []string) (provider.Reply, error) {
			return jsonReply(200, `{"predictions":["`+strings.Join(in, `","`)+`"],"usage":3}`)
		},
		"no list": func([]string) (provider.Reply, error) { return jsonReply(200, `{"predictions":"x"}`) },
		"no JSON": func([]string) (provider.Reply, error) { return jsonReply(200, `{"predictions":[`) },
		"a row of NaN": func(in []string) (provider.Reply, error) {
			return jsonReply(200, `{"predictions":["`+in[0]+`!"`+strings.Repeat(`,NaN`, len(in)-1)+`]}`)
		},
		"400": func(in []string) (provider.Reply, error) {
			return jsonReply(400, `{"message":"`+strings.Join(in, " ")+`"}`)
		},
		"500": func(in []string) (provider.Reply, error) {
			return jsonReply(500, `{"message":"`+strings.Join(in, " ")+`"}`)
		},
		"502": func([]string) (provider.Reply, error) { return jsonReply(502, `{}`) },
		"too large": func([]string) (provider.Reply, error) {
			return provider.Reply{}, fault.New(fault.UpstreamBadResponse, "too large")
		},
		"broken": func([]string) (provider.Reply, error) {
			return provider.Reply{}, fault.New(fault.UpstreamUnavailable, "broke off")
		},
		"no answer": func([]string) (provider.Reply, error) {
			return provider.Reply{}, fault.New(fault.UpstreamTimeout, "too slow")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				model := &texts{fixed: 12 * time.Millisecond, row: time.Millisecond}
				s := open(t, model, limits(inference.BatchOn), 1)
				s.warm()
				held := s.hold()
				model.mu.Lock()
				model.reply = func(in []string) (provider.Reply, error) {
					if len(in) == 1 {
						return predict(in)
					}
					return reply(in)
				}
				model.mu.Unlock()
				inputs := []string{"aaaa", "bbbb", "twin", "dbad", "eeee", "ffff", "gggg"}
				var all []*call
				for _, in := range inputs {
					all = append(all, s.ask(t.Context(), in))
				}
				s.check(held, "hold")
				for i, in := range inputs {
					s.check(all[i], in)
				}
				if n := len(model.calls); len(model.calls[1]) < 2 || n > 2+2*len(inputs) {
					t.Errorf("%d calls: %q", n, model.calls)
				}
				s.stop()
			})
		})
	}
}

// A model server that is overloaded or away is not asked once for each member.
func TestOverloadIsToldToAll(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		reply func([]string) (provider.Reply, error)
		how   fault.Code
	}{
		"429": {func(in []string) (provider.Reply, error) {
			return provider.Reply{Status: 429, ContentType: "application/json", RetryAfter: time.Minute, Body: []byte(`{"message":"` + strings.Join(in, " ") + `"}`)}, nil
		}, fault.UpstreamError},
		"503":        {func([]string) (provider.Reply, error) { return jsonReply(503, `{}`) }, fault.UpstreamError},
		"queue full": {func([]string) (provider.Reply, error) { return provider.Reply{}, fault.New(fault.QueueFull, "no room") }, fault.QueueFull},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				model := &texts{fixed: 12 * time.Millisecond, row: time.Millisecond}
				s := open(t, model, limits(inference.BatchOn), 1)
				s.warm()
				held := s.hold()
				var all []*call
				for i := range 6 {
					all = append(all, s.ask(t.Context(), fmt.Sprint("mine", i)))
				}
				model.mu.Lock()
				model.reply = func(in []string) (provider.Reply, error) {
					if in[0] == "hold" {
						return predict(in)
					}
					return tt.reply(in)
				}
				model.mu.Unlock()
				s.check(held, "hold")
				for _, c := range all {
					if how := <-c.result; how != string(tt.how) || strings.Contains(c.failed.Error()+string(c.failed.Detail), "mine") {
						t.Errorf("ended with %s: %v", how, c.failed)
					}
					if name == "429" && c.failed.RetryAfter != time.Minute {
						t.Errorf("retry after %s", c.failed.RetryAfter)
					}
				}
				if len(model.calls) != 2 {
					t.Errorf("%d calls", len(model.calls))
				}
				s.stop()
			})
		})
	}
}

// A member whose caller leaves, or whose time is over, is ended at once; its call goes on for the others, and is cut
// off when all have gone.
func TestMemberLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		model := &texts{fixed: 100 * time.Millisecond, row: time.Millisecond}
		s := open(t, model, limits(inference.BatchOn), 1)
		s.warm()
		held := s.hold()
		early, leaveEarly := context.WithCancel(t.Context())
		gone, leave := context.WithCancel(t.Context())
		a, b, c := s.ask(early, "aaaa"), s.ask(gone, "bbbb"), s.ask(t.Context(), "cccc")
		synctest.Wait()
		leaveEarly()
		synctest.Wait()
		if how := <-a.result; how != "dropped" {
			t.Errorf("ended with %s", how)
		}
		s.check(held, "hold")
		time.Sleep(50 * time.Millisecond) //nolint:forbidigo // the bubble's clock
		leave()
		synctest.Wait()
		if len(b.result) != 1 || <-b.result != "dropped" {
			t.Error("the caller that left is still served")
		}
		s.check(c, "cccc")
		if len(model.calls) != 2 || len(model.calls[1]) != 2 || model.cut != 0 {
			t.Errorf("calls %q, %d cut off", model.calls, model.cut)
		}

		held = s.hold()
		all, leaveAll := context.WithCancel(t.Context())
		d, e := s.ask(all, "dddd"), s.ask(all, "eeee")
		s.check(held, "hold")
		time.Sleep(50 * time.Millisecond) //nolint:forbidigo // the bubble's clock
		leaveAll()
		for _, c := range []*call{d, e} {
			if how := <-c.result; how != "dropped" {
				t.Errorf("ended with %s", how)
			}
		}
		synctest.Wait()
		if model.cut != 1 {
			t.Errorf("%d calls cut off", model.cut)
		}
		after := s.ask(t.Context(), "after")
		s.check(after, "after")
		s.stop()
	})
}

// Jobs share calls, and each has its own end. One that was in a call that failed goes back to run alone: each run of a
// job is recorded.
func TestJobsInCompany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		model := &texts{fixed: 12 * time.Millisecond, row: time.Millisecond}
		s := open(t, model, limits(inference.BatchOn), 1)
		s.warm()
		job := func(in string, alone bool) *call {
			c := &call{from: s.calls, route: "a", ctx: t.Context(), result: make(chan string, 1), request: prompt(in)}
			c.request.Once, c.request.Alone = true, alone
			s.calls.put(c)
			return c
		}
		held := s.hold()
		one, two := job("jobs", false), job("jobt", false)
		s.check(held, "hold")
		s.check(one, "jobs")
		s.check(two, "jobt")
		if len(model.calls) != 2 || len(model.calls[1]) != 2 {
			t.Errorf("calls %q", model.calls)
		}
		held = s.hold()
		good, bad, alone := job("good", false), job("abad", false), job("solo", true)
		s.check(held, "hold")
		for _, c := range []*call{good, bad} {
			if how := <-c.result; how != "alone" {
				t.Errorf("ended with %s", how)
			}
		}
		s.check(alone, "solo")
		ran := fmt.Sprint(model.calls)
		if strings.Count(ran, "good") != 1 || strings.Count(ran, "bad") != 1 || !strings.Contains(ran, "[solo]") {
			t.Errorf("calls %s", ran)
		}
		s.stop()
	})
}

// What cannot be answered in its time any more takes no slot from what can.
func TestHopelessCallsDoNotRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		model := &texts{fixed: 100 * time.Millisecond, row: time.Millisecond}
		s := open(t, model, limits(inference.BatchOn), 1)
		s.warm()
		began := time.Now()
		held := s.hold()
		var hopeless []*call
		for i := range 5 {
			c := &call{from: s.calls, route: "a", ctx: t.Context(), result: make(chan string, 1), request: prompt(fmt.Sprint("late", i)), patience: 150 * time.Millisecond}
			s.calls.put(c)
			hopeless = append(hopeless, c)
		}
		good := s.ask(t.Context(), "good")
		s.check(held, "hold")
		for _, c := range hopeless {
			if how := <-c.result; how != string(fault.Deadline) || time.Since(began) > 120*time.Millisecond {
				t.Errorf("ended with %s after %s", how, time.Since(began))
			}
		}
		s.check(good, "good")
		if ran := fmt.Sprint(model.calls); strings.Contains(ran, "late") {
			t.Errorf("calls %s", ran)
		}
		s.stop()
	})
}

// Of 32 jobs in one call one kills the model server: each of the others succeeds in a call of its own, and runs twice at
// most.
func TestJobsBesideOneThatKills(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		model := &texts{fixed: 12 * time.Millisecond, row: time.Millisecond}
		s := open(t, model, limits(inference.BatchOn), 1)
		s.warm()
		model.mu.Lock()
		model.reply = func(in []string) (provider.Reply, error) {
			if strings.Contains(strings.Join(in, " "), "kills") {
				return provider.Reply{}, fault.New(fault.UpstreamUnavailable, "it is gone")
			}
			return predict(in)
		}
		model.mu.Unlock()
		job := func(in string, alone bool) *call {
			c := &call{from: s.calls, route: "a", ctx: t.Context(), result: make(chan string, 1), request: prompt(in)}
			c.request.Once, c.request.Alone = true, alone
			s.calls.put(c)
			return c
		}
		held := s.hold()
		names := []string{"kills"}
		for i := range 31 {
			names = append(names, fmt.Sprint("job", i, "."))
		}
		jobs := make(map[string]*call)
		for _, name := range names {
			jobs[name] = job(name, false)
		}
		s.check(held, "hold")
		for _, name := range names {
			how := <-jobs[name].result
			if how == "alone" { // as the queue gives it back
				jobs[name] = job(name, true)
				how = <-jobs[name].result
			}
			if want := wanted(name); name == "kills" && how != string(fault.UpstreamUnavailable) || name != "kills" && jobs[name].answer != want {
				t.Errorf("%s ended with %s: %s", name, how, jobs[name].answer)
			}
		}
		ran := fmt.Sprint(model.calls)
		for _, name := range names {
			if n := strings.Count(ran, name); n < 1 || n > 2 {
				t.Errorf("%s ran %d times", name, n)
			}
		}
		s.stop()
	})
}
