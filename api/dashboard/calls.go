package dashboard

import (
	"cmp"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"headrace/api/dashboard/chart"
	"headrace/api/dashboard/recent"
	"headrace/api/problem"
	"headrace/internal/fault"
)

// maxTogether is how many calls are shown that shared a call to a model server.
const maxTogether = 32

// callRow is one line of a list of calls.
type callRow struct {
	Call    recent.Call
	Dialect string
	Link    string
	Tone    string
	Bar     template.HTML
}

func rowOf(c recent.Call) callRow {
	return callRow{Call: c, Dialect: dialectOf(c.Path), Link: callLink(&c), Tone: callTone(c.Code)}
}

// Outcome is how the call ended, in a word.
func (r callRow) Outcome() string {
	return cmp.Or(string(r.Call.Code), "ok")
}

// callTone is the colour of an outcome: what a caller did wrong is no failure of the route.
func callTone(c fault.Code) string {
	switch c { //nolint:exhaustive // the others are failures
	case "":
		return "good"
	case fault.Invalid, fault.RateLimited:
		return "warn"
	}
	return "bad"
}

// scale draws the rows' bars to the scale of the longest call.
func scale(rows []callRow) {
	longest := time.Duration(1)
	for _, r := range rows {
		longest = max(longest, r.Call.Took)
	}
	for i := range rows {
		rows[i].Bar = chart.Bar(partsOf(&rows[i].Call, 0, longest)...)
	}
}

// stretches of a call, from when it was accepted: waiting for a slot, waiting for company, in the model server, the rest.
func stretches(c *recent.Call) (slot, company, upstream, end time.Duration) {
	slot = max(c.Queue-c.Gather, 0)
	company = max(c.Queue, slot)
	upstream = min(company+c.Upstream, c.Took)
	return slot, company, upstream, c.Took
}

// partsOf draws a call on an axis of a length, on which it begins at an offset.
func partsOf(c *recent.Call, at, length time.Duration) []chart.Part {
	of := func(d time.Duration) float64 { return float64(at+d) / float64(length) }
	if c.Code != "" || c.Upstream == 0 {
		class := "rest"
		if c.Code != "" {
			class = "bad"
		}
		return []chart.Part{{Class: class, From: of(0), To: of(c.Took)}}
	}
	slot, company, upstream, end := stretches(c)
	return []chart.Part{
		{Class: "wait", From: of(0), To: of(slot)},
		{Class: "gather", From: of(slot), To: of(company)},
		{Class: "run", From: of(company), To: of(upstream)},
		{Class: "rest", From: of(upstream), To: of(end)},
	}
}

// dialectOf is the dialect of a path, in words.
func dialectOf(path string) string {
	switch {
	case strings.HasPrefix(path, "/v1/routes/"):
		return "Headrace"
	case strings.HasPrefix(path, "/v1/"):
		return "OpenAI"
	}
	return "MLflow"
}

func callLink(c *recent.Call) string {
	return Root + "/calls/" + url.PathEscape(c.ID) + "?n=" + strconv.FormatUint(c.Turn, 10)
}

func callsLink(line string) string { return listLink(Root+"/calls", line) }

// listLink leads to a list with a filter, or to the whole list where the filter would be too long.
func listLink(list, line string) string {
	if len(line) > maxLine {
		return list
	}
	return list + "?q=" + url.QueryEscape(line)
}

// callTest is a test of a call that a filter line asks for.
type callTest func(*recent.Call) bool

// callFilter reads a filter line for calls.
func callFilter(line string, now time.Time) ([]callTest, error) {
	terms, err := readLine(line)
	if err != nil {
		return nil, err
	}
	tests := make([]callTest, 0, len(terms))
	for _, t := range terms {
		test, err := callTestOf(t, now)
		if err != nil {
			return nil, err
		}
		tests = append(tests, test)
	}
	return tests, nil
}

func callTestOf(t term, now time.Time) (callTest, error) {
	value := t.value
	switch t.key {
	case "":
		return func(c *recent.Call) bool {
			return strings.Contains(c.ID, value) || strings.Contains(c.Route, value) || strings.Contains(c.Path, value) || strings.Contains(c.Message, value)
		}, nil
	case "route":
		return func(c *recent.Call) bool { return c.Route == value }, nil
	case "id":
		return func(c *recent.Call) bool { return c.ID == value }, nil
	case "dialect":
		return func(c *recent.Call) bool { return strings.EqualFold(dialectOf(c.Path), value) }, nil
	case "code":
		return func(c *recent.Call) bool { return string(c.Code) == value }, nil
	case "status":
		return statusTest(value), nil
	case "batch":
		least := 2
		if n, err := strconv.Atoi(value); err == nil {
			least = n
		} else if value != "shared" {
			return nil, problem.Param("q", "batch:%s: write batch:shared, or batch:8 for calls that 8 or more shared", problem.Quotable(value))
		}
		return func(c *recent.Call) bool { return c.Batch >= least }, nil
	case "slower":
		d, err := time.ParseDuration(value)
		if err != nil {
			return nil, problem.Param("q", "slower:%s is no time: write slower:500ms or slower:2s", problem.Quotable(value))
		}
		return func(c *recent.Call) bool { return c.Took >= d }, nil
	case "older", "newer":
		at, err := ago(t, now)
		return func(c *recent.Call) bool { return c.Began.Before(at) == (t.key == "older") }, err
	case "from", "to":
		at, err := time.Parse(time.RFC3339, value)
		if err != nil {
			return nil, problem.Param("q", "%s:%s is no moment: write %s:2026-01-31T12:00:00Z", t.key, problem.Quotable(value), t.key)
		}
		return func(c *recent.Call) bool { return c.Ended().Before(at) == (t.key == "to") }, nil
	}
	return nil, problem.Param("q", "there is no filter %q; there are route, status, code, dialect, batch, slower, older, newer, from, to and id", problem.Quotable(t.key))
}

// statusTest is ok, failed, or a status of HTTP.
func statusTest(value string) callTest {
	switch value {
	case "ok":
		return func(c *recent.Call) bool { return c.Code == "" }
	case "failed":
		return func(c *recent.Call) bool {
			return c.Code != "" && c.Code != fault.Invalid && c.Code != fault.RateLimited
		}
	}
	return func(c *recent.Call) bool { return strconv.Itoa(c.Status) == value }
}

// listView is a list with its filter.
type listView struct {
	Line    string
	Problem string // of the filter
	Hint    string // of what it takes
	Chips   []chip
	Routes  []string // to complete the filter with
	Words   []string
	Newer   string // addresses of the pages before and behind; "" for none
	Older   string
	Calls   []callRow
	Jobs    []jobRow
	Whole   int // calls that are remembered
}

type chip struct {
	Text, Link string
	On         bool
}

func chipsOf(line string, link func(string) string, pairs ...string) (chips []chip) {
	for i := 0; i+1 < len(pairs); i += 2 {
		chips = append(chips, chip{pairs[i], link(pairs[i+1]), line == pairs[i+1]})
	}
	return chips
}

func (s *Server) routeNames() (names []string) {
	for r := range s.Routes.Table().All() {
		names = append(names, "route:"+r.Name)
	}
	return names[:min(len(names), 200)]
}

// listCalls answers the list of recent calls.
func (s *Server) listCalls(r *http.Request, now time.Time) (any, error) {
	query := r.URL.Query()
	v := listView{Line: strings.TrimSpace(query.Get("q")), Routes: s.routeNames()}
	v.Hint = "route:embeddings status:failed slower:500ms newer:5m"
	v.Words = []string{"status:failed", "status:ok", "batch:shared", "slower:1s", "newer:5m", "dialect:openai", "dialect:mlflow", "dialect:headrace"}
	v.Chips = chipsOf(v.Line, callsLink, "All", "", "Failed", "status:failed", "Shared", "batch:shared", "Slower than 1 s", "slower:1s")
	tests, err := callFilter(v.Line, now)
	if err != nil {
		v.Problem = fault.From(err).Message
		return v, nil
	}
	before, _ := strconv.ParseUint(query.Get("before"), 10, 64)
	for c := range s.Calls.Newest() {
		v.Whole++
		if before > 0 && c.Turn >= before || !passes(&c, tests) {
			continue
		}
		if len(v.Calls) == pageRows {
			v.Older = callsLink(v.Line) + "&before=" + strconv.FormatUint(v.Calls[pageRows-1].Call.Turn, 10)
			break
		}
		v.Calls = append(v.Calls, rowOf(c))
	}
	if before > 0 {
		v.Newer = callsLink(v.Line)
	}
	scale(v.Calls)
	return v, nil
}

func passes(c *recent.Call, tests []callTest) bool {
	for _, test := range tests {
		if !test(c) {
			return false
		}
	}
	return true
}

// callView is one call.
type callView struct {
	Row      callRow
	Words    string
	Steps    []step
	Axis     []string // under the steps
	Together []togetherRow
	More     int // that were together and are not shown
}

func (v callView) title() string { return "Call " + plain(v.Row.Call.ID) }

// step is one line of a timeline.
type step struct {
	Text, Note string
	At         time.Duration
	Took       time.Duration
	Bar        template.HTML
}

// togetherRow is a call that shared the call to a model server.
type togetherRow struct {
	Row  callRow
	Own  bool
	Bar  template.HTML
	Late time.Duration // after the first of them
}

// showCall answers one call.
func (s *Server) showCall(r *http.Request, _ time.Time) (any, error) {
	id := r.PathValue("id")
	turn, _ := strconv.ParseUint(r.URL.Query().Get("n"), 10, 64)
	for c := range s.Calls.Newest() {
		if c.ID != id || turn > 0 && c.Turn != turn {
			continue
		}
		v := callView{Row: rowOf(c), Words: words(&c), Steps: steps(&c), Axis: axis(c.Took)}
		v.Together, v.More = together(&c, s.Calls.Newest())
		return v, nil
	}
	return nil, fault.New(fault.NotFound, "The call %s is not remembered here: it was another front end's, it is older than the last api.recent_calls calls, or Headrace was restarted.", problem.Quotable(id))
}

// words say where the time of a call went, and what would have made it shorter.
func words(c *recent.Call) string {
	if c.Job != "" && c.Code == "" && c.Upstream == 0 {
		return "It placed a job, and was answered in " + took(c.Took) + "."
	}
	if c.Code != "" {
		return "It ended after " + took(c.Took) + " with " + string(c.Code) + "."
	}
	slot, company, upstream, end := stretches(c)
	text := fmt.Sprintf("It took %s: %s of waiting for a slot", took(c.Took), took(slot))
	if c.Gather > 0 {
		text += ", " + took(company-slot) + " of waiting for company"
	}
	text += ", " + took(upstream-company) + " in the model server"
	if c.Batch > 1 {
		text += " together with " + plural(c.Batch-1, "other request", "other requests")
	}
	text += ", and " + took(end-upstream) + " in Headrace."
	switch {
	case slot > c.Took/2:
		text += " Most of it was waiting for a slot: more slots or workers would shorten that."
	case c.Took > 0 && upstream-company > c.Took*4/5:
		text += " Nearly all of it was the model server's own time."
	}
	return text
}

// steps are the timeline of one call.
func steps(c *recent.Call) []step {
	bar := func(class string, from, to time.Duration) template.HTML {
		return chart.Bar(chart.Part{Class: class, From: float64(from) / float64(max(c.Took, 1)), To: float64(to) / float64(max(c.Took, 1))})
	}
	first := step{Text: "Accepted", Note: size(c.Asked) + " on " + c.Path, Bar: bar("rest", 0, 0)}
	if c.Code != "" {
		return []step{first, {Text: "Failed", Note: plain(c.Message), At: c.Took, Took: c.Took, Bar: bar("bad", 0, c.Took)}}
	}
	if c.Upstream == 0 {
		return []step{first, {Text: "Answered", Note: size(c.Sent), At: c.Took, Took: c.Took, Bar: bar("rest", 0, c.Took)}}
	}
	slot, company, upstream, end := stretches(c)
	all := []step{first, {Text: "Waited for a slot", Note: "in the queue of its route", Took: slot, Bar: bar("wait", 0, slot)}}
	if c.Gather > 0 {
		all = append(all, step{Text: "Waited for company", Note: "a slot was free, and more requests were expected", At: slot, Took: company - slot, Bar: bar("gather", slot, company)})
	}
	note := "alone"
	if c.Batch > 1 {
		note = "one call for " + plural(c.Batch, "request", "requests")
	}
	return append(all,
		step{Text: "Model server", Note: note, At: company, Took: upstream - company, Bar: bar("run", company, upstream)},
		step{Text: "Answered", Note: size(c.Sent), At: upstream, Took: end - upstream, Bar: bar("rest", upstream, end)})
}

// axis has the times at the beginning, the middle and the end.
func axis(d time.Duration) []string { return []string{"0", took(d / 2), took(d)} }

// together finds the calls that shared the call to the model server with c, c among them: a worker measures the time of
// such a call once and tells it to all, to the nanosecond. They are drawn on one axis of time.
func together(c *recent.Call, calls func(func(recent.Call) bool)) (rows []togetherRow, more int) {
	if c.Batch < 2 {
		return nil, 0
	}
	first, last := c.Began, c.Ended()
	for o := range calls {
		if o.Route != c.Route || o.Upstream != c.Upstream || o.Batch != c.Batch || o.Code != "" || o.Ended().Sub(c.Ended()).Abs() > time.Second {
			continue
		}
		rows = append(rows, togetherRow{Row: rowOf(o), Own: o.Turn == c.Turn})
		if o.Began.Before(first) {
			first = o.Began
		}
		if o.Ended().After(last) {
			last = o.Ended()
		}
	}
	for i := range rows {
		own := &rows[i].Row.Call
		rows[i].Late = own.Began.Sub(first)
		rows[i].Bar = chart.Bar(partsOf(own, rows[i].Late, max(last.Sub(first), 1))...)
	}
	sortByBegin(rows)
	if len(rows) > maxTogether {
		rows, more = rows[:maxTogether], len(rows)-maxTogether
	}
	return rows, more
}
