package target_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/provider/mlflow"
	"headrace/worker/target"
)

// chatModel is a model server that refuses everything but chats, and takes a second to say so.
type chatModel struct {
	server

	mu     sync.Mutex
	probes int
	chats  int
	ill    func() (provider.Reply, error) // what it answers to a probe while it is ill; nil: it is well
}

// Do is part of target.Upstream.
func (m *chatModel) Do(ctx context.Context, call provider.Call, _ int64) (provider.Reply, func(), error) {
	m.mu.Lock()
	ill, chat := m.ill, strings.Contains(string(call.Body), `"messages"`)
	switch {
	case chat:
		m.chats++
	case call.Method != http.MethodGet:
		m.probes++
	}
	m.mu.Unlock()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return provider.Reply{}, nil, context.Cause(ctx)
	}
	reply := provider.Reply{Status: http.StatusBadRequest, Server: "one", ContentType: "application/json", Body: []byte(`{"error_code": "BAD_REQUEST", ` +
		`"message": "Invalid input. Failed to enforce schema of 'x' with type '{content: string (optional), role: string (required)}'. ` +
		`Expected data to be dictionary, got str"}`)}
	switch {
	case chat:
		reply.Status, reply.Body = http.StatusOK, []byte(`{"choices": []}`)
	case call.Method == http.MethodGet:
		reply.Status, reply.Body = http.StatusNotFound, []byte(`{"detail": "Not Found"}`)
	}
	if ill != nil {
		r, err := ill()
		return r, func() {}, err
	}
	return reply, func() {}, nil
}

// conversation can be said to a ChatModel only, so that the form of its model server has to be known.
func conversation() *inference.Request {
	return &inference.Request{Type: inference.Chat, Body: []byte(`{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": null,` +
		` "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}, {"role": "tool", "tool_call_id": "1", "content": "b"}]}`)}
}

func chatTarget(t *testing.T, m *chatModel) *target.Target {
	t.Helper()
	route := &inference.Route{Name: "a", Type: inference.Chat, Provider: "mlflow", Servers: []string{"http://one"}}
	all, err := target.New([]*inference.Route{route}, map[string]provider.Provider{"mlflow": mlflow.New()}, func(*inference.Route) (target.Upstream, error) { return m, nil })
	if err != nil {
		t.Fatal(err)
	}
	return all["a"]
}

// ask gives the status of the answer, and the form in which it was asked.
func ask(ctx context.Context, at *target.Target) (int, string, error) {
	reply, release, err := at.Ask(ctx, conversation())
	if err != nil {
		return 0, "", err
	}
	release()
	return reply.Status, reply.Form, nil
}

// Calls that come while the model server's form is being found out wait for that: it is asked once, and no call is refused.
func TestCallsWaitForTheProbeThatRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := new(chatModel)
		at := chatTarget(t, m)
		var asking sync.WaitGroup
		for range 8 {
			asking.Go(func() {
				if status, form, err := ask(t.Context(), at); status != http.StatusOK || form != string(inference.FormatChat) {
					t.Errorf("%d in the form %q, %v", status, form, err)
				}
			})
		}
		asking.Wait()
		if m.probes != 1 || m.chats != 8 {
			t.Errorf("%d probes, %d chats", m.probes, m.chats)
		}
	})
}

// The caller whose call probes leaves: another one probes in its place.
func TestProbeOutlivesItsCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := new(chatModel)
		at := chatTarget(t, m)
		ctx, leave := context.WithCancel(t.Context())
		var asking sync.WaitGroup
		asking.Go(func() {
			if _, _, err := ask(ctx, at); err == nil {
				t.Error("a caller that has left is answered")
			}
		})
		synctest.Wait()
		asking.Go(func() {
			if status, _, err := ask(t.Context(), at); status != http.StatusOK {
				t.Errorf("%d, %v", status, err)
			}
		})
		synctest.Wait()
		leave()
		asking.Wait()
	})
}

// A model server that was away or busy when it was probed is probed again; one that has answered by itself is not, because its
// model may have run.
func TestProbeThatSaysNothingIsRepeated(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		err    error
		again  bool
	}{
		"away":           {0, fault.New(fault.UpstreamUnavailable, "away"), true},
		"bad gateway":    {http.StatusBadGateway, nil, true},
		"busy":           {http.StatusServiceUnavailable, nil, true},
		"too many":       {http.StatusTooManyRequests, nil, true},
		"no answer":      {http.StatusGatewayTimeout, nil, true},
		"its model runs": {http.StatusOK, nil, false},
		"its model died": {http.StatusInternalServerError, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := &chatModel{ill: func() (provider.Reply, error) {
					return provider.Reply{Status: test.status, Server: "one", Body: []byte(`{}`)}, test.err
				}}
				at := chatTarget(t, m)
				// Whether the call can be asked is known only once the model server has told: until then it is not the caller's fault.
				want := fault.Invalid
				if test.again {
					want = fault.UpstreamUnavailable
				}
				if _, _, err := ask(t.Context(), at); fault.CodeOf(err) != want {
					t.Errorf("without a form the call ends with %v, not with %s", err, want)
				}
				m.mu.Lock()
				before := m.probes
				m.ill = nil
				m.mu.Unlock()
				status, _, err := ask(t.Context(), at)
				if (status == http.StatusOK) != test.again || m.probes-before > 1 || (m.probes > before) != test.again {
					t.Errorf("afterwards: %d, %v; %d probes more", status, err, m.probes-before)
				}
			})
		})
	}
}
