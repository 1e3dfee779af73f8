package upstream_test

import (
	"testing"

	"headrace/internal/fault"
	"headrace/internal/mlflowtest"
)

// What the recorded gateways met at their model servers, over a real connection: the reply arrives as it was
// sent, and where MLflow has a bare 500 for the transport there is a code.
func TestRecordedAnswers(t *testing.T) {
	t.Parallel()
	codes := map[string]fault.Code{
		"closed": fault.UpstreamUnavailable, "reset": fault.UpstreamUnavailable, "cut": fault.UpstreamUnavailable, "garbage": fault.UpstreamBadResponse,
	}
	s := mlflowtest.New(t)
	c := newClient(t, at(s.URL))
	seen := make(map[fault.Code]int)
	for _, e := range mlflowtest.Exchanges(t, mlflowtest.EraC) {
		if e.Upstream == nil || e.Upstream.Fault == "refused" || e.Upstream.Fault == "hang" {
			continue // these need other servers: TestRefused, TestDeadline
		}
		s.Reply(e.Upstream.Script(t))
		want := codes[e.Upstream.Fault]
		if e.Upstream.Headers["Content-Encoding"] != "" { // it lies
			want = fault.UpstreamBadResponse
		}
		reply, release, err := c.Do(t.Context(), call("{}"), plenty)
		seen[want]++
		if fault.CodeOf(err) != want {
			t.Errorf("%s: got %v, want %q", e.ID, err, want)
		}
		if err != nil {
			continue
		}
		if reply.Status != e.Upstream.Status || string(reply.Body) != string(e.Upstream.Body(t)) {
			t.Errorf("%s: %d %q", e.ID, reply.Status, reply.Body)
		}
		if media := e.Upstream.ContentType; media != nil && reply.ContentType != *media || media == nil && reply.ContentType != "" {
			t.Errorf("%s: content type %q", e.ID, reply.ContentType)
		}
		release()
	}
	if seen[""] < 300 || seen[fault.UpstreamUnavailable] < 3 || seen[fault.UpstreamBadResponse] < 2 {
		t.Errorf("met %v", seen)
	}
}
