package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"headrace/api"
	"headrace/internal/budget"
	"headrace/internal/fault"
	"headrace/internal/inference"
)

const ask = `{"prompt":"hi"}`

// failing answers every call with one error.
func failing(err error) *fakeBroker {
	return &fakeBroker{answer: func(context.Context, *inference.Route, *inference.Request) (*inference.Result, error) {
		return nil, err
	}}
}

// TestProblems is the table of codes, in all three voices.
func TestProblems(t *testing.T) {
	t.Parallel()
	statuses := map[fault.Code]struct {
		mlflow, openai, own int
		retryAfter          bool
		again               bool
	}{
		fault.Invalid:             {422, 400, 400, false, false},
		fault.NotFound:            {404, 404, 404, false, false},
		fault.MethodNotAllowed:    {405, 405, 405, false, false},
		fault.TooLarge:            {413, 413, 413, false, false},
		fault.RateLimited:         {429, 429, 429, true, true},
		fault.QueueFull:           {503, 503, 503, true, true},
		fault.NoWorkers:           {503, 503, 503, true, true},
		fault.UpstreamUnavailable: {503, 503, 503, true, true},
		fault.UpstreamTimeout:     {504, 504, 504, false, true},
		fault.UpstreamError:       {418, 418, 418, false, false},
		fault.UpstreamBadResponse: {502, 422, 502, false, false},
		fault.Deadline:            {504, 504, 504, false, true},
		fault.NotImplemented:      {501, 400, 501, false, false},
		fault.Conflict:            {409, 409, 409, false, false},
		fault.KeyReused:           {422, 422, 422, false, false},
		fault.Gone:                {410, 410, 410, false, false},
		fault.JobFailed:           {424, 424, 424, false, false},
		fault.Unauthorized:        {401, 401, 401, false, false},
		fault.ShuttingDown:        {503, 503, 503, true, true},
		fault.Internal:            {500, 500, 500, false, false},
	}
	for _, code := range fault.Codes() {
		t.Run(string(code), func(t *testing.T) {
			t.Parallel()
			want, ok := statuses[code]
			if !ok {
				t.Fatal("the table lacks it")
			}
			e := fault.Wrap(code, errors.New("hidden"), "text of %s", code)
			if code == fault.UpstreamError {
				e.Status = http.StatusTeapot
			}
			s := newServer(t, failing(e))
			const id = "X-Request-Id: the-id"
			mlflow := do(t, s, http.MethodPost, "/gateway/completions/invocations", ask, id)
			openai := do(t, s, http.MethodPost, "/v1/completions", `{"model":"completions","prompt":"hi"}`, id)
			own := do(t, s, http.MethodPost, "/v1/routes/completions/invocations", ask, id)
			for voice, w := range map[string]*httptest.ResponseRecorder{"mlflow": mlflow, "openai": openai, "own": own} {
				status := map[string]int{"mlflow": want.mlflow, "openai": want.openai, "own": want.own}[voice]
				if w.Code != status || (w.Header().Get("Retry-After") != "") != want.retryAfter || w.Header().Get("X-Request-Id") != "the-id" {
					t.Errorf("%s: %d %v", voice, w.Code, w.Header())
				}
				body := w.Body.String()
				if strings.Contains(body, "hidden") || strings.Contains(body, "text of "+string(code)) == (code == fault.Internal) {
					t.Errorf("%s: %s", voice, body)
				}
				if code == fault.Internal && !strings.Contains(body, "the-id") {
					t.Errorf("%s: %s", voice, body)
				}
			}
			var problem struct {
				Code      fault.Code
				Status    int
				Retryable bool
				RequestID string `json:"request_id"`
			}
			if err := json.Unmarshal(own.Body.Bytes(), &problem); err != nil {
				t.Fatal(err)
			}
			if problem.Code != code || problem.Status != want.own || problem.Retryable != want.again || problem.RequestID != "the-id" ||
				own.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("%v %s", own.Header(), own.Body)
			}
		})
	}
}

func TestUpstreamErrors(t *testing.T) {
	t.Parallel()
	e := fault.New(fault.UpstreamError, "the model server answered 429")
	e.Status, e.Detail, e.RetryAfter = http.StatusTooManyRequests, []byte(`{"message":"<slow> down"}`), 1500*time.Millisecond
	s := newServer(t, failing(e))
	w := do(t, s, http.MethodPost, "/gateway/completions/invocations", ask)
	if w.Code != http.StatusTooManyRequests || w.Body.String() != `{"detail":{"message":"<slow> down"}}` || w.Header().Get("Retry-After") != "2" {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
	e = fault.New(fault.UpstreamError, "the model server answered nonsense")
	w = do(t, newServer(t, failing(e)), http.MethodPost, "/gateway/completions/invocations", ask)
	if w.Code != http.StatusBadGateway {
		t.Errorf("a status that is none becomes %d", w.Code)
	}
	w = do(t, newServer(t, failing(errors.New("plain secret"))), http.MethodPost, "/gateway/completions/invocations", ask)
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("a plain error becomes %d %s", w.Code, w.Body)
	}
}

func TestPanicIsInternal(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fakeBroker{answer: func(context.Context, *inference.Route, *inference.Request) (*inference.Result, error) {
		panic("secret") //nolint:forbidigo // what is tested
	}})
	w := do(t, s, http.MethodPost, "/v1/routes/completions/invocations", ask)
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "secret") || !strings.Contains(w.Body.String(), w.Header().Get("X-Request-Id")) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestBodiesKeepTheirBytes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		path, body, items, params, reply string
	}{
		{
			"/gateway/old-completions/invocations", `{"temperature": 5E-1, "x": [1.0, 1e400, 1e-7], "prompt": "\u00e9<\/b>"}`,
			`"\u00e9<\/b>"`, `{"temperature":5E-1,"candidate_count":1,"x":[1.0,null,1e-7]}`, `"text":"\u00e9<\/b>"`,
		},
		{"/endpoints/old-completions/invocations", `{"prompt":"a","foo":{"b": 10000000000000000000000.00}}`, `"a"`, `{"n":1,"foo":{"b": 10000000000000000000000.00}}`, `"choices":[{"index":0,"text":"a"`},
		{"/gateway/old-embeddings/invocations", `{"text":["a"]}`, `"a"`, ``, `{"embeddings":[[0.50, -1e-7,null]],`},
		{"/gateway/embeddings/invocations", `{"input":[[1.0,true],[2]]}`, `[1,1] | [2]`, ``, `"embedding":[0.50, -1e-7,null]`},
		{"/v1/routes/chat/invocations", `{"messages":[{"role":"user","content":"a"}]}`, `"a"`, `{"n":1}`, `"provider":"mlflow-model-serving"}`},
	} {
		broker := &fakeBroker{}
		w := do(t, newServer(t, broker), http.MethodPost, c.path, c.body)
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), c.reply) || w.Header().Get("Content-Length") != strconv.Itoa(w.Body.Len()) {
			t.Errorf("%s: %d %s", c.path, w.Code, w.Body)
			continue
		}
		if got := itemsAsked(t, broker); got != c.items {
			t.Errorf("%s: items %s, want %s", c.path, got, c.items)
		}
		if got := string(broker.asked()[0].Params); got != c.params {
			t.Errorf("%s: params %s, want %s", c.path, got, c.params)
		}
	}
}

func TestRawRoutes(t *testing.T) {
	t.Parallel()
	const body = ` {"dataframe_split": {"columns": ["a"], "data": [[1.00, NaN]]}, "params": {"x": null}} `
	for _, path := range []string{"/v1/routes/raw/invocations", "/gateway/raw/invocations", "/endpoints/raw/invocations"} {
		broker := &fakeBroker{}
		s := newServer(t, broker)
		w := do(t, s, http.MethodPost, path, body)
		if w.Code != http.StatusOK || w.Body.String() != body || string(broker.asked()[0].Body) != body || broker.asked()[0].Items != nil {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		for name, refused := range map[string][]string{
			"no object": {`[1]`}, "no JSON": {`{"inputs":`}, "nothing": {""}, "CSV": {"a,b\n1,2\n", "Content-Type: text/csv"},
		} {
			w := do(t, s, http.MethodPost, path, refused[0], refused[1:]...)
			if w.Code != http.StatusUnprocessableEntity && w.Code != http.StatusBadRequest || len(broker.asked()) != 1 {
				t.Errorf("%s, %s: %d %s", path, name, w.Code, w.Body)
			}
		}
	}
}

func TestLargeAnswerIsWhole(t *testing.T) {
	t.Parallel()
	large := []byte(`"` + strings.Repeat("0123456789", 20000) + `"`)
	released := 0
	broker := &fakeBroker{answer: func(context.Context, *inference.Route, *inference.Request) (*inference.Result, error) {
		res := &inference.Result{Items: [][]byte{large, []byte(`"small"`), large}}
		res.OnRelease(func() { released++ })
		return res, nil
	}}
	s := newServer(t, broker)
	for range 2 { // the second reply comes out of a used buffer
		w := do(t, s, http.MethodPost, "/gateway/old-completions/invocations", ask)
		want := `{"candidates":[{"text":` + string(large) + `,"metadata":{}},{"text":"small","metadata":{}},{"text":` + string(large) + `,"metadata":{}}],`
		if !strings.HasPrefix(w.Body.String(), want) || !strings.HasSuffix(w.Body.String(), `"route_type":"llm/v1/completions"}}`) ||
			w.Header().Get("Content-Length") != strconv.Itoa(w.Body.Len()) {
			t.Errorf("%d bytes, announced %s", w.Body.Len(), w.Header().Get("Content-Length"))
		}
	}
	if released != 2 {
		t.Errorf("%d of 2 results were released", released)
	}
}

func TestLimit(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fakeBroker{}, func(c *api.Config, _ *api.Deps) {
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} // httptest's client
	})
	const path = "/gateway/limited/invocations"
	for i, c := range []struct {
		path, body, from string
		status           int
	}{
		{path, ask, "", 200},
		{path, `{"prompt":5}`, "", 422}, // does not count
		{path, ask, "", 200},
		{path, ask, "", 429},
		{path, `{"prompt":5}`, "", 422},
		{"/endpoints/limited/invocations", ask, "", 200}, // another path counts apart
		{path, ask, "203.0.113.7", 200},
		{path, ask, "198.51.100.1, 203.0.113.7, 192.0.2.9", 200}, // the same caller, through a proxy of ours
		{path, ask, "10.0.0.1, 203.0.113.7", 429},
		{"/v1/routes/limited/invocations", ask, "", 200},
	} {
		var headers []string
		if c.from != "" {
			headers = append(headers, "X-Forwarded-For: "+c.from)
		}
		w := do(t, s, http.MethodPost, c.path, c.body, headers...)
		if w.Code != c.status {
			t.Errorf("call %d: %d %s, want %d", i, w.Code, w.Body, c.status)
		}
		if w.Code == http.StatusTooManyRequests && (w.Body.String() != `{"error":"Rate limit exceeded: 2 per 1 minute"}` || w.Header().Get("Retry-After") != "30") {
			t.Errorf("call %d: %s %v", i, w.Body, w.Header())
		}
	}
	stranger := newServer(t, &fakeBroker{})
	for i, want := range []int{200, 200, 429} {
		w := do(t, stranger, http.MethodPost, path, ask, fmt.Sprintf("X-Forwarded-For: 203.0.113.%d", i))
		if w.Code != want {
			t.Errorf("a stranger's word for his address is taken: call %d is %d", i, w.Code)
		}
	}
}

func TestBudgetAndSize(t *testing.T) {
	t.Parallel()
	bytes := budget.New(1000)
	s := newServer(t, &fakeBroker{}, func(c *api.Config, d *api.Deps) {
		c.MaxBody = 900
		d.Budget = bytes
	})
	const path = "/v1/routes/completions/invocations"
	body := `{"prompt":"` + strings.Repeat("x", 800) + `"}`
	if w := do(t, s, http.MethodPost, path, body); w.Code != http.StatusOK {
		t.Errorf("a body that fits: %d %s", w.Code, w.Body)
	}
	if w := do(t, s, http.MethodPost, path, body+strings.Repeat(" ", 100)); w.Code != http.StatusRequestEntityTooLarge || !strings.Contains(w.Body.String(), "900") {
		t.Errorf("a body over max_body: %d %s", w.Code, w.Body)
	}
	if !bytes.TryReserve(300) {
		t.Fatal("the budget was not given back")
	}
	if w := do(t, s, http.MethodPost, path, body); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "queue_full") {
		t.Errorf("a body without room: %d %s", w.Code, w.Body)
	}
	bytes.Release(300)
	front := httptest.NewServer(s.Handler())
	defer front.Close()
	for name, c := range map[string]struct {
		body string
		want int
	}{
		"fits": {body, http.StatusOK}, "is too large": {body + strings.Repeat(" ", 100), http.StatusRequestEntityTooLarge},
	} {
		got := exchange(t, front.Listener.Addr().String(), wire{method: "POST", target: path, body: []byte(c.body), chunked: true})
		if got.status != c.want {
			t.Errorf("a body of unknown length that %s: %d %s", name, got.status, got.body)
		}
	}
	if held := bytes.Held(); held != 0 {
		t.Errorf("%d bytes are still held", held)
	}
}

func TestCallersTime(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		headers []string
		path    string
		want    time.Duration
	}{
		{nil, "/v1/routes/completions/invocations", 20 * time.Second},
		{[]string{"Headrace-Timeout: 2.5"}, "/v1/routes/completions/invocations", 2500 * time.Millisecond},
		{[]string{"Headrace-Timeout: 1e300"}, "/v1/routes/completions/invocations", 20 * time.Second},
		{[]string{"x-stainless-read-timeout: 3"}, "/v1/routes/completions/invocations", 3 * time.Second},
		{[]string{"x-stainless-read-timeout: NaN"}, "/v1/routes/completions/invocations", 20 * time.Second},
		{[]string{"x-stainless-read-timeout: 600"}, "/v1/routes/quick/invocations", 7 * time.Second},
		{[]string{"x-stainless-read-timeout: 600"}, "/v1/completions", 7 * time.Second},
	} {
		var left time.Duration
		broker := &fakeBroker{answer: func(ctx context.Context, r *inference.Route, req *inference.Request) (*inference.Result, error) {
			deadline, ok := ctx.Deadline()
			if !ok {
				t.Error("a call without end")
			}
			left = time.Until(deadline)
			return echo(ctx, r, req)
		}}
		s := newServer(t, broker, func(cfg *api.Config, d *api.Deps) {
			cfg.SyncTimeout = 20 * time.Second
			d.Table = inference.NewTable(
				&inference.Route{Name: "completions", Type: inference.Completions},
				&inference.Route{Name: "quick", Type: inference.Completions, SyncTimeout: 7 * time.Second},
			)
		})
		w := do(t, s, http.MethodPost, c.path, `{"prompt":"hi","model":"quick"}`, c.headers...)
		if w.Code != http.StatusOK || left > c.want || left < c.want-time.Second {
			t.Errorf("%v: %d, %v left, want %v", c.headers, w.Code, left, c.want)
		}
	}
	for _, wrong := range []string{"soon", "-1", "0", "NaN"} {
		w := do(t, newServer(t, &fakeBroker{}), http.MethodPost, "/v1/routes/completions/invocations", ask, "Headrace-Timeout: "+wrong)
		if w.Code != http.StatusBadRequest {
			t.Errorf("Headrace-Timeout %s: %d", wrong, w.Code)
		}
	}
}
