package dashboard

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"headrace/api/problem"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/job"
)

// routesShown bounds the routes that a page shows.
const routesShown = 200

func routeLink(name string) string { return Root + "/routes#" + url.PathEscape(name) }

// routesView is the page of routes.
type routesView struct {
	Routes []routeRow
	More   int // that are not shown
}

func (routesView) events() string { return Root + "/live/routes" }

// routeRow is one route.
type routeRow struct {
	facts

	Name     string
	Tone     string // good, bad or still
	Says     string // in a word or two
	Rate     string
	Calls    string // link to them
	Jobs     int    // that wait
	JobsLink string
	Waits    []laneRow
	Replicas []replicaRow
	Batching []batchRow
}

type laneRow struct {
	Priority job.Priority
	Lane     job.Lane
	Age      time.Duration
}

type replicaRow struct {
	Address, State, Tone, Format string
	Busy, Failures               int
}

// batchRow is what one worker has learned of sharing calls.
type batchRow struct {
	inference.Batching

	Says   string
	Gain   float64 // how many times the requests would have taken one by one; 0 = not known
	Advice string  // for gateway.toml
}

// GainText is the gain as "3.1".
func (b batchRow) GainText() string { return digits(b.Gain) }

// listRoutes answers the page of routes.
func (s *Server) listRoutes(_ *http.Request, now time.Time) (any, error) {
	var v routesView
	for _, f := range s.facts(now) {
		if len(v.Routes) == routesShown {
			v.More++
			continue
		}
		v.Routes = append(v.Routes, routeRowOf(&f, now))
	}
	return v, nil
}

func routeRowOf(f *facts, now time.Time) routeRow {
	row := routeRow{
		facts: *f, Name: f.Route.Name, Jobs: f.waiting(), Rate: "0", Calls: callsLink("route:" + f.Route.Name),
		JobsLink: jobsLink("route:" + f.Route.Name + " status:queued"),
	}
	if row.Stats == nil {
		row.Stats = &stats{}
	}
	row.Rate = digits(row.Stats.Rate)
	row.Tone, row.Says = mood(f)
	for _, p := range job.Priorities() {
		if lane, ok := f.Lanes[p]; ok {
			l := laneRow{Priority: p, Lane: lane}
			if !lane.Oldest.IsZero() {
				l.Age = max(now.Sub(lane.Oldest), 0)
			}
			row.Waits = append(row.Waits, l)
		}
	}
	for _, r := range f.State.Replicas {
		tone := map[string]string{"up": "good", "down": "bad", "aside": "warn"}[r.State]
		row.Replicas = append(row.Replicas, replicaRow{inference.PublicAddress(r.URL), r.State, cmp.Or(tone, "still"), r.Format, r.Busy, r.Failures})
	}
	if len(row.Replicas) == 0 {
		for _, server := range f.Route.Servers {
			row.Replicas = append(row.Replicas, replicaRow{Address: inference.PublicAddress(server), State: "unknown", Tone: "still"})
		}
	}
	for _, b := range f.State.Batching {
		row.Batching = append(row.Batching, batchRowOf(b))
	}
	return row
}

// mood is how a route fares, in a word or two.
func mood(f *facts) (tone, says string) {
	switch {
	case f.State.Workers == 0:
		return "bad", "no workers"
	case slices.ContainsFunc(f.State.Replicas, func(r inference.Replica) bool { return r.State == "down" }):
		return "bad", "replica down"
	case f.Stats != nil && float64(f.Stats.Failed) > failedPart*float64(f.Stats.Calls):
		return "bad", "failing"
	case f.Paused:
		return "warn", "jobs paused"
	}
	return "good", "well"
}

// batchRowOf says what was learned.
func batchRowOf(b inference.Batching) batchRow {
	row := batchRow{Batching: b}
	if b.Calls > 0 && b.Requests > 0 && b.CallMS > 0 {
		each := float64(b.Items) / float64(b.Requests)
		alone := float64(b.Requests) * (b.CallMS + each*b.ItemMS)
		shared := float64(b.Calls)*b.CallMS + float64(b.Items)*b.ItemMS
		row.Gain = alone / shared
	}
	switch {
	case b.Mode == inference.BatchOff || b.Stage == "off":
		row.Says = "Requests do not share calls here."
	case b.Stage == "unproven" || b.Stage == "probing":
		row.Says = "Whether requests may share a call is being found out."
	case b.Stage == "refuted":
		row.Says = "Requests must not share calls: " + plain(b.Reason) + "."
		row.Advice = `batch.mode = "off" says so for good`
	case b.Pays != nil && !*b.Pays:
		row.Says = "Sharing calls does not pay on this route."
		row.Advice = `batch.mode = "off" spares the attempts`
	case b.Pays != nil:
		row.Says = "Sharing calls pays on this route."
	default:
		row.Says = "Requests may share calls; whether that pays is not known yet."
	}
	return row
}

// changeQueue answers pause and resume.
func (s *Server) changeQueue(w http.ResponseWriter, r *http.Request) {
	name, verb := r.PathValue("name"), r.PathValue("verb")
	if s.Routes.Table().Route(name) == nil {
		s.fail(w, r, problem.NoRoute(problem.Headrace, name))
		return
	}
	if verb != "pause" && verb != "resume" {
		s.fail(w, r, fault.New(fault.NotFound, "A queue can be paused and resumed, not %s.", problem.Quotable(verb)))
		return
	}
	if err := s.Queues.Pause(r.Context(), name, verb == "pause"); err != nil {
		s.fail(w, r, err)
		return
	}
	s.Log.InfoContext(r.Context(), "a queue was changed from the dashboard", "route", name, "what", verb)
	http.Redirect(w, r, routeLink(name), http.StatusSeeOther) //nolint:gosec // below Root, and escaped
}

func sortByBegin(rows []togetherRow) {
	slices.SortStableFunc(rows, func(a, b togetherRow) int { return a.Row.Call.Began.Compare(b.Row.Call.Began) })
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// zeroless is a count, or nothing.
func zeroless(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}
