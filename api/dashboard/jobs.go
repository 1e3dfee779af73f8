package dashboard

import (
	"bytes"
	"context"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"headrace/api/dashboard/chart"
	"headrace/api/problem"
	"headrace/internal/fault"
	"headrace/internal/job"
)

const (
	// maxBody is the largest input or result that a page shows, in bytes; larger ones are downloaded.
	maxBody = 16 << 10
	// hands is how many records a list reads at a time.
	hands = 16
	// erasing is how long a job that runs may take to end before it is erased.
	erasing = 10 * time.Second
)

func jobsLink(line string) string { return listLink(Root+"/jobs", line) }

func jobLink(id job.ID) string { return Root + "/jobs/" + url.PathEscape(string(id)) }

// jobPages are the pages of jobs.
type jobPages struct{ *Server }

// jobRow is one line of a list of jobs.
type jobRow struct {
	Rec  *job.Record
	Link string
	Tone string
	Took time.Duration // of this run, so far
}

func jobRowOf(rec *job.Record, now time.Time) jobRow {
	end := now
	if rec.FinishedAt != nil {
		end = *rec.FinishedAt
	}
	return jobRow{Rec: rec, Link: jobLink(rec.ID), Tone: toneOf(rec.State), Took: max(end.Sub(rec.Began()), 0)}
}

// toneOf is the colour of a state.
func toneOf(s job.State) string {
	switch s {
	case job.Succeeded:
		return "good"
	case job.Failed, job.Expired:
		return "bad"
	case job.Running, job.Cancelling:
		return "busy"
	case job.Scheduled, job.Queued, job.Retrying, job.Cancelled, job.Erased:
	}
	return "still"
}

// listJobs answers the list of jobs.
func (s jobPages) listJobs(r *http.Request, now time.Time) (any, error) {
	query := r.URL.Query()
	v := listView{Line: strings.TrimSpace(query.Get("q")), Routes: s.routeNames()}
	v.Hint = "route:embeddings status:failed older:1h tag:nightly"
	v.Words = []string{"status:failed", "status:queued", "status:running", "status:succeeded", "priority:batch", "older:1h", "newer:1h", "tag:", "code:upstream_timeout"}
	v.Chips = chipsOf(v.Line, jobsLink, "All", "", "Waiting", "status:queued,scheduled,retrying", "Running", "status:running", "Failed", "status:failed", "Succeeded", "status:succeeded")
	f, id, err := jobFilter(v.Line, now)
	if id != "" {
		return nil, redirect(jobLink(id))
	}
	if err != nil {
		v.Problem = fault.From(err).Message
		return v, nil
	}
	if err := goOn(&f, query); err != nil {
		return nil, err
	}
	ids, more, err := s.Finder.Page(r.Context(), f)
	if err != nil {
		return nil, err
	}
	records, err := s.records(r.Context(), ids)
	if err != nil {
		return nil, err
	}
	for _, rec := range records {
		if rec != nil && !rec.Gone(now) && (len(f.States) == 0 || slices.Contains(f.States, rec.State)) {
			v.Jobs = append(v.Jobs, jobRowOf(rec, now))
		}
	}
	if len(ids) > 0 && (more || f.Before != "") {
		v.Older = jobsLink(v.Line) + "&after=" + url.QueryEscape(string(ids[len(ids)-1]))
	}
	if len(ids) > 0 && (f.After != "" || f.Before != "" && more) {
		v.Newer = jobsLink(v.Line) + "&before=" + url.QueryEscape(string(ids[0]))
	}
	return v, nil
}

// goOn sets where a page begins.
func goOn(f *job.Filter, query url.Values) error {
	for name, cursor := range map[string]*job.ID{"after": &f.After, "before": &f.Before} {
		text := query.Get(name)
		if text == "" {
			continue
		}
		id, ok := job.ParseID(text)
		if !ok {
			return problem.NoJob(text)
		}
		*cursor = id
	}
	return nil
}

// records reads several at a time; nil for those that are gone.
func (s jobPages) records(ctx context.Context, ids []job.ID) ([]*job.Record, error) {
	records := make([]*job.Record, len(ids))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(hands)
	for i, id := range ids {
		group.Go(func() error {
			rec, err := s.Jobs.Get(ctx, id)
			if err != nil && fault.CodeOf(err) != fault.NotFound {
				return err
			}
			records[i] = rec
			return nil
		})
	}
	return records, group.Wait()
}

// jobView is one job.
type jobView struct {
	Row      jobRow
	Words    string
	Begins   time.Time
	Steps    []step
	Axis     []string
	Facts    []fact
	Input    bodyView
	Result   bodyView
	CanStop  bool
	CanRetry bool
	CanErase bool
}

func (v jobView) title() string { return "Job " + string(v.Row.Rec.ID) }

func (v jobView) events() string {
	if v.Row.Rec.State.Terminal() {
		return ""
	}
	return Root + "/live/jobs/" + url.PathEscape(string(v.Row.Rec.ID))
}

// fact is a line of what is known beside the history.
type fact struct {
	Name string
	Text string
	Link string
}

// bodyView is an input or a result.
type bodyView struct {
	Size int64
	Text string // "" when it is not shown
	Why  string // it is not
	Link string // to all of it
}

// jobOf reads the job of a path.
func (s jobPages) jobOf(r *http.Request) (*job.Record, error) {
	id, ok := job.ParseID(r.PathValue("id"))
	if !ok {
		return nil, problem.NoJob(r.PathValue("id"))
	}
	return s.Jobs.Get(r.Context(), id)
}

// showJob answers one job.
func (s jobPages) showJob(r *http.Request, now time.Time) (any, error) {
	rec, err := s.jobOf(r)
	if err != nil {
		return nil, err
	}
	v := jobView{Row: jobRowOf(rec, now), Begins: rec.Began(), Facts: factsOf(rec)}
	v.Steps, v.Axis = history(rec, now)
	v.Words = s.standing(r.Context(), rec)
	gone := rec.Gone(now)
	v.CanStop = !rec.State.Terminal() && rec.State != job.Cancelling
	v.CanRetry = !gone && (rec.State == job.Failed || rec.State == job.Cancelled || rec.State == job.Expired)
	v.CanErase = !gone && rec.State != job.Erased
	if gone {
		v.Input.Why, v.Result.Why = "It is not kept any more.", "It is not kept any more."
		return v, nil
	}
	v.Input, v.Result = s.input(r.Context(), rec), s.result(r.Context(), rec)
	return v, nil
}

func (s jobPages) input(ctx context.Context, rec *job.Record) bodyView {
	if rec.Input == nil {
		return bodyView{Why: "It is not stored."}
	}
	v := bodyView{Size: rec.Input.Bytes, Link: "/v1/jobs/" + url.PathEscape(string(rec.ID)) + "/input"}
	if v.Size > maxBody {
		v.Why = "It is too large for this page."
		return v
	}
	text, err := s.Bodies.Input(ctx, rec)
	if err != nil {
		v.Why = plain(fault.From(err).Message)
		return v
	}
	v.Text = indented(text)
	return v
}

// result shows what the model said; the link gives it in the dialect that the job was placed in.
func (s jobPages) result(ctx context.Context, rec *job.Record) bodyView {
	if rec.Result == nil {
		if rec.State == job.Succeeded {
			return bodyView{Why: "It is not stored."}
		}
		return bodyView{Why: "There is none."}
	}
	v := bodyView{Size: rec.Result.Bytes, Link: "/v1/jobs/" + url.PathEscape(string(rec.ID)) + "/result"}
	if v.Size > maxBody {
		v.Why = "It is too large for this page."
		return v
	}
	res, err := s.Bodies.Result(ctx, rec)
	if err != nil {
		v.Why = plain(fault.From(err).Message)
		return v
	}
	defer res.Release()
	text := res.Body
	if len(text) == 0 {
		text = slices.Concat([]byte("["), bytes.Join(res.Items, []byte(", ")), []byte("]"))
	}
	v.Text = indented(text)
	return v
}

// standing says in words where a job stands.
func (s jobPages) standing(ctx context.Context, rec *job.Record) string {
	switch rec.State {
	case job.Queued:
		if s.Queues.Paused(rec.Route) {
			return "It waits: the queue of " + rec.Route + " is paused."
		}
		place, ok := s.Queues.Place(ctx, rec)
		switch {
		case !ok:
			return "It waits for a slot."
		case place.Wait > 0:
			return "It waits for a slot, at place " + count(place.Ahead) + " of its queue: about " + took(place.Wait) + " from here."
		}
		return "It waits for a slot, at place " + count(place.Ahead) + " of its queue."
	case job.Scheduled:
		return "It waits for its time."
	case job.Retrying:
		return "Its last attempt failed; it is tried again at its time."
	case job.Running:
		return "It runs, on " + plain(rec.Owner) + "."
	case job.Cancelling:
		return "It is being cancelled."
	case job.Failed, job.Cancelled, job.Expired:
		if rec.Error != nil {
			return plain(rec.Error.Code + ": " + rec.Error.Message)
		}
		return plain(rec.Reason)
	case job.Succeeded:
		if rec.StartedAt != nil && rec.FinishedAt != nil {
			return "It waited for " + took(rec.StartedAt.Sub(rec.Began())) + " and ran for " + took(rec.FinishedAt.Sub(*rec.StartedAt)) + "."
		}
	case job.Erased:
		return "Its input and result were erased."
	}
	return ""
}

// history is the timeline of the run that is recorded last.
func history(rec *job.Record, now time.Time) (steps []step, ends []string) {
	begin, end := rec.Began(), now
	if rec.FinishedAt != nil {
		end = *rec.FinishedAt
	}
	whole := max(end.Sub(begin), time.Millisecond)
	part := func(text, note, class string, from, to time.Time) {
		at, length := max(from.Sub(begin), 0), max(to.Sub(from), 0)
		steps = append(steps, step{Text: text, Note: note, At: at, Took: length, Bar: bar(class, at, length, whole)})
	}
	part("Accepted", string(rec.Priority)+" priority", "rest", begin, begin)
	last := begin
	for _, a := range rec.Attempts {
		if a.Run != rec.Run || a.StartedAt.Before(begin) {
			continue
		}
		part("Waited", "", "wait", last, a.StartedAt)
		to := end
		if a.EndedAt != nil {
			to = *a.EndedAt
		}
		note, class := a.Outcome+" on "+a.Worker, "run"
		if a.Error != nil {
			note, class = a.Outcome+" on "+a.Worker+": "+a.Error.Code+": "+a.Error.Message, "bad"
		}
		part("Attempt "+count(a.N), plain(note), class, a.StartedAt, to)
		last = to
	}
	if rec.FinishedAt == nil && last.Before(now) && rec.State.Waiting() {
		part("Waiting", string(rec.State), "wait", last, now)
	}
	if rec.FinishedAt != nil {
		part(strings.ToUpper(string(rec.State[:1]))+string(rec.State[1:]), plain(rec.Reason), "rest", *rec.FinishedAt, *rec.FinishedAt)
	}
	return steps, axis(whole)
}

func bar(class string, at, length, whole time.Duration) template.HTML {
	return chart.Bar(chart.Part{Class: class, From: float64(at) / float64(whole), To: float64(at+length) / float64(whole)})
}

// factsOf are the options of a job, and what it is called.
func factsOf(rec *job.Record) []fact {
	moment := func(t *time.Time) string {
		if t == nil || t.IsZero() {
			return ""
		}
		return t.UTC().Format("2006-01-02 15:04:05 UTC")
	}
	all := []fact{
		{"Route", rec.Route, routeLink(rec.Route)},
		{"Provider", rec.Provider, ""},
		{"Priority", string(rec.Priority), jobsLink("priority:" + string(rec.Priority))},
		{"Run", count(rec.Run), ""},
		{"Attempts", count(rec.Attempt) + " of " + count(rec.Retry.MaxAttempts), ""},
		{"Interruptions", zeroless(rec.Interruptions), ""},
		{"Starts at", moment(rec.RunAt), ""},
		{"Next attempt", moment(rec.NextAttemptAt), ""},
		{"Deadline", moment(&rec.Deadline), ""},
		{"Kept until", moment(rec.ExpiresAt), ""},
		{"Keeps", string(rec.Store), ""},
		{"Durability", rec.Durability, ""},
		{"Idempotency key", plain(rec.IdempotencyKey), ""},
		{"Request", plain(rec.RequestID), callsLink("id:" + rec.RequestID)},
	}
	for _, tag := range rec.Tags {
		all = append(all, fact{"Tag", plain(tag), jobsLink(`tag:"` + tag + `"`)})
	}
	for _, key := range sortedKeys(rec.Metadata) {
		all = append(all, fact{plain(key), plain(rec.Metadata[key]), ""})
	}
	return slices.DeleteFunc(all, func(f fact) bool { return f.Text == "" })
}

// changeJob answers what is done with one job.
func (s jobPages) changeJob(w http.ResponseWriter, r *http.Request) {
	rec, err := s.jobOf(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	verb := r.PathValue("verb")
	switch verb {
	case "cancel":
		_, err = s.Jobs.Cancel(r.Context(), rec.ID)
	case "retry":
		_, err = s.Jobs.Retry(r.Context(), rec.ID)
	case "erase":
		if r.PostFormValue("sure") == "" {
			err = fault.New(fault.Invalid, "Tick the box beside Erase first: what is erased does not come back.")
			break
		}
		ctx, cancel := context.WithTimeout(r.Context(), erasing)
		defer cancel()
		err = s.Jobs.Erase(ctx, rec.ID)
	default:
		err = fault.New(fault.NotFound, "Nothing like %s can be done with a job.", problem.Quotable(verb))
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.Log.InfoContext(r.Context(), "a job was changed from the dashboard", "job", rec.ID, "what", verb)
	http.Redirect(w, r, jobLink(rec.ID), http.StatusSeeOther)
}
