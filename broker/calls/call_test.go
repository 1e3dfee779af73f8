package calls_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"headrace/broker/calls"
	"headrace/internal/budget"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/lanetest"
	"headrace/internal/lease"
)

// TestClaimAfterAnswerIsRefused lets a second copy of a call's message come to the worker that has answered, or is given
// up, while the caller has not taken the outcome: its large answer waits for room.
func TestClaimAfterAnswerIsRefused(t *testing.T) {
	t.Parallel()
	r := lanetest.NewRig(t, lanetest.OverTCP)
	replies := budget.New(1 << 20)
	front, err := calls.NewFrontEnd(r.Dial, r.Local, replies, r.Log)
	if err != nil {
		t.Fatal(err)
	}
	lanetest.Background(t, front.Run)
	route := lanetest.TestRoute("again")
	claimed, answered := make(chan lease.Claim, 1), make(chan error, 1)
	r.Serve(1, func(ctx context.Context, c lease.Claim) {
		claimed <- c
		answered <- c.Answer(ctx, r.Result(make([]byte, calls.InlineReply+1)))
	}, route)
	if !replies.TryReserve(1 << 20) {
		t.Fatal("an empty budget has no room")
	}
	done := make(chan error, 1)
	go func() {
		res, err := front.Call(t.Context(), route, lanetest.Request(route, `"x"`))
		res.Release()
		done <- err
	}()
	lanetest.Await(t, claimed, "claim")
	if !lanetest.Eventually(func() bool { return !front.Reclaim() && front.Held() > 0 }) {
		t.Error("a claim is granted again after the answer has come")
	}
	select {
	case err := <-done:
		t.Fatalf("the call was over before its answer had room: %v", err)
	default:
	}
	replies.Release(1 << 20)
	if err := lanetest.Await(t, done, "answer"); err != nil {
		t.Error(err)
	}
	if err := lanetest.Await(t, answered, "end of the answer"); err != nil {
		t.Error(err)
	}
}

// TestDroppedReplyEndsTheCall loses a reply between the connection and the front end, as a library's limit would.
func TestDroppedReplyEndsTheCall(t *testing.T) {
	t.Parallel()
	r := lanetest.NewRig(t, lanetest.OverTCP)
	route := lanetest.TestRoute("dropped")
	handle, claimed, proceed := lanetest.Hold(r)
	r.Serve(1, handle, route)
	done := make(chan error, 1)
	go func() {
		res, err := r.Front.Call(t.Context(), route, lanetest.Request(route, `"x"`))
		res.Release()
		done <- err
	}()
	lanetest.Await(t, claimed, "claim")
	if err := r.Front.PendingFrames(1); err != nil { // less than any frame
		t.Fatal(err)
	}
	close(proceed)
	began := time.Now()
	if err := lanetest.Await(t, done, "end of the call"); fault.CodeOf(err) != fault.UpstreamUnavailable {
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
	r := lanetest.NewRig(t, lanetest.OverTCP)
	replies := budget.New(1 << 20)
	r.Account("replies of the small front end", replies.Held)
	front, err := calls.NewFrontEnd(r.Dial, r.Local, replies, r.Log)
	if err != nil {
		t.Fatal(err)
	}
	lanetest.Background(t, front.Run)
	route := lanetest.TestRoute("small")
	r.Serve(1, func(ctx context.Context, c lease.Claim) {
		if err := c.Answer(ctx, r.Result(make([]byte, calls.InlineReply-1000))); err != nil {
			t.Errorf("answer: %v", err)
		}
	}, route)
	if !replies.TryReserve(1 << 20) {
		t.Fatal("an empty budget has no room")
	}
	var held []*inference.Result
	for range 100 {
		res, err := front.Call(t.Context(), route, lanetest.Request(route, `"x"`))
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
	res, err := front.Call(t.Context(), route, lanetest.Request(route, `"x"`))
	if err != nil {
		t.Errorf("with room again: %v", err)
	}
	res.Release()
}
