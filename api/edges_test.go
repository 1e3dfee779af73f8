package api_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"headrace/api"
)

// raw sends bytes in pieces over one connection and reads the answers until the server closes it or says that it will.
func raw(t *testing.T, address string, most int, pieces ...string) (answers []reply) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for _, piece := range pieces {
		if _, err := io.WriteString(conn, piece); err != nil {
			t.Fatal(err)
		}
	}
	in := bufio.NewReader(conn)
	for len(answers) < most {
		res, err := http.ReadResponse(in, &http.Request{Method: http.MethodPost})
		if err != nil {
			break
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		answers = append(answers, reply{status: res.StatusCode, header: res.Header, body: body})
		if res.Close {
			answers[len(answers)-1].header.Set("Connection", "close")
			if rest, err := io.ReadAll(in); err == nil && len(rest) > 0 {
				t.Errorf("after the last answer came %q", rest)
			}
			break
		}
	}
	return answers
}

// Two parties that disagree on where such a request ends take different bytes for the next one.
func TestRequestWithTwoLengthsClosesItsConnection(t *testing.T) {
	t.Parallel()
	r := run(t, newServer(t, &fakeBroker{}))
	const (
		head    = "POST " + own + " HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
		chunked = "Transfer-Encoding: chunked\r\n"
		body    = "\r\n" + "f\r\n" + `{"prompt":"hi"}` + "\r\n0\r\n\r\n"
		plain   = head + "Content-Length: 15\r\n\r\n" + `{"prompt":"hi"}`
	)
	for _, c := range []struct {
		name    string
		pieces  []string
		answers int
		closed  bool
	}{
		{"both, and another one behind it", []string{head + "Content-Length: 3\r\n" + chunked + body + plain}, 1, true},
		{"in the other order and other letters", []string{head + chunked + "cONTENT-lENGTH: 3\r\n" + body + plain}, 1, true},
		{"a header in two pieces", []string{head + chunked + "Conte", "nt-Length: 3\r\n" + body + plain}, 1, true},
		{"behind a good one", []string{plain + head + "Content-Length: 3\r\n" + chunked + body + plain}, 2, true},
		{"chunks alone", []string{head + chunked + body + head + chunked + body}, 2, false},
		{"lengths alone", []string{plain + plain}, 2, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			answers := raw(t, r.address, 4, append(c.pieces, "GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")...)
			want := c.answers
			if !c.closed {
				want++ // the one about health
			}
			if len(answers) != want {
				t.Fatalf("%d answers, want %d", len(answers), want)
			}
			for i, a := range answers {
				if a.status != http.StatusOK {
					t.Errorf("answer %d: %d %s", i, a.status, a.body)
				}
			}
			if got := answers[c.answers-1].header.Get("Connection"); (got == "close") != c.closed {
				t.Errorf("Connection: %q", got)
			}
		})
	}
}

// What a request says of hosts decides nothing about where a caller is sent.
func TestRedirectsNameThePathAlone(t *testing.T) {
	t.Parallel()
	r := run(t, newServer(t, &fakeBroker{}))
	for _, c := range []struct {
		line     string
		status   int
		location string
	}{
		{"GET /v1/models/?a=b HTTP/1.1", 307, "/v1/models?a=b"},
		{"POST /v1/routes/chat/invocations/ HTTP/1.1", 307, "/v1/routes/chat/invocations"},
		{"GET / HTTP/1.1", 307, "/docs"},
		{"GET //evil.example/ HTTP/1.1", 404, ""},
		{"GET http://evil.example/v1/models/ HTTP/1.1", 404, ""},
		{"GET http://evil.example/v1/models HTTP/1.1", 200, ""},
		{"GET http://evil.example HTTP/1.1", 404, ""},
		{"CONNECT evil.example:443 HTTP/1.1", 404, ""},
		{"CONNECT /health/ HTTP/1.1", 404, ""},
	} {
		answers := raw(t, r.address, 1, c.line+"\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n")
		if len(answers) != 1 || answers[0].status != c.status || answers[0].header.Get("Location") != c.location {
			t.Errorf("%s: %v", c.line, answers)
		}
	}
}

func zipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestCompressedBodies(t *testing.T) {
	t.Parallel()
	const call = `{"model":"completions","prompt":"hi"}`
	bomb := zipped(t, `{"model":"completions","prompt":"`+strings.Repeat("a", 1<<20)+`"}`)
	for _, c := range []struct {
		name, path, coding, body string
		status                   int
		says                     string
	}{
		{"gzip", "/v1/completions", "gzip", zipped(t, call), 200, `"text":"hi"`},
		{"another name for it", "/v1/completions", "X-GZIP", zipped(t, call), 200, `"text":"hi"`},
		{"no coding", "/v1/completions", "identity", call, 200, `"text":"hi"`},
		{"our own path", own, "gzip", zipped(t, ask), 200, `"text":"hi"`},
		{"one that grows", "/v1/completions", "gzip", bomb, 413, "max_body"},
		{"one that is cut", "/v1/completions", "gzip", zipped(t, call)[:20], 400, "not a complete gzip stream"},
		{"none at all", "/v1/completions", "gzip", call, 400, "not a complete gzip stream"},
		{"another coding", "/v1/completions", "br", call, 415, `Content-Encoding \"br\"`},
		{"two codings", own, "gzip, gzip", call, 415, "Content-Encoding"},
		{"MLflow's path, as recorded", "/gateway/completions/invocations", "gzip", zipped(t, ask), 400, `{"detail":"There was an error parsing the body"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, &fakeBroker{}, func(cfg *api.Config, _ *api.Deps) { cfg.MaxBody = 16 << 10 })
			w := do(t, s, http.MethodPost, c.path, c.body, "Content-Encoding: "+c.coding)
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if c.status == http.StatusUnsupportedMediaType && w.Header().Get("Accept-Encoding") != "gzip" {
				t.Errorf("Accept-Encoding: %q", w.Header().Get("Accept-Encoding"))
			}
		})
	}
}

// Gzip that holds nothing, again and again, would be read for ever.
func TestCompressedBodyWithoutEnd(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fakeBroker{}, func(cfg *api.Config, _ *api.Deps) { cfg.MaxBody = 16 << 10 })
	r := run(t, s)
	got := exchange(t, r.address, wire{
		method: http.MethodPost, target: own, headers: map[string]string{"Content-Encoding": "gzip"}, chunked: true,
		body: []byte(strings.Repeat(zipped(t, ""), 1<<10)),
	})
	if got.status != http.StatusRequestEntityTooLarge || !strings.Contains(string(got.body), "even compressed") {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestUnreadableBodiesAreToldApart(t *testing.T) {
	t.Parallel()
	deep := `{"prompt":` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + `}`
	for _, c := range []struct{ name, body, says string }{
		{"bytes that are no text", "{\"model\":\"completions\",\"prompt\":\"h\xe9\"}", "UTF-8, UTF-16 or UTF-32: wrong at byte 34"},
		{"behind a byte order mark", "\xef\xbb\xbf{\"prompt\":\"\xff\"}", "wrong at byte 14"},
		{"half a character", "\xff\xfe{", "wrong at byte 2"},
		{"nesting", deep, "nested deeper than 512 levels at byte 52"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, &fakeBroker{})
			for _, path := range []string{"/v1/completions", own} {
				if w := do(t, s, http.MethodPost, path, c.body); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), c.says) {
					t.Errorf("%s: %d %s", path, w.Code, w.Body)
				}
			}
			w := do(t, s, http.MethodPost, "/gateway/completions/invocations", c.body)
			if w.Code != http.StatusBadRequest || w.Body.String() != `{"detail":"There was an error parsing the body"}` {
				t.Errorf("MLflow's path: %d %s", w.Code, w.Body)
			}
		})
	}
}

// curl sends -d as a form unless it is told otherwise.
func TestMissingContentTypeIsHintedAt(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fakeBroker{})
	for _, path := range []string{"/gateway/completions/invocations", "/endpoints/completions/invocations", own, "/v1/completions"} {
		w := do(t, s, http.MethodPost, path, ask, "Content-Type: application/x-www-form-urlencoded")
		if !strings.Contains(w.Body.String(), "-H 'Content-Type: application/json'") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	var body struct{ Detail []map[string]any }
	w := do(t, s, http.MethodPost, "/gateway/completions/invocations", ask, "Content-Type: text/plain")
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != 422 || body.Detail[0]["type"] != "model_attributes_type" || body.Detail[0]["input"] != ask {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestHeadersWithoutEffectAreNamed(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fakeBroker{})
	for _, c := range []struct {
		headers []string
		want    string
	}{
		{nil, ""},
		{[]string{"Job-Priority: x"}, "Job-Priority"},
		{[]string{"Job-Deadline: junk", "Idempotency-Key: k"}, "Idempotency-Key, Job-Deadline"},
		{[]string{"Prefer: respond-asynch"}, "Prefer: respond-asynch"},
		{[]string{"Prefer: return=minimal, handling=lenient"}, "Prefer: return, Prefer: handling"},
		{[]string{"Prefer: a b"}, "Prefer"},
		{[]string{"Prefer: respond-async"}, "Prefer"}, // this front end has no jobs
	} {
		for _, path := range []string{own, "/gateway/completions/invocations"} {
			w := do(t, s, http.MethodPost, path, ask, c.headers...)
			if got := w.Header().Get("Headrace-Dropped"); w.Code != http.StatusOK || got != c.want {
				t.Errorf("%v: %d, Headrace-Dropped %q, want %q", c.headers, w.Code, got, c.want)
			}
		}
	}
	w := do(t, s, http.MethodPost, "/v1/completions", `{"model":"completions","prompt":"a","user":"u"}`, "Job-Tags: a")
	if got := w.Header().Get("Headrace-Dropped"); got != "user, Job-Tags" {
		t.Errorf("both: %q", got)
	}
}
