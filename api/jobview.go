package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"headrace/api/dialect"
	"headrace/api/problem"
	"headrace/internal/fault"
	"headrace/internal/job"
)

// jobView is a job as callers see it.
type jobView struct {
	ID                string            `json:"id"`
	Object            string            `json:"object"`
	Run               int               `json:"run"`
	Route             string            `json:"route"`
	Provider          string            `json:"provider"`
	Model             *string           `json:"model"`
	Priority          job.Priority      `json:"priority"`
	Tags              []string          `json:"tags"`
	Metadata          map[string]string `json:"metadata"`
	Status            job.State         `json:"status"`
	StatusReason      *string           `json:"status_reason"`
	CancelRequestedAt *time.Time        `json:"cancel_requested_at"`
	Attempt           int               `json:"attempt"`
	MaxAttempts       int               `json:"max_attempts"`
	Interruptions     int               `json:"interruptions"`
	CreatedAt         time.Time         `json:"created_at"`
	RunAt             *time.Time        `json:"run_at"`
	QueuedAt          *time.Time        `json:"queued_at"`
	StartedAt         *time.Time        `json:"started_at"`
	FinishedAt        *time.Time        `json:"finished_at"`
	NextAttemptAt     *time.Time        `json:"next_attempt_at"`
	Deadline          time.Time         `json:"deadline"`
	QueueExpiresAt    *time.Time        `json:"queue_expires_at"`
	ResultExpiresAt   *time.Time        `json:"result_expires_at"`
	Timings           *timings          `json:"timings"`
	Attempts          []attemptView     `json:"attempts,omitempty"` // of a job that is shown alone
	Result            json.RawMessage   `json:"result"`             // likewise, and when it is small
	ResultInfo        *resultInfo       `json:"result_info"`
	Error             *problemView      `json:"error"`
	IdempotencyKey    *string           `json:"idempotency_key"`
	Store             job.Store         `json:"store"`
	Durability        string            `json:"durability"`
	Queue             *standing         `json:"queue"` // where it waits; null when that is not known
	RequestID         string            `json:"request_id"`
	Revision          uint64            `json:"revision"`
	URLs              map[string]string `json:"urls"`
}

// timings are in milliseconds, of this run, from when it could have begun.
type timings struct {
	Queue    *int64 `json:"queue_ms"`
	Provider *int64 `json:"provider_ms"`
	Total    *int64 `json:"total_ms"`
}

// resultInfo is about the bytes that the URL serves. They are made of the stored result when they are asked for, in the
// dialect of the job, so their size and digest are known of a job that is shown alone only.
type resultInfo struct {
	ContentType string     `json:"content_type"`
	Bytes       *int64     `json:"bytes"`
	SHA256      *string    `json:"sha256"`
	URL         string     `json:"url"`
	ExpiresAt   *time.Time `json:"url_expires_at"`
	Inline      bool       `json:"inline"`
}

// attemptView is one call to a model server.
type attemptView struct {
	N         int          `json:"n"`
	Run       int          `json:"run"`
	Worker    string       `json:"worker"`
	Provider  string       `json:"provider"`
	StartedAt time.Time    `json:"started_at"`
	EndedAt   *time.Time   `json:"ended_at"`
	Outcome   string       `json:"outcome"`
	Error     *problemView `json:"error"`
}

func viewAttempts(r *job.Record) []attemptView {
	views := []attemptView{}
	for _, a := range r.Attempts {
		views = append(views, attemptView{a.N, a.Run, a.Worker, r.Provider, a.StartedAt, a.EndedAt, a.Outcome, viewProblem(a.Error)})
	}
	return views
}

// problemView is why an attempt or a job failed, in the form of RFC 9457.
type problemView struct {
	Type      string        `json:"type"`
	Title     string        `json:"title"`
	Status    int           `json:"status"`
	Detail    string        `json:"detail"`
	Code      string        `json:"code"`
	Retryable bool          `json:"retryable"`
	Upstream  *upstreamView `json:"upstream"`
}

// upstreamView is what a model server said.
type upstreamView struct {
	Status int             `json:"status"`
	Detail json.RawMessage `json:"detail,omitempty"`
}

func viewProblem(p *job.Problem) *problemView {
	if p == nil {
		return nil
	}
	e := fault.From(failure(&job.Record{Error: p}))
	status := problem.MeaningOf(problem.Headrace, e).Status
	v := &problemView{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: p.Message, Code: p.Code, Retryable: p.Retryable,
	}
	if p.Status != 0 {
		v.Upstream = &upstreamView{p.Status, p.Detail}
	}
	return v
}

// writeJob writes a job that is shown alone: with where it waits, its attempts, and its result when that is small.
func (d *jobDesk) writeJob(ctx context.Context, w http.ResponseWriter, rec *job.Record) {
	v := d.viewJob(rec)
	v.Queue, v.Attempts = d.standingOf(ctx, rec), viewAttempts(rec)
	if rec.Result != nil {
		// What cannot be read now is left to /result, which says why.
		_ = d.describeResult(ctx, rec, &v)
	}
	w.Header().Set("ETag", etag(rec))
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, v)
}

// describeResult adds to a view what /result writes: its size, its digest and, when it is small, itself.
func (d *jobDesk) describeResult(ctx context.Context, rec *job.Record, v *jobView) error {
	speaks, a, res, release, err := d.resultOf(ctx, rec)
	if err != nil {
		return err
	}
	defer release()
	var out dialect.Output
	if err := speaks.Answer(&out, a, res); err != nil {
		return err
	}
	size := out.Len()
	digest := sha256.New()
	var text bytes.Buffer
	to := io.Writer(digest)
	if size <= inlineResult {
		to = io.MultiWriter(digest, &text)
	}
	if _, err := out.WriteTo(to); err != nil {
		return fmt.Errorf("writing the result of job %s: %w", rec.ID, err)
	}
	v.ResultInfo.Bytes, v.ResultInfo.SHA256 = new(int64(size)), new(hex.EncodeToString(digest.Sum(nil)))
	if size <= inlineResult {
		v.Result, v.ResultInfo.Inline = text.Bytes(), true
	}
	return nil
}

func (d *jobDesk) viewJob(r *job.Record) jobView {
	self := "/v1/jobs/" + string(r.ID)
	v := jobView{
		ID: string(r.ID), Object: "job", Run: r.Run, Route: r.Route, Provider: r.Provider, Priority: r.Priority,
		Tags: append([]string{}, r.Tags...), Metadata: r.Metadata, Status: r.State,
		CancelRequestedAt: r.CancelAskedAt, Attempt: r.Attempt, MaxAttempts: r.Retry.MaxAttempts,
		Interruptions: r.Interruptions, CreatedAt: r.CreatedAt, RunAt: r.RunAt, QueuedAt: r.QueuedAt,
		StartedAt: r.StartedAt, FinishedAt: r.FinishedAt, NextAttemptAt: r.NextAttemptAt, Deadline: r.Deadline,
		QueueExpiresAt: r.QueueExpiresAt, ResultExpiresAt: r.ExpiresAt, Timings: timingsOf(r), Error: viewProblem(r.Error),
		Store: r.Store, Durability: r.Durability, RequestID: r.RequestID, Revision: r.Revision,
		URLs: map[string]string{
			"self": self, "result": self + "/result", "input": self + "/input", "events": self + "/events",
			"attempts": self + "/attempts", "cancel": self + "/cancel", "retry": self + "/retry",
		},
	}
	if v.Metadata == nil {
		v.Metadata = map[string]string{}
	}
	if r.Reason != "" {
		v.StatusReason = new(r.Reason)
	} else if r.State == job.Queued && d.jobs.Paused(r.Route) {
		v.StatusReason = new("queue_paused")
	}
	var form dialect.Form
	if json.Unmarshal(r.Form, &form) == nil && form.Model != "" { // a tombstone has none
		v.Model = &form.Model
	}
	if r.IdempotencyKey != "" {
		v.IdempotencyKey = new(r.IdempotencyKey)
	}
	if r.Result != nil {
		v.ResultInfo = &resultInfo{
			ContentType: "application/json", URL: self + "/result", ExpiresAt: r.ExpiresAt,
		}
	}
	return v
}

func timingsOf(r *job.Record) *timings {
	if r.StartedAt == nil {
		return nil
	}
	t := &timings{Queue: new(max(r.StartedAt.Sub(r.Began()).Milliseconds(), 0))}
	if r.FinishedAt != nil {
		t.Total = new(max(r.FinishedAt.Sub(r.Began()).Milliseconds(), 0))
	}
	if r.State == job.Succeeded {
		t.Provider = new(r.Upstream.Milliseconds())
	}
	return t
}
