package mlflow_test

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/mlflowtest"
	"headrace/internal/provider"
	"headrace/internal/provider/mlflow"
	"headrace/internal/splice"
)

// deliberate says by which rule the provider answers otherwise than the recorded gateway; "" = it does not.
func deliberate(e *mlflowtest.Exchange) string {
	switch {
	case bare(e):
		return "what is wrong with a reply is said, where MLflow has a bare 500"
	case e.SentMore != nil:
		return "redirects are never followed, as in 3.17.2"
	case strings.Contains(e.ID, "two-key-dict-c") && e.Reply.Status == http.StatusBadGateway &&
		!strings.Contains(e.Upstream.Text, "null") && !strings.Contains(e.Upstream.Text, `: {"a"`):
		return "an object with several keys may hold choices or candidates, whatever the version"
	}
	return ""
}

// bare tells MLflow's unexplained 500.
func bare(e *mlflowtest.Exchange) bool {
	return e.Reply.Status == http.StatusInternalServerError && e.Reply.Body != nil && *e.Reply.Body == "Internal Server Error"
}

func recordedType(e *mlflowtest.Exchange) inference.Type {
	switch path := e.SentPath + " " + e.Request.Path + " " + e.Endpoint; {
	case strings.Contains(path, "chat"), e.Endpoint == "limited-b":
		return inference.Chat
	case strings.Contains(path, "embeddings"), e.Endpoint == "e", e.Endpoint == "limited-c",
		strings.Contains(e.Endpoint, "dotted"), e.Endpoint == "ab-all-second":
		return inference.Embeddings
	case e.Endpoint == "ab-all-first":
		return inference.Chat
	}
	return inference.Completions
}

// request rebuilds the neutral request from what the recorded gateway sent.
func request(t *testing.T, e *mlflowtest.Exchange) *inference.Request {
	t.Helper()
	req := &inference.Request{Type: recordedType(e)}
	if e.Sent == nil {
		req.Items = [][]byte{[]byte(`"hi"`)}
		return req
	}
	members, err := splice.Members([]byte(*e.Sent))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		switch m.Key {
		case "inputs":
			if req.Items, err = splice.Elements(m.Value); err != nil {
				t.Fatal(err)
			}
		case "params":
			req.Params = m.Value
		default:
			t.Fatalf("the gateway sent %q", m.Key)
		}
	}
	return req
}

func recordedReply(t *testing.T, u *mlflowtest.RecordedUpstream) provider.Reply {
	t.Helper()
	reply := provider.Reply{Status: u.Status, Reason: http.StatusText(u.Status), Body: u.Body(t)}
	if u.ContentType != nil {
		reply.ContentType = *u.ContentType
	}
	if u.Reason != nil {
		reply.Reason = *u.Reason
	}
	return reply
}

func TestRecordedRequests(t *testing.T) {
	t.Parallel()
	compared := 0
	for _, era := range mlflowtest.Eras() {
		for _, e := range mlflowtest.Exchanges(t, era) {
			if e.Sent == nil {
				continue
			}
			req := request(t, &e)
			call, err := mlflow.New().Encode(&inference.Route{}, req)
			if err != nil {
				t.Fatalf("%s %s: %v", era, e.ID, err)
			}
			if call.Path != "invocations" || call.ContentType != "application/json" || !sameJSON(t, call.Body, []byte(*e.Sent)) {
				t.Errorf("%s %s: sends %s to %s, MLflow %s", era, e.ID, call.Body, call.Path, *e.Sent)
			}
			compared++
		}
	}
	if compared < 1000 {
		t.Errorf("only %d requests were compared", compared)
	}
}

func TestRecordedReplies(t *testing.T) {
	t.Parallel()
	compared := 0
	for _, era := range mlflowtest.Eras() {
		family := inference.Endpoints
		if era == mlflowtest.EraA {
			family = inference.Routes
		}
		for _, e := range mlflowtest.Exchanges(t, era) {
			if e.Upstream == nil || e.Upstream.Fault != "" || e.Upstream.Headers["Content-Encoding"] != "" || e.Reply.Body == nil {
				continue
			}
			t.Run(string(era)+"/"+e.ID, func(t *testing.T) {
				t.Parallel()
				req := request(t, &e)
				res, err := mlflow.New().Decode(&inference.Route{Type: req.Type, Family: family}, req, recordedReply(t, e.Upstream))
				if deliberate(&e) != "" {
					explained(t, res, err)
					return
				}
				agree(t, &e, res, err)
			})
			compared++
		}
	}
	if compared < 1000 {
		t.Errorf("only %d replies were compared", compared)
	}
}

// explained checks a verdict that differs on purpose: still an answer or an error with a sentence.
func explained(t *testing.T, res *inference.Result, err error) {
	t.Helper()
	if err == nil {
		if len(res.Items) == 0 {
			t.Error("neither items nor an error")
		}
		return
	}
	f := fault.From(err)
	switch f.Code {
	case fault.UpstreamError, fault.UpstreamBadResponse, fault.UpstreamTimeout:
	default:
		t.Errorf("code %s", f.Code)
	}
	if len(f.Message) < 20 || f.Detail != nil && !json.Valid(f.Detail) {
		t.Errorf("message %q, detail %s", f.Message, f.Detail)
	}
}

func agree(t *testing.T, e *mlflowtest.Exchange, res *inference.Result, err error) {
	t.Helper()
	f := fault.From(err)
	var body map[string]json.RawMessage
	if e := json.Unmarshal([]byte(*e.Reply.Body), &body); e != nil {
		t.Fatal(e)
	}
	switch {
	case e.Reply.Status == http.StatusOK:
		if err != nil {
			t.Fatalf("refused %s: %v", e.Upstream.Text, err)
		}
		if got, want := joined(res.Items), items(t, body); !sameJSON(t, got, want) {
			t.Errorf("items %s, MLflow's %s", got, want)
		}
	case e.Reply.Status == http.StatusBadGateway && e.Upstream.Status != http.StatusBadGateway:
		if f == nil || f.Code != fault.UpstreamBadResponse {
			t.Fatalf("verdict on %s: %v, %v", e.Upstream.Text, res, err)
		}
		if got, want := head(t, f.Detail), head(t, body["detail"]); got != want {
			t.Errorf("detail begins %q, MLflow's %q", got, want)
		}
	default:
		if f == nil || f.Code != fault.UpstreamError || f.Status != e.Reply.Status {
			t.Fatalf("verdict on %d %s: %v, %v", e.Upstream.Status, e.Upstream.Text, res, err)
		}
		if !sameJSON(t, f.Detail, body["detail"]) {
			t.Errorf("detail %s, MLflow's %s", f.Detail, body["detail"])
		}
	}
}

// head is the first two lines of a detail, what clients match on.
func head(t *testing.T, detail json.RawMessage) string {
	t.Helper()
	var text string
	if err := json.Unmarshal(detail, &text); err != nil {
		t.Fatalf("detail %s: %v", detail, err)
	}
	lines := strings.SplitN(text, "\n", 3)
	return strings.Join(lines[:min(len(lines), 2)], "\n")
}

func joined(items [][]byte) []byte {
	out := []byte("[")
	for i, item := range items {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, item...)
	}
	return append(out, ']')
}

// items takes the answers out of a gateway's reply, whatever its version and type.
func items(t *testing.T, reply map[string]json.RawMessage) []byte {
	t.Helper()
	if rows, ok := reply["embeddings"]; ok {
		return rows
	}
	var entries []struct {
		Text      json.RawMessage
		Embedding json.RawMessage
		Message   struct{ Content json.RawMessage }
	}
	for _, key := range []string{"candidates", "choices", "data"} {
		if list, ok := reply[key]; ok {
			if err := json.Unmarshal(list, &entries); err != nil {
				t.Fatal(err)
			}
		}
	}
	var all [][]byte
	for _, e := range entries {
		all = append(all, append(append(e.Text, e.Embedding...), e.Message.Content...))
	}
	return joined(all)
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal(splice.Nulled(a), &x); err != nil {
		t.Fatalf("%s: %v", a, err)
	}
	if err := json.Unmarshal(splice.Nulled(b), &y); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return reflect.DeepEqual(x, y)
}
