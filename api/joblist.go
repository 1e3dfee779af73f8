package api

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"headrace/api/jobfilter"
	"headrace/api/problem"
	"headrace/internal/fault"
	"headrace/internal/job"
)

const (
	// maxPage is how many jobs one page lists at most, and listHands how many of their records are read at a time.
	maxPage   = 200
	listHands = 16
	// maxRedrive is how many dead jobs one request runs again.
	maxRedrive = 1000
)

// JobList finds jobs. Errors are *fault.Error.
type JobList interface {
	// Page gives the ids of jobs, the newest first, and whether there are more. What was written before is found.
	Page(ctx context.Context, f job.Filter) (ids []job.ID, more bool, err error)
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
	f, err := jobfilter.Read(r.URL.RawQuery, jobfilter.Params())
	if err != nil {
		return err
	}
	return l.writePage(w, r, f)
}

// listDead answers GET /v1/dead.
func (l *jobLists) listDead(w *replyWriter, r *http.Request, _ string) error {
	f, err := jobfilter.Read(r.URL.RawQuery, jobfilter.Params("status", "dead"))
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
	writeJSON(w, http.StatusOK, page)
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
	f, err := jobfilter.Read(r.URL.RawQuery, jobfilter.Params("status", "dead", "after", "before"))
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
	writeJSON(w, http.StatusAccepted, struct {
		Object  string     `json:"object"`
		Data    []redriven `json:"data"`
		HasMore bool       `json:"has_more"`
	}{"list", done, more})
	return nil
}
