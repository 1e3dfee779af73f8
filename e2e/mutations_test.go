package e2e_test

import (
	"cmp"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// operation is a method and a path of the gateway's own description.
type operation struct{ method, path string }

// operations lists every path that there is, with each of its methods, and some that do not exist.
func (p *pressed) operations() []operation {
	p.t.Helper()
	var described struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	if a := get(p.t, p.client, p.addr, "/openapi.json"); json.Unmarshal(a.body, &described) != nil || len(described.Paths) < 30 {
		p.t.Fatalf("%d paths are described: %s", len(described.Paths), a)
	}
	all := []operation{{http.MethodPost, "/v1/nothing"}, {http.MethodPost, "/v1/jobs/%00/cancel"}, {http.MethodPost, "/gateway//invocations/"}}
	delete(described.Paths, "/v1/dead/redrive") // each call of it runs hundreds of jobs again, and little else would be tried
	placeholder := regexp.MustCompile(`\{\w+\}`)
	for template, methods := range described.Paths {
		names := []string{"nothing", "%F0%9F%98%80"}
		if strings.HasSuffix(template, "/invocations") || strings.HasPrefix(template, "/v1/routes/") {
			names = append(names, "emb", "chat", "text", "raw")
		}
		for method := range methods {
			for _, name := range names {
				all = append(all, operation{strings.ToUpper(method), placeholder.ReplaceAllString(template, name)})
			}
		}
	}
	// A random choice from these must be the same for the same seed.
	slices.SortFunc(all, func(a, b operation) int {
		return cmp.Or(strings.Compare(a.path, b.path), strings.Compare(a.method, b.method))
	})
	return all
}

// mutations sends n random and mutated bodies to every path. Nothing may be a 500 or hang, and every error is JSON
// with a request id.
func (p *pressed) mutations(n int) {
	p.t.Helper()
	seed := uint64(time.Now().UnixNano())
	p.t.Logf("mutations: seed %d", seed)
	operations := p.operations()
	seeds := []string{
		`{"model":"emb","input":["a","b"],"encoding_format":"base64"}`, `{"text":["a"]}`, `{"prompt":"a","temperature":0.5,"n":1,"stop":["x"]}`,
		`{"model":"chat","messages":[{"role":"user","content":"hi"}],"max_tokens":5}`, `{"inputs":[[1,2.5e3,null]],"params":{}}`,
		`{"dataframe_split":{"columns":["a"],"data":[[1]]}}`, `{"route":"emb","input":{"input":"x"},"timeouts":{"queue":5},"tags":["a"]}`,
		`{"jobs":[{"route":"emb","input":{"input":"x"}}]}`,
		`{"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}],"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"auto"}`,
	}
	var next atomic.Int64
	var senders sync.WaitGroup
	for i := range 16 {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		senders.Go(func() {
			for {
				turn := next.Add(1) - 1
				if turn >= int64(n) || p.t.Failed() {
					return
				}
				op := operations[turn%int64(len(operations))]
				if random.IntN(20) == 0 {
					op.method = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodHead, http.MethodOptions}[random.IntN(6)]
				}
				p.mutation(random, op, mutated(random, seeds[random.IntN(len(seeds))]))
			}
		})
	}
	senders.Wait()
}

func (p *pressed) mutation(random *rand.Rand, op operation, body string) {
	target := "http://" + p.addr + op.path
	if random.IntN(4) == 0 {
		key := []string{"page_token", "limit", "state", "route", "after", "wait", "x"}[random.IntN(7)]
		target += "?" + url.Values{key: {mutated(random, "eyJpbmRleCI6IDExfQ==")}}.Encode()
	}
	req, err := http.NewRequestWithContext(p.t.Context(), op.method, target, strings.NewReader(body))
	if err != nil {
		p.t.Error(err)
		return
	}
	kinds := []string{"", "text/plain", "application/json; charset=utf-16", "application/x+json", "multipart/form-data", "application/json;;"}
	kind := "application/json"
	if random.IntN(8) == 0 {
		kind = kinds[random.IntN(len(kinds))]
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Headrace-Timeout", "20") // nothing here waits for longer
	resp, err := p.client.Do(req)
	if err != nil {
		p.t.Errorf("%s %s %q: %v", op.method, target, body, err)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	reply, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		p.t.Errorf("%s %s %q: %v", op.method, target, body, err)
	case resp.StatusCode == http.StatusInternalServerError:
		p.t.Errorf("%s %s %q: %.300s", op.method, target, body, reply)
	case resp.Header.Get("X-Request-Id") == "":
		p.t.Errorf("%s %s %q: no request id", op.method, target, body)
	case resp.StatusCode >= 400 && op.method != http.MethodHead && !json.Valid(reply):
		p.t.Errorf("%s %s %q: %d %.300q is no JSON", op.method, target, body, resp.StatusCode, reply)
	}
}

// mutated changes a few bytes or pieces of text.
func mutated(random *rand.Rand, text string) string {
	b := []byte(text)
	pieces := []string{"null", "1e999", "-0", "NaN", `"\ud800"`, "[[[[", "}}", `"`, "\\", "\x00", "\xff\xfe", "true", strings.Repeat("[", 200), strings.Repeat("9", 400), `{"a":`}
	for range 1 + random.IntN(4) {
		at := random.IntN(len(b) + 1)
		switch random.IntN(4) {
		case 0: // insert
			piece := pieces[random.IntN(len(pieces))]
			b = append(b[:at:at], append([]byte(piece), b[at:]...)...)
		case 1: // cut
			end := min(at+random.IntN(8), len(b))
			b = append(b[:at:at], b[end:]...)
		case 2: // flip
			if at < len(b) {
				b[at] = byte(random.IntN(256))
			}
		default: // repeat
			b = append(b[:at:at], b[max(at-random.IntN(10), 0):]...)
		}
	}
	return string(b)
}
