package api

import (
	"time"

	"headrace/internal/inference"
	"headrace/internal/job"
)

// jobForm is how the result of a job is written: what of asked and of the route the dialects need for it. It is stored
// with the job, so the result can be read when the route has changed or gone.
type jobForm struct {
	Dialect string           `json:"dialect"` // routes, endpoints, openai
	Type    inference.Type   `json:"type"`
	Family  inference.Family `json:"family"`
	Model   string           `json:"model,omitempty"`
	Created time.Time        `json:"created"`
	Base64  bool             `json:"base64,omitempty"`
	Tokens  int              `json:"tokens,omitempty"`
	Texts   bool             `json:"texts,omitempty"`
	Items   int              `json:"items,omitempty"` // how many the request has
}

func formOf(all dialects, d dialect, a *asked) jobForm {
	f := jobForm{
		Dialect: "endpoints", Type: a.request.Type, Family: a.route.Family, Model: a.route.Model,
		Created: a.created.UTC(), Base64: a.base64, Tokens: a.tokens, Texts: a.texts, Items: len(a.request.Items),
	}
	switch d {
	case all.routes:
		f.Dialect = "routes"
	case all.openai:
		f.Dialect = "openai"
	}
	return f
}

// restore makes the dialect, and as much of asked as its answer needs.
func (f jobForm) restore(all dialects, rec *job.Record) (dialect, *asked) {
	a := &asked{
		route:   &inference.Route{Name: rec.Route, Provider: rec.Provider, Type: rec.Type, Family: f.Family, Model: f.Model},
		request: &inference.Request{Route: rec.Route, Type: f.Type, Items: make([][]byte, f.Items)}, created: f.Created,
		base64: f.Base64, tokens: f.Tokens, texts: f.Texts,
	}
	switch f.Dialect {
	case "routes":
		return all.routes, a
	case "openai":
		return all.openai, a
	}
	return all.endpoints, a
}

// jobView is a job as callers see it.
type jobView struct {
	ID                string            `json:"id"`
	Object            string            `json:"object"`
	Run               int               `json:"run"`
	Route             string            `json:"route"`
	Provider          string            `json:"provider"`
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
	ResultInfo        *resultInfo       `json:"result_info"`
	Error             *job.Problem      `json:"error"`
	IdempotencyKey    *string           `json:"idempotency_key"`
	Store             job.Store         `json:"store"`
	Durability        string            `json:"durability"`
	Queue             *standing         `json:"queue"` // where it waits; null when that is not known
	Revision          uint64            `json:"revision"`
	URLs              map[string]string `json:"urls"`
}

// timings are in milliseconds.
type timings struct {
	Queue    *int64 `json:"queue_ms"`
	Provider *int64 `json:"provider_ms"`
	Total    *int64 `json:"total_ms"`
}

type resultInfo struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

func (s *Server) viewJob(r *job.Record) jobView {
	self := "/v1/jobs/" + string(r.ID)
	v := jobView{
		ID: string(r.ID), Object: "job", Run: r.Run, Route: r.Route, Provider: r.Provider, Priority: r.Priority,
		Tags: append([]string{}, r.Tags...), Metadata: r.Metadata, Status: r.State,
		CancelRequestedAt: r.CancelAskedAt, Attempt: r.Attempt, MaxAttempts: r.Retry.MaxAttempts,
		Interruptions: r.Interruptions, CreatedAt: r.CreatedAt, RunAt: r.RunAt, QueuedAt: r.QueuedAt,
		StartedAt: r.StartedAt, FinishedAt: r.FinishedAt, NextAttemptAt: r.NextAttemptAt, Deadline: r.Deadline,
		QueueExpiresAt: r.QueueExpiresAt, ResultExpiresAt: r.ExpiresAt, Timings: timingsOf(r), Error: r.Error,
		Store: r.Store, Durability: r.Durability, Revision: r.Revision,
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
	}
	if r.IdempotencyKey != "" {
		v.IdempotencyKey = new(r.IdempotencyKey)
	}
	if r.Result != nil {
		v.ResultInfo = &resultInfo{Bytes: r.Result.Bytes, SHA256: r.Result.SHA256}
	}
	return v
}

func timingsOf(r *job.Record) *timings {
	if r.StartedAt == nil {
		return nil
	}
	t := &timings{Queue: new(max(r.StartedAt.Sub(r.CreatedAt).Milliseconds(), 0))}
	if r.FinishedAt != nil {
		t.Total = new(max(r.FinishedAt.Sub(r.CreatedAt).Milliseconds(), 0))
	}
	if r.State == job.Succeeded {
		t.Provider = new(r.Upstream.Milliseconds())
	}
	return t
}
