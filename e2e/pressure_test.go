package e2e_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"headrace/internal/mlflowtest"
)

const pressedBody = 4 << 20 // max_body of the gateway under pressure

// pressed is a gateway that is treated badly.
type pressed struct {
	t       *testing.T
	addr    string
	process *process
	client  *http.Client
	model   *mlflowtest.Server
}

func newPressed(t *testing.T) *pressed {
	t.Helper()
	model := instant(t)
	model.KeepNone()
	c := config{api: freeAddr(t), broker: freeAddr(t)}
	c.routes = strings.Replace(route("endpoint", "emb", "llm/v1/embeddings", model.URL), "[endpoints.model]", "slots = 64\n[endpoints.model]", 1) +
		route("endpoint", "chat", "llm/v1/chat", model.URL) + route("route", "text", "llm/v1/completions", model.URL) +
		route("endpoint", "raw", "mlflow/v1/invocations", model.URL)
	path := c.write(t)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rewrite(t, path, strings.Replace(string(text), "[api]\n", fmt.Sprintf("[api]\nmax_body = %d\n", pressedBody), 1))
	p := &pressed{t: t, addr: c.api, model: model, client: newClient(t)}
	p.process = start(t, "up", "up", "--config", path)
	works(t, p.client, c.api, "emb")
	return p
}

// resting is how many goroutines the gateway has when nothing happens. The jobs' streams are made when they are first
// needed, and each keeps some: enough jobs that all of them are there.
func (p *pressed) resting() float64 {
	p.t.Helper()
	const each = 64
	for name, input := range map[string]string{
		"emb": `{"input":"a"}`, "text": `{"prompt":"a"}`, "chat": `{"messages":[{"role":"user","content":"a"}]}`, "raw": `{"inputs":["a"]}`,
	} {
		jobs := strings.TrimSuffix(strings.Repeat(fmt.Sprintf(`{"route":%q,"input":%s},`, name, input), each), ",")
		var placed struct {
			Data []struct{ Job struct{ ID string } }
		}
		a := post(p.t, p.client, p.addr, "/v1/jobs/batch", `{"jobs":[`+jobs+`]}`)
		if err := json.Unmarshal(a.body, &placed); err != nil || a.status >= http.StatusMultipleChoices {
			p.t.Fatalf("placing jobs for %s: %v, %s", name, err, a)
		}
		for _, item := range placed.Data {
			ended(p.t, p.client, p.addr, item.Job.ID, 30*time.Second)
		}
	}
	p.client.CloseIdleConnections()
	return p.metric("go_goroutines")
}

func (p *pressed) metric(name string) float64 {
	p.t.Helper()
	return metric(p.t, p.client, p.addr, name)
}

// rested waits until everything that a call holds was given back.
func (p *pressed) rested(goroutines float64) {
	p.t.Helper()
	p.client.CloseIdleConnections()
	for name, most := range map[string]float64{
		"headrace_body_bytes": 0, "headrace_reply_bytes": 0, "headrace_worker_body_bytes": 0, "headrace_worker_reply_bytes": 0,
		`headrace_waiting_calls{route="emb"}`: 0, fmt.Sprintf("headrace_slots_busy{server=%q}", p.model.URL): 0,
		"go_goroutines": goroutines + 40, // connections of the pool to the model server stay a while
	} {
		eventually(p.t, 30*time.Second, fmt.Sprintf("%s falls to %g", name, most), func() bool { return p.metric(name) <= most })
	}
	checkEmbedding(p.t, post(p.t, p.client, p.addr, "/v1/embeddings", `{"model":"emb","input":"still here"}`), 1)
}

// TestPressure treats one gateway badly in every way, one after the other; each time everything must come back.
func TestPressure(t *testing.T) {
	t.Parallel()
	p := newPressed(t)
	resting := p.resting()
	for _, way := range []struct {
		name string
		run  func()
	}{
		{"crowd", func() { p.crowd(1000, 2*time.Second) }},
		{"bodies", p.bodies},
		{"mutations", func() { p.mutations(10_000) }},
		{"slow", p.slow},
	} {
		began := time.Now()
		way.run()
		if t.Failed() {
			t.Fatalf("after %s", way.name)
		}
		ran := time.Since(began)
		p.rested(resting)
		t.Logf("%s took %s, and its end %s", way.name, ran.Round(time.Millisecond), (time.Since(began) - ran).Round(time.Millisecond))
	}
	const most = 1 << 30
	if rss := p.metric("process_resident_memory_bytes"); rss > most {
		t.Errorf("%.0f MB of memory", rss/1e6)
	}
}

// crowd lets n clients call for a while. A refused client is told when to try again.
func (p *pressed) crowd(n int, length time.Duration) (answered int64) {
	p.t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: n}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 60 * time.Second}
	var clients sync.WaitGroup
	var good atomic.Int64
	over := time.Now().Add(length)
	for range n {
		clients.Go(func() {
			for time.Now().Before(over) {
				a := post(p.t, client, p.addr, "/v1/embeddings", `{"model":"emb","input":["x"]}`)
				switch a.status {
				case http.StatusOK:
					good.Add(1)
				case http.StatusServiceUnavailable:
					if !strings.Contains(string(a.body), "queue_full") {
						p.t.Errorf("%s", a)
					}
				default:
					p.t.Errorf("%s", a)
				}
			}
		})
	}
	clients.Wait()
	if good.Load() < int64(n) {
		p.t.Errorf("%d of %d clients' calls were answered", good.Load(), n)
	}
	return good.Load()
}

// bodies sends bodies of every size up to the limit and beyond, in every framing.
func (p *pressed) bodies() {
	p.t.Helper()
	body := func(size int) string {
		const head, tail = `{"model":"emb","input":"`, `"}`
		return head + strings.Repeat("x", max(size-len(head)-len(tail), 0)) + tail
	}
	send := func(what string, want int, change func(*http.Request), reader io.Reader) {
		p.t.Helper()
		req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, "http://"+p.addr+"/v1/embeddings", reader)
		if err != nil {
			p.t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		change(req)
		a := do(p.client, req)
		// A server that refuses a body before it has read it may cut the connection while the client still writes.
		if a.status != want && (want != http.StatusRequestEntityTooLarge || a.err == nil) {
			p.t.Errorf("%s: %s, want %d", what, a, want)
		}
	}
	asIs := func(*http.Request) {}
	chunked := func(r *http.Request) { r.ContentLength = -1 }
	for _, size := range []int{40, 1 << 10, 64<<10 - 1, 64 << 10, 256 << 10, 256<<10 + 1, 1 << 20, pressedBody - 1, pressedBody} {
		send(fmt.Sprint(size, " bytes"), http.StatusOK, asIs, strings.NewReader(body(size)))
		send(fmt.Sprint(size, " bytes in chunks"), http.StatusOK, chunked, strings.NewReader(body(size)))
	}
	for _, size := range []int{pressedBody + 1, 2 * pressedBody, 8 * pressedBody} {
		send(fmt.Sprint(size, " bytes"), http.StatusRequestEntityTooLarge, asIs, strings.NewReader(body(size)))
		send(fmt.Sprint(size, " bytes in chunks"), http.StatusRequestEntityTooLarge, chunked, strings.NewReader(body(size)))
	}
	send("nothing", http.StatusBadRequest, asIs, http.NoBody)
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	if _, err := io.WriteString(w, body(100)); err != nil || w.Close() != nil {
		p.t.Fatal(err)
	}
	whole := zipped.Bytes()
	coded := func(coding string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Content-Encoding", coding) }
	}
	send("gzip", http.StatusOK, coded("gzip"), bytes.NewReader(whole))
	send("gzip that ends early", http.StatusBadRequest, coded("gzip"), bytes.NewReader(whole[:len(whole)-4]))
	send("no gzip", http.StatusBadRequest, coded("gzip"), strings.NewReader(body(100)))
	send("another coding", http.StatusUnsupportedMediaType, coded("br"), bytes.NewReader(whole))
	for what, raw := range map[string]string{
		"a body that ends early": "POST /v1/embeddings HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{}",
		"a negative length":      "POST /v1/embeddings HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
		"two lengths":            "POST /v1/embeddings HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
		"a broken chunk":         "POST /v1/embeddings HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"no HTTP":                "hello\r\n\r\n",
	} {
		p.raw(what, raw)
	}
}

// raw writes bytes, ends its side, and accepts an error status or a closed connection, but no hang.
func (p *pressed) raw(what, text string) {
	p.t.Helper()
	conn := p.dial()
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		p.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return // it was cut off already
	}
	if half, ok := conn.(*net.TCPConn); ok {
		_ = half.CloseWrite() // the other side may have closed first
	}
	reply, err := io.ReadAll(conn)
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		p.t.Errorf("%s: no reply and no end", what)
	}
	if bytes.HasPrefix(reply, []byte("HTTP/1.1 2")) || bytes.HasPrefix(reply, []byte("HTTP/1.1 500")) {
		p.t.Errorf("%s: %.200s", what, reply)
	}
}

func (p *pressed) dial() net.Conn {
	p.t.Helper()
	conn, err := new(net.Dialer).DialContext(p.t.Context(), "tcp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	return conn
}

// unfinished opens n connections with requests that never end, in their headers or in their bodies. The returned
// function waits until the gateway has ended all of them.
func (p *pressed) unfinished(n int) (ended func()) {
	p.t.Helper()
	began := time.Now()
	var open []net.Conn
	for i := range n {
		conn := p.dial()
		open = append(open, conn)
		text := []string{
			"POST /v1/embeddings HTTP/1.1\r\nHost: h\r\nX-",
			"POST /v1/embeddings HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nHeadrace-Timeout: 8\r\nContent-Length: 1000\r\n\r\n{\"model\":",
		}[i%2]
		if _, err := io.WriteString(conn, text); err != nil {
			p.t.Error(err)
		}
	}
	return func() {
		for i, conn := range open {
			if err := conn.SetReadDeadline(began.Add(25 * time.Second)); err != nil {
				p.t.Error(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			timeout := net.Error(nil)
			if errors.As(err, &timeout) && timeout.Timeout() {
				p.t.Errorf("slow caller %d was still held after %s", i, time.Since(began))
			}
			if err == nil {
				if resp.StatusCode < 400 || resp.StatusCode == http.StatusInternalServerError {
					p.t.Errorf("slow caller %d got %d", i, resp.StatusCode)
				}
				_ = resp.Body.Close()
			}
			_ = conn.Close()
		}
	}
}

// slow has callers that never finish their requests, or do not read their replies, while others go on.
func (p *pressed) slow() {
	p.t.Helper()
	p.model.Handle(mlflowtest.Embeddings(100_000)) // about a megabyte for each text
	defer p.model.Handle(mlflowtest.Embeddings(8))
	ended := p.unfinished(100)
	var lazy []net.Conn
	for range 10 { // few that do not read: each holds a megabyte or two
		conn := p.dial()
		lazy = append(lazy, conn)
		const body = `{"model":"emb","input":["a","b"]}`
		if _, err := fmt.Fprintf(conn, "POST /v1/embeddings HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body); err != nil {
			p.t.Error(err)
		}
	}
	for range 20 {
		a := post(p.t, p.client, p.addr, "/v1/embeddings", `{"model":"emb","input":["x"]}`)
		if a.status != http.StatusOK || a.took > 10*time.Second {
			p.t.Errorf("beside slow callers: %.100s after %s", a, a.took)
		}
	}
	for _, conn := range lazy {
		_ = conn.Close() // those who do not read leave
	}
	ended()
}

// A front end that dies takes its own calls along, and no others.
func TestFrontEndDies(t *testing.T) {
	t.Parallel()
	model := instant(t)
	f := newFleet(t, route("endpoint", "emb", "llm/v1/embeddings", model.URL))
	for _, addr := range f.apis {
		works(t, f.client, addr, "emb")
	}
	stop := load(t, f.client, f.apis[1:], 8)
	doomed := load(t, f.client, f.apis[:1], 8)
	<-time.After(500 * time.Millisecond)
	f.fronts[0].signal(syscall.SIGKILL)
	<-f.fronts[0].done
	<-time.After(time.Second)
	doomed()
	count, longest := tally(stop())
	if len(count) != 1 || count[http.StatusOK] == 0 {
		t.Errorf("answers of the other front end: %v", count)
	}
	if longest > 5*time.Second {
		t.Errorf("a call took %s", longest)
	}
}
