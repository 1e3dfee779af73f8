package dashboard

import (
	"html/template"
	"math"
	"net/http"
	"time"

	"headrace/api/dashboard/chart"
	"headrace/api/dashboard/recent"
	"headrace/internal/fault"
	"headrace/internal/job"
)

const (
	// columns is how many points a plot has, and marks how many columns can be pointed at.
	columns = 150
	marks   = 60
	// rateOver is how many seconds the figures of "now" are taken over.
	rateOver = 10
	// latest is how many calls the first page shows.
	latest = 8
)

// nowView is the first page.
type nowView struct {
	Day    bool // the last 24 hours, not the last 10 minutes
	Span   string
	Alarms []alarm
	Calm   string
	Tiles  []tile
	Charts []figure
	Calls  []callRow
	Routes []routeRow
	Codes  []codeRow
}

func (v nowView) events() string {
	if v.Day {
		return Root + "/live/now?range=24h"
	}
	return Root + "/live/now"
}

// tile is one figure.
type tile struct {
	ID, Label, Value, Unit, Note, Link string
	Bad                                bool
}

// figure is a chart with its texts.
type figure struct {
	ID, Title, Most, Summary string
	Plot                     template.HTML
	Legend                   []legend
}

type legend struct{ Class, Text, Value, Link string }

// codeRow is how many calls ended with an error.
type codeRow struct {
	Code string
	N    int
	Part float64 // of the most frequent
	Link string
}

// Bar shows how frequent it is.
func (c codeRow) Bar() template.HTML {
	return chart.Bar(chart.Part{Class: callTone(fault.Code(c.Code)), To: c.Part})
}

// facts gathers what is known of all routes.
func (s *Server) facts(now time.Time) []facts {
	statistics := statsOf(s.Calls.Newest(), now)
	var all []facts
	for r := range s.Routes.Table().All() {
		all = append(all, facts{
			Route: r, State: s.Routes.State(r.Name), Paused: s.Queues.Paused(r.Name), Lanes: s.Queues.Queue(r.Name), Stats: statistics[r.Name],
		})
	}
	return all
}

// now answers the first page.
func (s *Server) now(r *http.Request, now time.Time) (any, error) {
	v := nowView{Day: r.URL.Query().Get("range") == "24h", Span: "10 min"}
	seconds := s.Calls.LastSeconds(now)
	points := seconds
	if v.Day {
		points, v.Span = s.Calls.LastMinutes(now), "24 h"
	}
	all := s.facts(now)
	held, limit := s.disk()
	v.Alarms = alarms(s.Routes.Ready(), all, held, limit, now)
	v.Calm = calm(all)
	v.Tiles = tiles(seconds, points, all, v.Span)
	v.Charts = charts(points, v.Span)
	v.Codes = codes(points)
	for c := range s.Calls.Newest() {
		if v.Calls = append(v.Calls, rowOf(c)); len(v.Calls) == latest {
			break
		}
	}
	scale(v.Calls)
	for i := range all {
		v.Routes = append(v.Routes, routeRowOf(&all[i], now))
	}
	return v, nil
}

func (s *Server) disk() (held, limit int64) {
	if s.Disk == nil {
		return 0, 0
	}
	held, limit, _ = s.Disk()
	return held, limit
}

// calm is the banner when nothing is wrong.
func calm(all []facts) string {
	workers, waits := 0, 0
	for i := range all {
		workers = max(workers, all[i].State.Workers)
		waits += all[i].State.Waiting
	}
	text := plural(len(all), "route is", "routes are") + " served by " + plural(workers, "worker", "workers")
	if waits == 0 {
		return text + ", and no call waits."
	}
	return text + "; " + plural(waits, "call waits", "calls wait") + "."
}

// tiles are the figures of this moment. seconds are the last 600, points those of the span that is shown.
func tiles(seconds, points []recent.Point, all []facts, span string) []tile {
	last := recent.Sum(seconds[len(seconds)-rateOver:])
	whole := recent.Sum(points)
	waits, jobs, old := 0, 0, 0
	for i := range all {
		waits += all[i].State.Waiting
		jobs += all[i].waiting()
		old += all[i].Lanes[job.Interactive].Waiting
	}
	shared := "–"
	if last.Batch() > 0 {
		shared = digits(last.Batch())
	}
	return []tile{
		{ID: "t-rate", Label: "Calls a second", Value: digits(last.Rate()), Note: count(whole.Calls()) + " in " + span, Link: Root + "/calls"},
		{ID: "t-p50", Label: "Half answered within", Value: within(&last, 0.5), Note: "99 % within " + within(&last, 0.99), Link: slowLink(last.Quantile(0.99), last.Calls())},
		{ID: "t-wait", Label: "Calls waiting", Value: digits(max(last.Waiting(), float64(waits))), Note: "for a slot, " + digits(whole.Waiting()) + " in " + span, Link: Root + "/routes"},
		{ID: "t-batch", Label: "Requests share a call", Value: shared, Note: "on average", Link: callsLink("batch:shared")},
		{ID: "t-fail", Label: "Failed", Value: share(whole.Failed(), whole.Calls()), Note: count(whole.Failed()) + " in " + span, Link: callsLink("status:failed"), Bad: whole.Failed() > 0},
		{ID: "t-jobs", Label: "Jobs waiting", Value: count(jobs), Note: count(old) + " of them interactive", Link: jobsLink("status:queued")},
	}
}

// within is the time within which a part of the calls was answered.
func within(p *recent.Point, q float64) string {
	if p.Calls() == 0 {
		return "–"
	}
	return took(p.Quantile(q))
}

func slowLink(p99 time.Duration, calls int) string {
	if calls == 0 {
		return Root + "/calls"
	}
	return callsLink("slower:" + p99.Round(time.Millisecond).String())
}

// grouped joins neighbours until n points are left. Where nothing was noted, the length is 0.
func grouped(points []recent.Point, n int) []recent.Point {
	size := max(len(points)/n, 1)
	out := make([]recent.Point, 0, n)
	for i := 0; i+size <= len(points); i += size {
		sum := recent.Sum(points[i : i+size])
		sum.At = points[i].At
		out = append(out, sum)
	}
	return out
}

// series is a value of each point, with gaps where nothing was noted.
func series(points []recent.Point, value func(*recent.Point) float64) []float64 {
	out := make([]float64, len(points))
	for i := range points {
		if out[i] = math.NaN(); points[i].Length > 0 {
			out[i] = value(&points[i])
		}
	}
	return out
}

// charts draws the figures of a span.
func charts(points []recent.Point, span string) []figure {
	fine := grouped(points, columns)
	whole := recent.Sum(points)
	ms := func(q float64) func(*recent.Point) float64 {
		return func(p *recent.Point) float64 {
			if p.Calls() == 0 {
				return math.NaN()
			}
			return float64(p.Quantile(q)) / float64(time.Millisecond)
		}
	}
	batch := func(p *recent.Point) float64 {
		if p.Batch() == 0 {
			return math.NaN()
		}
		return p.Batch()
	}
	rate := chart.Series{Class: "main", Filled: true, Values: series(fine, (*recent.Point).Rate)}
	bad := chart.Series{Class: "bad", Filled: true, Values: series(fine, func(p *recent.Point) float64 {
		return float64(p.Failed()) / p.Length.Seconds()
	})}
	answered := []chart.Series{rate}
	if whole.Failed() > 0 { // else its line would lie on the axis
		answered = append(answered, bad)
	}
	half, most := chart.Series{Class: "main", Values: series(fine, ms(0.5))}, chart.Series{Class: "second", Values: series(fine, ms(0.99))}
	waits := chart.Series{Class: "main", Filled: true, Values: series(fine, (*recent.Point).Waiting)}
	sizes := chart.Series{Class: "main", Filled: true, Values: series(fine, batch)}
	failed, slow := callsLink("status:failed"), slowLink(whole.Quantile(0.99), whole.Calls())
	figures := []figure{
		draw("c-rate", "Calls a second", "", 1, points, answered...),
		draw("c-time", "Time to answer", " ms", 1, points, half, most),
		draw("c-wait", "Calls waiting for a slot", "", 4, points, waits),
		draw("c-batch", "Requests in a call to a model server", "", 1, points, sizes),
	}
	figures[0].Legend = []legend{
		{"main", "answered or failed", count(whole.Calls()), Root + "/calls"}, {"bad", "failed", count(whole.Failed()), failed},
	}
	figures[1].Legend = []legend{
		{"main", "half within", within(&whole, 0.5), Root + "/calls"}, {"second", "99 % within", within(&whole, 0.99), slow},
	}
	figures[2].Legend = []legend{{"main", "on average", digits(whole.Waiting()), Root + "/routes"}}
	figures[3].Legend = []legend{{"main", "on average", digits(whole.Batch()), callsLink("batch:shared")}}
	for i := range figures {
		f := &figures[i]
		f.Summary = f.Title + ", the last " + span + ":"
		for _, l := range f.Legend {
			f.Summary += " " + l.Text + " " + l.Value + ";"
		}
	}
	return figures
}

// draw makes a chart whose columns lead to the calls in them.
func draw(id, title, unit string, least float64, points []recent.Point, lines ...chart.Series) figure {
	most := chart.Ceiling(least, lines...)
	coarse := grouped(points, marks)
	var columns []chart.Mark
	for i := range coarse {
		p := &coarse[i]
		if p.Length == 0 {
			columns = append(columns, chart.Mark{Text: p.At.UTC().Format("15:04:05 UTC") + ": nothing was noted", Link: Root + "/calls"})
			continue
		}
		end := p.At.Add(points[1].At.Sub(points[0].At) * time.Duration(len(points)/marks))
		text := p.At.UTC().Format("15:04:05 UTC") + ": " + plural(p.Calls(), "call", "calls") + ", " + count(p.Failed()) + " failed, half within " +
			took(p.Quantile(0.5)) + ", 99 % within " + took(p.Quantile(0.99)) + ", " + digits(p.Waiting()) + " waiting"
		columns = append(columns, chart.Mark{Text: text, Link: callsLink("from:" + p.At.UTC().Format(time.RFC3339) + " to:" + end.UTC().Format(time.RFC3339))})
	}
	return figure{ID: id, Title: title, Most: digits(most) + unit, Plot: chart.Plot(most, columns, lines...)}
}

// codes are the errors of a span, the most frequent first.
func codes(points []recent.Point) []codeRow {
	whole := recent.Sum(points)
	var rows []codeRow
	most := 0
	for _, code := range fault.Codes() {
		n := whole.Code(code)
		if n == 0 {
			continue
		}
		most = max(most, n)
		rows = append(rows, codeRow{Code: string(code), N: n, Link: callsLink("code:" + string(code))})
	}
	for i := range rows {
		rows[i].Part = float64(rows[i].N) / float64(most)
	}
	return rows
}
