package api

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"headrace/api/problem"
	"headrace/internal/fault"
	"headrace/internal/job"
)

const (
	// maxPage is how many jobs one page lists at most, and listHands how many of their records are read at a time.
	maxPage   = 200
	listHands = 16
	// defaultPage is how many it lists when the caller does not say.
	defaultPage = 20
	// maxRedrive is how many dead jobs one request runs again.
	maxRedrive = 1000
	// metadataParam is the prefix of parameters that name a key of the metadata.
	metadataParam = "metadata."
)

// JobList finds jobs. Errors are *fault.Error.
type JobList interface {
	// Page gives the ids of jobs, the newest first, and whether there are more. What was written before is found.
	Page(ctx context.Context, f job.Filter) (ids []job.ID, more bool, err error)
}

// listParams names the parameters of a list.
func listParams(without ...string) []string {
	return slices.DeleteFunc([]string{
		"status", "route", "provider", "priority", "tag", metadataParam + "KEY", "error_code", "dead", "created_after",
		"created_before", "finished_after", "finished_before", "limit", "after", "before",
	}, func(name string) bool { return slices.Contains(without, name) })
}

// readQuery reads a query whole: a part that cannot be read must not be left out, for a filter less means more jobs.
func readQuery(r *http.Request) (url.Values, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the query cannot be read: %s; write name=value, joined by &, with %%XX for what is special", err)
	}
	return query, nil
}

// readFilter reads the query of a list. Every error names its parameter.
func readFilter(r *http.Request, known []string) (f job.Filter, err error) {
	query, err := readQuery(r)
	if err != nil {
		return f, err
	}
	f.Limit = defaultPage
	for name, values := range query {
		if !slices.Contains(known, name) && !strings.HasPrefix(name, metadataParam) {
			return f, problem.Param(name, "there is no parameter %q; there are %s", problem.Quotable(name), strings.Join(known, ", "))
		}
		if len(values) > 1 && name != "status" && name != "tag" {
			return f, problem.Param(name, "%s is given %d times; give it once", problem.Quotable(name), len(values))
		}
		if slices.Contains(values, "") { // less of a filter would mean more jobs
			return f, problem.Param(name, "%s is empty; leave it out, or give it a value", problem.Quotable(name))
		}
		if err := setFilter(&f, name, values); err != nil {
			return f, err
		}
	}
	if f.After != "" && f.Before != "" {
		return f, problem.Param("before", "after and before exclude each other")
	}
	return f, nil
}

// setFilter reads one parameter.
func setFilter(f *job.Filter, name string, values []string) (err error) {
	value := values[0]
	if key, found := strings.CutPrefix(name, metadataParam); found {
		if f.Metadata == nil {
			f.Metadata = make(map[string]string)
		}
		f.Metadata[key] = value
		return nil
	}
	switch name {
	case "status":
		f.States, err = readStates(values)
	case "dead":
		if value != "true" {
			return problem.Param(name, "dead can only be true: it is short for status=failed")
		}
		f.States = []job.State{job.Failed}
	case "route":
		f.Route = value
	case "provider":
		f.Provider = value
	case "priority":
		f.Priority = job.Priority(value)
		if !slices.Contains(job.Priorities(), f.Priority) {
			return problem.Param(name, "priority must be interactive, standard or batch")
		}
	case "tag":
		f.Tags = values
	case "error_code":
		f.ErrorCode = value
		if !slices.Contains(fault.Codes(), fault.Code(value)) {
			return problem.Param(name, "there is no error_code %q; docs/errors.md lists them", problem.Quotable(value))
		}
	case "created_after":
		f.CreatedAfter, err = readTime(name, value)
	case "created_before":
		f.CreatedBefore, err = readTime(name, value)
	case "finished_after":
		f.FinishedAfter, err = readTime(name, value)
	case "finished_before":
		f.FinishedBefore, err = readTime(name, value)
	case "limit":
		if f.Limit, err = strconv.Atoi(value); err != nil || f.Limit < 1 {
			return problem.Param(name, "limit must be a number from 1 on")
		}
	case "after":
		f.After, err = readCursor(name, value)
	case "before":
		f.Before, err = readCursor(name, value)
	}
	return err
}

// readStates reads a repeated parameter, each with one state or several with commas.
func readStates(values []string) (states []job.State, err error) {
	known := []job.State{
		job.Scheduled, job.Queued, job.Running, job.Retrying, job.Cancelling, job.Succeeded, job.Failed, job.Cancelled, job.Expired,
	}
	for _, value := range values {
		for text := range strings.SplitSeq(value, ",") {
			state := job.State(strings.TrimSpace(text))
			if !slices.Contains(known, state) {
				return nil, problem.Param("status", "there is no status %q; there are %v", problem.Quotable(text), known)
			}
			states = append(states, state)
		}
	}
	return states, nil
}

// readTime reads an RFC 3339 time or seconds since 1970.
func readTime(name, value string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, value); err == nil {
		return t, nil
	}
	seconds, err := strconv.ParseFloat(value, 64)
	if err != nil || !(seconds > 0 && seconds < 1e11) {
		return time.Time{}, problem.Param(name, "%s must be a time as in 2026-01-31T12:00:00Z, or seconds since 1970", name)
	}
	return time.UnixMilli(int64(seconds * 1000)), nil
}

func readCursor(name, value string) (job.ID, error) {
	id, ok := job.ParseID(value)
	if !ok {
		return "", problem.Param(name, "%s must be the id of a job: last_id or first_id of the page before", name)
	}
	return id, nil
}

// jobPage is a page of a list.
type jobPage struct {
	Object  string    `json:"object"`
	Data    []jobView `json:"data"`
	FirstID *job.ID   `json:"first_id"`
	LastID  *job.ID   `json:"last_id"`
	HasMore bool      `json:"has_more"`
}

// jobLists has the paths of many jobs.
type jobLists struct {
	*jobDesk

	finder JobList
}

// listJobs answers GET /v1/jobs.
func (l *jobLists) listJobs(w *replyWriter, r *http.Request, _ string) error {
	f, err := readFilter(r, listParams())
	if err != nil {
		return err
	}
	return l.writePage(w, r, f)
}

// listDead answers GET /v1/dead.
func (l *jobLists) listDead(w *replyWriter, r *http.Request, _ string) error {
	f, err := readFilter(r, listParams("status", "dead"))
	if err != nil {
		return err
	}
	f.States = []job.State{job.Failed}
	return l.writePage(w, r, f)
}

func (l *jobLists) writePage(w *replyWriter, r *http.Request, f job.Filter) error {
	if f.Limit > maxPage {
		return problem.Param("limit", "limit must be at most %d; go on with after=last_id", maxPage)
	}
	ids, more, err := l.finder.Page(r.Context(), f)
	if err != nil {
		return err
	}
	records, err := l.records(r.Context(), ids)
	if err != nil {
		return err
	}
	page := jobPage{Object: "list", Data: []jobView{}, HasMore: more}
	for _, rec := range records {
		// What has changed since it was listed, and does not fit any more, is left out.
		if rec != nil && !rec.Gone(time.Now()) && (len(f.States) == 0 || slices.Contains(f.States, rec.State)) {
			page.Data = append(page.Data, l.viewJob(rec))
		}
	}
	if len(ids) > 0 { // also of those left out, so that the next page begins behind them
		page.FirstID, page.LastID = &ids[0], &ids[len(ids)-1]
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, "application/json", page)
	return nil
}

// records reads records, several at a time; nil for those that are gone.
func (l *jobLists) records(ctx context.Context, ids []job.ID) ([]*job.Record, error) {
	records, errs := make([]*job.Record, len(ids)), make([]error, len(ids))
	next := make(chan int)
	var hands sync.WaitGroup
	for range min(listHands, len(ids)) {
		hands.Go(func() {
			for i := range next {
				records[i], errs[i] = l.jobs.Get(ctx, ids[i])
			}
		})
	}
	for i := range ids {
		next <- i
	}
	close(next)
	hands.Wait()
	for i, err := range errs {
		if err != nil && fault.CodeOf(err) != fault.NotFound {
			return nil, err
		}
		if err != nil {
			records[i] = nil
		}
	}
	return records, nil
}

// redriveJob answers POST /v1/dead/{id}/redrive.
func (l *jobLists) redriveJob(w *replyWriter, r *http.Request, name string) error {
	rec, err := l.known(r.Context(), name)
	if err != nil {
		return err
	}
	if rec.State != job.Failed {
		return fault.New(fault.Conflict, "job %s is %s; only failed jobs are redriven", rec.ID, rec.State)
	}
	return (&jobReader{l.jobDesk}).retryJob(w, r, name)
}

// redriven says what became of a dead job that was to run again.
type redriven struct {
	ID     job.ID `json:"id"`
	Status int    `json:"status"`
	Error  any    `json:"error,omitempty"`
}

// redriveMany answers POST /v1/dead/redrive.
func (l *jobLists) redriveMany(w *replyWriter, r *http.Request, _ string) error {
	body, err := l.readBody(w, r, deadlineIn(l.cfg.SyncTimeout))
	defer l.release(body)
	if err != nil {
		return err
	}
	if text := string(bytes.TrimSpace(body.bytes)); text != "" && text != "{}" { // which many clients send with every POST
		return fault.New(fault.Invalid, "unexpected request body; select jobs with the query string, as in ?error_code=upstream_timeout")
	}
	f, err := readFilter(r, listParams("status", "dead", "after", "before"))
	if err != nil {
		return err
	}
	if !r.URL.Query().Has("limit") {
		f.Limit = maxRedrive
	}
	if f.Limit > maxRedrive {
		return problem.Param("limit", "limit must be at most %d; what is redriven fails no more, so call again for the rest", maxRedrive)
	}
	f.States = []job.State{job.Failed}
	ids, more, err := l.finder.Page(r.Context(), f)
	if err != nil {
		return err
	}
	done := make([]redriven, 0, len(ids))
	for _, id := range ids {
		if _, err := l.jobs.Retry(r.Context(), id); err != nil {
			status, problem := l.itemProblem(r.Context(), slog.String("job", string(id)), err, w.id)
			done = append(done, redriven{ID: id, Status: status, Error: problem})
			continue
		}
		done = append(done, redriven{ID: id, Status: http.StatusAccepted})
	}
	writeJSON(w, http.StatusAccepted, "application/json", struct {
		Object  string     `json:"object"`
		Data    []redriven `json:"data"`
		HasMore bool       `json:"has_more"`
	}{"list", done, more})
	return nil
}
