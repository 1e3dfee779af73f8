package calls_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"headrace/broker/calls"
	"headrace/internal/budget"
	"headrace/internal/fault"
	"headrace/internal/inference"
)

// TestCallMoves takes a call into each of its states and tries every move there.
func TestCallMoves(t *testing.T) {
	t.Parallel()
	claim := func(c calls.LoneCall) { c.Claim("a") }
	end := func(c calls.LoneCall) { c.End(&inference.Result{}, nil) }
	lose := func(c calls.LoneCall) { c.End(nil, errors.New("its worker is gone")) }
	leave := calls.LoneCall.Leave
	for _, tt := range []struct {
		name        string
		before      []func(calls.LoneCall)
		state       string
		mine, other bool   // a claim by a, and by b, is granted
		ended       string // the state after an end
		counts      bool   // that end is the one the caller hears of
	}{
		{"waiting", nil, "waiting", true, true, "ended", true},
		{"claimed", []func(calls.LoneCall){claim}, "claimed", true, false, "ended", true},
		{"answered", []func(calls.LoneCall){claim, end}, "ended", false, false, "ended", false},
		{"its worker was lost", []func(calls.LoneCall){claim, lose}, "ended", false, false, "ended", false},
		{"ended before any claim", []func(calls.LoneCall){lose}, "ended", false, false, "ended", false},
		{"the caller has left while it waited", []func(calls.LoneCall){leave}, "withdrawn", false, false, "withdrawn", false},
		{"the caller has left while it ran", []func(calls.LoneCall){claim, leave}, "withdrawn", false, false, "withdrawn", false},
		{"the caller has its answer", []func(calls.LoneCall){claim, end, leave}, "withdrawn", false, false, "withdrawn", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			reach := func() calls.LoneCall {
				c := calls.NewLoneCall()
				for _, move := range tt.before {
					move(c)
				}
				return c
			}
			if got := reach().State(); got != tt.state {
				t.Errorf("state %s, want %s", got, tt.state)
			}
			if got := reach().Claim("a"); got != tt.mine {
				t.Errorf("a claim by the same worker: granted %v, want %v", got, tt.mine)
			}
			if got := reach().Claim("b"); got != tt.other {
				t.Errorf("a claim by another worker: granted %v, want %v", got, tt.other)
			}
			c := reach()
			c.Outcome()
			late, released := &inference.Result{}, 0
			late.OnRelease(func() { released++ })
			c.End(late, nil)
			if got := c.State(); got != tt.ended {
				t.Errorf("after an end: state %s, want %s", got, tt.ended)
			}
			got, _, told := c.Outcome()
			if counts := told && got == late; counts != tt.counts || released > 0 == tt.counts {
				t.Errorf("the end counts: %v, released %d times; want %v and the bytes given back once if not", counts, released, tt.counts)
			}
		})
	}
}

// TestClaimAfterAnswerIsRefused lets a second copy of a call's message come to the worker that has answered, or is given
// up, while the caller has not taken the outcome: its large answer waits for room.
func TestClaimAfterAnswerIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, overTCP)
	replies := budget.New(1 << 20)
	front, err := calls.NewFrontEnd(r.dial, r.local, replies, r.log)
	if err != nil {
		t.Fatal(err)
	}
	background(t, front.Run)
	route := testRoute("again")
	claimed, answered := make(chan *calls.Claim, 1), make(chan error, 1)
	r.serve(1, func(ctx context.Context, c *calls.Claim) {
		claimed <- c
		answered <- c.Answer(ctx, r.result(make([]byte, calls.InlineReply+1)))
	}, route)
	if !replies.TryReserve(1 << 20) {
		t.Fatal("an empty budget has no room")
	}
	done := make(chan error, 1)
	go func() {
		res, err := front.Call(t.Context(), route, request(route, `"x"`))
		res.Release()
		done <- err
	}()
	await(t, claimed, "claim")
	if !eventually(func() bool { return !front.Reclaim() && front.Left() > 0 }) {
		t.Error("a claim is granted again after the answer has come")
	}
	select {
	case err := <-done:
		t.Fatalf("the call was over before its answer had room: %v", err)
	default:
	}
	replies.Release(1 << 20)
	if err := await(t, done, "answer"); err != nil {
		t.Error(err)
	}
	if err := await(t, answered, "end of the answer"); err != nil {
		t.Error(err)
	}
}

// TestDroppedReplyEndsTheCall loses a reply between the connection and the front end, as a library's limit would.
func TestDroppedReplyEndsTheCall(t *testing.T) {
	t.Parallel()
	r := newRig(t, overTCP)
	route := testRoute("dropped")
	handle, claimed, proceed := hold(r)
	r.serve(1, handle, route)
	done := make(chan error, 1)
	go func() {
		res, err := r.front.Call(t.Context(), route, request(route, `"x"`))
		res.Release()
		done <- err
	}()
	await(t, claimed, "claim")
	if err := r.front.PendingFrames(1); err != nil { // less than any frame
		t.Fatal(err)
	}
	close(proceed)
	began := time.Now()
	if err := await(t, done, "end of the call"); fault.CodeOf(err) != fault.UpstreamUnavailable {
		t.Errorf("got %v, want upstream_unavailable: the call has run, and its answer is lost", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s to say so", took)
	}
}

// TestUnaskedRepliesAreBounded fills the replies' budget: small replies pass it by a bounded number of bytes, and beyond
// that the caller hears what to do.
func TestUnaskedRepliesAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, overTCP)
	replies := budget.New(1 << 20)
	r.account("replies of the small front end", replies.Held)
	front, err := calls.NewFrontEnd(r.dial, r.local, replies, r.log)
	if err != nil {
		t.Fatal(err)
	}
	background(t, front.Run)
	route := testRoute("small")
	r.serve(1, func(ctx context.Context, c *calls.Claim) {
		if err := c.Answer(ctx, r.result(make([]byte, calls.InlineReply-1000))); err != nil {
			t.Errorf("answer: %v", err)
		}
	}, route)
	if !replies.TryReserve(1 << 20) {
		t.Fatal("an empty budget has no room")
	}
	var held []*inference.Result
	for range 100 {
		res, err := front.Call(t.Context(), route, request(route, `"x"`))
		if err != nil {
			if fault.CodeOf(err) != fault.QueueFull || !strings.Contains(err.Error(), "api.max_inflight_bytes") || fault.From(err).RetryAfter <= 0 {
				t.Errorf("got %v, want queue_full that names api.max_inflight_bytes and says when to come again", err)
			}
			break
		}
		held = append(held, res)
	}
	if n := len(held); n < 8 || n > 20 {
		t.Errorf("%d replies of 63 KiB were held beyond the budget, want about sixteen", n)
	}
	for _, res := range held {
		res.Release()
	}
	replies.Release(1 << 20)
	res, err := front.Call(t.Context(), route, request(route, `"x"`))
	if err != nil {
		t.Errorf("with room again: %v", err)
	}
	res.Release()
}
