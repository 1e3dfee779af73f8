package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"headrace/api/jobfilter"
	"headrace/api/jobspec"
	"headrace/api/problem"
	"headrace/internal/fault"
	"headrace/internal/job"
)

// jobReader has the paths of one job that was placed.
type jobReader struct{ *jobDesk }

// known reads a job and refuses those of which nothing is left.
func (d *jobDesk) known(ctx context.Context, name string) (*job.Record, error) {
	id, ok := job.ParseID(name)
	if !ok {
		return nil, problem.NoJob(name)
	}
	rec, err := d.jobs.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	return rec, left(rec)
}

// endOf is known for a caller who waits for the end.
func (d *jobDesk) endOf(ctx context.Context, name string, wait time.Duration) (*job.Record, error) {
	id, ok := job.ParseID(name)
	if !ok || wait <= 0 {
		return d.known(ctx, name)
	}
	ctx, cancel := d.patient(ctx, wait)
	defer cancel()
	rec, err := d.jobs.WaitEnd(ctx, id)
	if err != nil {
		return nil, err
	}
	return rec, left(rec)
}

// left is nil as long as a job's input and result are kept.
func left(rec *job.Record) error {
	if !rec.Gone(time.Now()) {
		return nil
	}
	how := "expired"
	if rec.State == job.Erased {
		how = "was erased"
	}
	return fault.New(fault.Gone, "job %s %s at %s", rec.ID, how, rec.ExpiresAt.UTC().Format(time.RFC3339))
}

// getJob answers GET /v1/jobs/{id}.
func (j *jobReader) getJob(w *replyWriter, r *http.Request, name string) error {
	rec, err := j.known(r.Context(), name)
	if err != nil {
		return err
	}
	wait, err := j.waitOf(w, r)
	if err != nil {
		return err
	}
	seen := r.Header.Get("If-None-Match")
	// With a revision the caller waits for news of it, else for the end.
	content := func(rec *job.Record) bool {
		return rec.State.Terminal() || seen != "" && !matches(seen, etag(rec))
	}
	if wait > 0 && !content(rec) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // test recorders have none
		ctx, cancel := j.patient(r.Context(), wait)
		defer cancel()
		if rec, err = j.jobs.Wait(ctx, rec.ID, content); err != nil {
			return err
		}
		if err := left(rec); err != nil {
			return err
		}
	}
	header := w.Header()
	header.Set("ETag", etag(rec))
	if !rec.State.Terminal() {
		header.Set("Retry-After", j.pollHint(rec))
	}
	if seen != "" && matches(seen, etag(rec)) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	j.writeJob(r.Context(), w, rec)
	return nil
}

// waitOf is how long a caller wants to be held: ?wait=, or Prefer: wait.
func (j *jobReader) waitOf(w http.ResponseWriter, r *http.Request) (time.Duration, error) {
	query, err := jobfilter.Query(r.URL.RawQuery)
	if err != nil {
		return 0, err
	}
	text := query.Get("wait")
	if !query.Has("wait") {
		p, err := jobspec.PreferenceOf(r.Header, j.cfg.Jobs.MaxWait)
		if err == nil && p.Asked {
			w.Header().Set(jobspec.HeaderApplied, jobspec.Preference{Asked: true, Wait: p.Wait}.Applied())
		}
		return p.Wait, err
	}
	return jobspec.ReadWait(text, j.cfg.Jobs.MaxWait)
}

// matches reports whether a list of entity tags names tag.
func matches(list, tag string) bool {
	for one := range strings.SplitSeq(list, ",") {
		if one = strings.TrimPrefix(strings.TrimSpace(one), "W/"); one == tag || one == "*" {
			return true
		}
	}
	return false
}

// jobResult answers GET /v1/jobs/{id}/result.
func (j *jobReader) jobResult(w *replyWriter, r *http.Request, name string) error {
	wait, err := j.waitOf(w, r)
	if err != nil {
		return err
	}
	rec, err := j.endOf(r.Context(), name, wait)
	if err != nil {
		return err
	}
	w.Header().Set("Job-Id", string(rec.ID))
	w.Header().Set("Job-Status", string(rec.State))
	if !rec.State.Terminal() {
		return j.accepted(w, rec)
	}
	if rec.State == job.Failed {
		f := fault.From(failure(rec))
		return fault.New(fault.JobFailed, "the job failed: %s: %s", f.Code, f.Message)
	}
	return j.deliver(r.Context(), w, rec)
}

// jobInput answers GET /v1/jobs/{id}/input.
func (j *jobReader) jobInput(w *replyWriter, r *http.Request, name string) error {
	rec, err := j.known(r.Context(), name)
	if err != nil {
		return err
	}
	if rec.Input == nil || rec.State == job.Succeeded && (rec.Store == job.StoreOutputs || rec.Store == job.StoreNone) {
		return fault.New(fault.Gone, "the input of job %s is not stored: the job has store=%q", rec.ID, rec.Store)
	}
	if err := j.budget.Reserve(r.Context(), rec.Input.Bytes); err != nil {
		return fault.Wrap(fault.QueueFull, err, "no room for the input in api.max_inflight_bytes; try again")
	}
	defer j.budget.Release(rec.Input.Bytes)
	body, err := j.jobs.Input(r.Context(), rec)
	if err != nil {
		return err
	}
	w.Header().Set("X-Content-Type-Options", "nosniff") // it is the caller's own text
	writeBytes(w, http.StatusOK, "application/json", body)
	return nil
}

// jobAttempts answers GET /v1/jobs/{id}/attempts.
func (j *jobReader) jobAttempts(w *replyWriter, r *http.Request, name string) error {
	rec, err := j.known(r.Context(), name)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, struct {
		Object string        `json:"object"`
		Data   []attemptView `json:"data"`
	}{"list", viewAttempts(rec)})
	return nil
}

// cancelJob answers POST /v1/jobs/{id}/cancel: 200 when the job has ended, 202 while it is being aborted.
func (j *jobReader) cancelJob(w *replyWriter, r *http.Request, name string) error {
	rec, err := j.known(r.Context(), name)
	if err != nil {
		return err
	}
	if rec, err = j.jobs.Cancel(r.Context(), rec.ID); err != nil {
		return err
	}
	if !rec.State.Terminal() {
		return j.accepted(w, rec)
	}
	j.writeJob(r.Context(), w, rec)
	return nil
}

// retryJob answers POST /v1/jobs/{id}/retry.
func (j *jobReader) retryJob(w *replyWriter, r *http.Request, name string) error {
	rec, err := j.known(r.Context(), name)
	if err != nil {
		return err
	}
	if rec, err = j.jobs.Retry(r.Context(), rec.ID); err != nil {
		return err
	}
	announceJob(w, rec, jobspec.Preference{})
	return j.accepted(w, rec)
}

// deleteJob answers DELETE /v1/jobs/{id}. A running job is cancelled first; when that takes too long, 202 says that
// it is under way and the call may be repeated.
func (j *jobReader) deleteJob(w *replyWriter, r *http.Request, name string) error {
	rec, err := j.known(r.Context(), name)
	if err != nil {
		return err
	}
	ctx, cancel := j.patient(r.Context(), j.cfg.Jobs.MaxWait)
	defer cancel()
	err = j.jobs.Erase(ctx, rec.ID)
	if fault.CodeOf(err) == fault.Conflict { // it did not end in time
		if rec, err = j.jobs.Get(r.Context(), rec.ID); err == nil {
			return j.accepted(w, rec)
		}
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// jobLimits answers GET /v1/limits.
func (q *queueDesk) jobLimits(w *replyWriter, _ *http.Request, _ string) error {
	c := q.cfg.Jobs
	seconds := func(d time.Duration) float64 { return d.Seconds() }
	writeJSON(w, http.StatusOK, map[string]any{
		"max_body_bytes": q.cfg.MaxBody, "sync_timeout_seconds": seconds(q.cfg.SyncTimeout),
		"max_wait_seconds": seconds(c.MaxWait), "deadline_seconds": seconds(c.Deadline), "max_deadline_seconds": seconds(c.MaxDeadline),
		"max_run_at_seconds": seconds(jobspec.Furthest), "max_waiting": c.MaxWaiting,
		"result_ttl_seconds": seconds(c.ResultTTL), "max_result_ttl_seconds": seconds(c.MaxTTL),
		"idempotency_key_seconds": seconds(c.KeyLife), "max_idempotency_key_chars": jobspec.MaxKey, "max_attempts": c.MaxAttempts,
		"max_batch": jobspec.MaxBatch, "max_page": maxPage, "max_redrive": maxRedrive, "max_inline_result_bytes": inlineResult,
		"max_metadata": jobspec.MaxMetadata, "max_tags": jobspec.MaxTags, "max_tag_bytes": jobspec.MaxTag, "max_metadata_key_bytes": jobspec.MaxTag,
		"max_metadata_value_bytes": 4 * jobspec.MaxTag, "priorities": job.Priorities(), "durability": c.Durability,
	})
	return nil
}
