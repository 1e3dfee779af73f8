package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// question is one request and what it is answered alone.
type question struct {
	route, path, body string
	alone             answer
	bad, long         bool
}

// longLists are lists that are asked in parts: texts of several lengths, and rows of which one is bad in every other list.
func longLists(words []string, k int) []*question {
	var texts, rows []string
	for i := range 200 {
		texts = append(texts, fmt.Sprintf("%q", fmt.Sprint(k, i)+strings.Repeat(" "+words[i%12], 1+i%3*6)))
	}
	for i := range 3000 {
		rows = append(rows, fmt.Sprintf(`[%d.1,3.5,%d.4,0.%d]`, 4+i%4, 1+i%6, 1+(i+k)%9))
	}
	if k%2 == 1 {
		rows[1700] = `["no number",3.5,1.4,0.2]`
	}
	return []*question{
		{route: "embeddings", long: true, body: `{"text":[` + strings.Join(texts, ",") + `]}`},
		{route: "iris", long: true, bad: k%2 == 1, body: `{"dataframe_split":{"columns":["sepal length (cm)","sepal width (cm)",` +
			`"petal length (cm)","petal width (cm)"],"data":[` + strings.Join(rows, ",") + `]}}`},
	}
}

// questions are mixed ones for the three models; the last of each ten of a model is bad where it can be.
func questions() []*question {
	words := []string{"red", "green", "blue", "house", "tree", "river", "mountain", "sea", "sky", "cloud", "bread", "stone"}
	var all []*question
	for i := range 40 {
		said := []string{words[i%12]}
		for k := range i % 9 {
			said = append(said, words[(i*7+k*5)%12])
		}
		text := strings.Join(said, " ")
		one := fmt.Sprintf(`{"text":[%q]}`, text)
		if i%5 == 0 {
			one = fmt.Sprintf(`{"text":[%q,%q,%q]}`, text, text+" and sand", words[i%7])
		}
		all = append(all, &question{route: "embeddings", body: one})
		gap := "I like to [MASK] " + words[i%12] + "."
		switch i % 10 {
		case 9:
			gap = "no gap " + words[i%12]
		case 3:
			gap = "I like to [MASK] [MASK] " + words[i%12] + "."
		}
		all = append(all, &question{route: "fillmask", body: fmt.Sprintf(`{"prompt":%q}`, gap), bad: i%10 == 9})
		row := fmt.Sprintf(`[%d.1,3.5,%d.4,0.2]`, 4+i%4, 1+i%6)
		if i%10 == 9 {
			row = `["no number",3.5,1.4,0.2]`
		}
		all = append(all, &question{route: "iris", bad: i%10 == 9, body: `{"dataframe_split":{"columns":` +
			`["sepal length (cm)","sepal width (cm)","petal length (cm)","petal width (cm)"],"data":[` + row + `]}}`})
	}
	for k := range 4 {
		all = append(all, longLists(words, k)...)
	}
	for _, q := range all {
		q.path = "/gateway/" + q.route + "/invocations"
	}
	return all
}

// company asks the three models from 64 clients at once, three of them long lists and one request in a hundred bad, and compares each reply with the
// one got alone.
func company(t *testing.T, m models) {
	t.Helper()
	c := newClient(t)
	routes := route("route", "embeddings", "llm/v1/embeddings", m.embeddings) +
		route("route", "fillmask", "llm/v1/completions", m.fillmask) + route("endpoint", "iris", "mlflow/v1/invocations", m.iris)
	up := config{api: freeAddr(t), broker: freeAddr(t), routes: routes}
	start(t, "company", "up", "--config", up.write(t))
	ready(t, c, up.api)
	var good, bad, long []*question
	for _, q := range questions() {
		if q.alone = post(t, c, up.api, q.path, q.body); q.bad == (q.alone.status == 200) || q.alone.err != nil {
			t.Fatalf("%s %s: %s", q.path, q.body, q.alone)
		}
		if q.long {
			long = append(long, q)
		} else if q.bad {
			bad = append(bad, q)
		} else {
			good = append(good, q)
		}
	}
	var clients sync.WaitGroup
	var asked, wrong atomic.Int64
	end := time.Now().Add(20 * time.Second)
	for i := range 64 {
		random := rand.New(rand.NewPCG(uint64(i), 1))
		clients.Go(func() {
			for time.Now().Before(end) {
				q := good[random.IntN(len(good))]
				if random.IntN(100) == 0 {
					q = bad[random.IntN(len(bad))]
				}
				if i < 3 {
					q = long[random.IntN(len(long))]
				}
				got := post(t, c, up.api, q.path, q.body)
				asked.Add(1)
				if why := unlike(got, q.alone); why != "" && wrong.Add(1) < 10 {
					t.Errorf("%s %.200s: %s\nnow   %.500s\nalone %.500s", q.path, q.body, why, got, q.alone)
				}
			}
		})
	}
	clients.Wait()
	for _, name := range []string{"embeddings", "fillmask", "iris"} {
		calls := metric(t, c, up.api, `headrace_call_requests_count{route="`+name+`"}`)
		requests := metric(t, c, up.api, `headrace_call_requests_sum{route="`+name+`"}`)
		t.Logf("%s: %.0f requests in %.0f calls", name, requests, calls)
		// How many share calls depends on what else the machine does. Of iris most calls are parts of lists.
		if requests <= calls && name != "iris" {
			t.Errorf("%s: %.0f requests in %.0f calls: none was shared", name, requests, calls)
		}
	}
	t.Logf("%d asked, %d wrong; %s", asked.Load(), wrong.Load(), get(t, c, up.api, "/v1/routes").body)
}

// unlike says how a reply differs from another one: floats may by a millionth.
func unlike(a, b answer) string {
	switch {
	case a.err != nil:
		return a.err.Error()
	case a.status != b.status:
		return "another status"
	case bytes.Equal(a.body, b.body):
		return ""
	}
	var x, y any
	if json.Unmarshal(a.body, &x) != nil || json.Unmarshal(b.body, &y) != nil {
		return "no JSON"
	}
	return differs(x, y)
}

func differs(a, b any) string {
	switch x := a.(type) {
	case float64:
		if y, ok := b.(float64); ok && math.Abs(x-y) <= 1e-6 {
			return ""
		}
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return "another list"
		}
		for i := range x {
			if why := differs(x[i], y[i]); why != "" {
				return why
			}
		}
		return ""
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return "another object"
		}
		for k := range x {
			if why := differs(x[k], y[k]); why != "" && k != "created" && k != "id" {
				return k + ": " + why
			}
		}
		return ""
	default:
		if a == b {
			return ""
		}
	}
	return fmt.Sprintf("%v and %v", a, b)
}
