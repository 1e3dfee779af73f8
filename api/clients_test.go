package api_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"headrace/api"
	"headrace/internal/inference"
	"headrace/internal/mlflowtest"
	"headrace/internal/provider/mlflow"
	"headrace/internal/sse"
)

// TestRecordedClients replays what real client libraries sent, byte for byte. Where MLflow's gateway had an answer,
// ours has the same members; where it had none that OpenAI's clients can use, ours is what they need.
func TestRecordedClients(t *testing.T) {
	t.Parallel()
	broker := &fakeBroker{}
	s := newServer(t, broker, func(_ *api.Config, d *api.Deps) { d.Table = clientsTable(mlflowtest.EraA) })
	front := httptest.NewServer(s.Handler())
	defer front.Close()
	newer := newServer(t, broker, func(_ *api.Config, d *api.Deps) { d.Table = clientsTable(mlflowtest.EraC) })
	newerFront := httptest.NewServer(newer.Handler())
	defer newerFront.Close()
	clients := make(map[string]int)
	for _, r := range mlflowtest.ClientRequests(t) {
		address := newerFront.Listener.Addr().String()
		if strings.Contains(r.Server, "2.8.1") {
			address = front.Listener.Addr().String()
		}
		got := sendRecorded(t, address, &r)
		if why := clientDiffers(&r, got); why != "" {
			t.Errorf("%s, %s: %s %s %s: %s\n  %d %.300s", r.Client, r.Part, r.Method, r.Target, clip([]byte(r.Body)), why, got.status, got.body)
		}
		clients[strings.Fields(r.Client)[0]]++
	}
	t.Logf("requests by client: %v", clients)
	if len(clients) != 6 {
		t.Errorf("requests of %d clients", len(clients))
	}
}

// clientsTable is what the recorded clients were pointed at.
func clientsTable(era mlflowtest.Era) *inference.Table {
	family := inference.Endpoints
	if era == mlflowtest.EraA {
		family = inference.Routes
	}
	route := func(name string, kind inference.Type) *inference.Route {
		return &inference.Route{Name: name, Type: kind, Family: family, Provider: mlflow.Name, Model: "m"}
	}
	return inference.NewTable(route("embeddings", inference.Embeddings), route("fillmask", inference.Completions), route("chat", inference.Chat))
}

func sendRecorded(t *testing.T, address string, r *mlflowtest.ClientRequest) reply {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write(r.Wire(address)); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: r.Method})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{status: res.StatusCode, header: res.Header, body: body}
}

// clientDiffers says what a client would miss in a reply; "" when nothing.
func clientDiffers(r *mlflowtest.ClientRequest, got reply) string {
	want := http.StatusOK
	switch {
	case strings.HasSuffix(r.Part, "_stream"):
		if got.header.Get("Content-Type") != sse.ContentType || !strings.HasSuffix(string(got.body), "data: [DONE]\n\n") {
			return "no stream"
		}
		return ""
	case strings.HasSuffix(r.Part, "_tokens"): // a vector of the first number alone would be wrong
		want = http.StatusBadRequest
	case strings.Contains(r.Target+r.Body, "no-such-"):
		want = http.StatusNotFound
	}
	if got.status != want {
		return fmt.Sprintf("want %d", want)
	}
	var body map[string]any
	if err := json.Unmarshal(got.body, &body); err != nil {
		return err.Error()
	}
	if strings.HasPrefix(r.Target, "/v1/") {
		return openAIMisses(r, want, body)
	}
	var recorded map[string]any
	if json.Unmarshal([]byte(r.Reply.Body), &recorded) == nil { // long ones are not kept
		if a, b := slices.Sorted(maps.Keys(body)), slices.Sorted(maps.Keys(recorded)); !slices.Equal(a, b) {
			return fmt.Sprintf("it has the members %v, not %v", a, b)
		}
	}
	return ""
}

// openAIMisses checks what OpenAI's libraries rely on.
func openAIMisses(r *mlflowtest.ClientRequest, status int, body map[string]any) string {
	if status >= 400 {
		if e, ok := body["error"].(map[string]any); !ok || e["message"] == "" || e["type"] == "" {
			return "no error object"
		}
		return ""
	}
	if r.Method != http.MethodPost {
		return ""
	}
	usage, _ := body["usage"].(map[string]any)
	if _, whole := usage["total_tokens"].(float64); !whole {
		return "usage cannot be added up"
	}
	var asked struct {
		Input  any    `json:"input"`
		Prompt any    `json:"prompt"`
		Format string `json:"encoding_format"`
	}
	if err := json.Unmarshal([]byte(r.Body), &asked); err != nil {
		return err.Error()
	}
	many := func(v any) int {
		if list, ok := v.([]any); ok {
			return len(list)
		}
		return 1
	}
	if rows, ok := body["data"].([]any); ok {
		if len(rows) != many(asked.Input) {
			return "not one vector for each text"
		}
		first, _ := rows[0].(map[string]any)
		packed, isText := first["embedding"].(string)
		if isText != (asked.Format == "base64") {
			return "the vectors are in another form"
		}
		if floats, err := base64.StdEncoding.DecodeString(packed); isText && (err != nil || len(floats) != 3*4) {
			return "the vector cannot be unpacked"
		}
		return ""
	}
	choices, _ := body["choices"].([]any)
	if len(choices) != many(asked.Prompt) {
		return "not one choice for each prompt"
	}
	for i, c := range choices {
		if choice, ok := c.(map[string]any); !ok || choice["index"] != float64(i) || choice["finish_reason"] == nil {
			return "a choice is incomplete"
		}
	}
	return ""
}
