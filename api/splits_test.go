package api_test

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"

	"headrace/api"
	"headrace/internal/inference"
)

// A split spreads calls by its shares, in every dialect that its endpoints have, and is no route itself.
func TestSplit(t *testing.T) {
	t.Parallel()
	broker := &fakeBroker{}
	s := newServer(t, broker, func(_ *api.Config, d *api.Deps) {
		route := func(name string) *inference.Route {
			return &inference.Route{
				Name: name, Type: inference.Completions, Family: inference.Endpoints, Provider: "mlflow-model-serving", Model: name + "-model",
				Limit: &inference.Limit{Calls: 1, Period: "minute"},
			}
		}
		d.Table = inference.NewTable(route("small"), route("large")).WithSplits(&inference.Split{
			Name: "both", Type: inference.Completions,
			Destinations: []inference.Destination{{Route: "small", Percent: 80}, {Route: "large", Percent: 20}},
		})
	})
	const n = 2000
	for i := range n {
		path, body := "/gateway/both/invocations", ask
		switch i % 4 {
		case 1:
			path = "/endpoints/both/invocations"
		case 2:
			path = "/v1/routes/both/invocations"
		case 3:
			path, body = "/v1/completions", `{"model":"both","prompt":"a"}`
		}
		w := do(t, s, http.MethodPost, path, body)
		asked := broker.asked()
		// The reply is in the newer dialect and names the endpoint's model; no limit counts.
		if want := fmt.Sprintf(`"model":"%s-model"`, asked[len(asked)-1].Route); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) ||
			!strings.Contains(w.Body.String(), `"choices":[`) {
			t.Fatalf("%s: %d %s, want %s", path, w.Code, w.Body, want)
		}
	}
	large := 0
	for _, r := range broker.asked() {
		if r.Route == "large" {
			large++
		}
	}
	const share = 0.2
	if deviation := math.Sqrt(n * share * (1 - share)); math.Abs(float64(large)-n*share) > 6*deviation {
		t.Errorf("%d of %d calls went to the smaller share, want about %.0f", large, n, n*share)
	}
	for i := range 20 {
		for range 3 {
			do(t, s, http.MethodPost, "/gateway/both/invocations", ask, fmt.Sprintf("Idempotency-Key: key-%d", i))
		}
		asked := broker.asked()
		last := asked[len(asked)-3:]
		if last[0].Route != last[1].Route || last[1].Route != last[2].Route {
			t.Errorf("a repeated call went to %s, %s and %s", last[0].Route, last[1].Route, last[2].Route)
		}
	}
	for _, q := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{http.MethodGet, "/api/3.0/gateway/route/both", "", 200, `{"name":"both","task_type":"llm/v1/completions","destinations":[{"name":"small","traffic_percentage":80},{"name":"large","traffic_percentage":20}],"routing_strategy":"TRAFFIC_SPLIT"}`},
		{http.MethodGet, "/api/3.0/gateway/route/small", "", 404, "The route 'small' is not present"},
		{http.MethodGet, "/api/2.0/gateway/routes/both", "", 404, "The route 'both' is not present"},
		{http.MethodGet, "/v1/routes/both", "", 404, "both"},
		{http.MethodGet, "/v1/models", "", 200, `{"id":"both","object":"model","created":`},
		{http.MethodGet, "/v1/models/both", "", 200, `{"id":"both",`},
		{http.MethodPost, "/gateway/both/invocations/", ask, 307, ""},
		{http.MethodGet, "/gateway/both/invocations", "", 405, "Method Not Allowed"},
		{http.MethodPost, "/v1/chat/completions", `{"model":"both","messages":[{"role":"user","content":"a"}]}`, 400, "Endpoint 'both' is not a chat endpoint."},
	} {
		w := do(t, s, q.method, q.path, q.body)
		if w.Code != q.status || !strings.Contains(w.Body.String(), q.want) {
			t.Errorf("%s %s: %d %s, want %d %s", q.method, q.path, w.Code, w.Body, q.status, q.want)
		}
	}
	if list := do(t, s, http.MethodGet, "/api/2.0/endpoints/", ""); strings.Contains(list.Body.String(), `"both"`) {
		t.Errorf("it is listed as an endpoint: %s", list.Body)
	}
}
