package api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"headrace/api/dialect"
	"headrace/api/jobspec"
	"headrace/api/problem"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/job"
)

// Jobs keeps durable jobs. Errors are *fault.Error.
type Jobs interface {
	JobStore
	JobWaits
	JobControl
	JobQueues
}

// JobStore accepts jobs and reads them.
type JobStore interface {
	// Accept stores a job and queues it. When it returns, the job is as durable as its record says. One of the same
	// id that was asked for in the same words is returned as it is, with fresh false.
	Accept(ctx context.Context, rec *job.Record, body []byte, req *inference.Request) (now *job.Record, fresh bool, err error)
	// Key claims an idempotency key for id and gives the id it belongs to, and the fingerprint it was claimed with.
	Key(ctx context.Context, scope, key string, id job.ID, fingerprint string, life time.Duration) (job.ID, string, error)
	// Input is what the job was asked with, as the caller sent it.
	Input(ctx context.Context, rec *job.Record) ([]byte, error)
	// Result is that of a job that succeeded.
	Result(ctx context.Context, rec *job.Record) (*inference.Result, error)
}

// JobWaits waits for jobs.
type JobWaits interface {
	// Wait reads a job when done is content with it, or as it is when ctx ends.
	Wait(ctx context.Context, id job.ID, done func(*job.Record) bool) (*job.Record, error)
	// WaitEnd is Wait for the end of a job.
	WaitEnd(ctx context.Context, id job.ID) (*job.Record, error)
}

// JobControl changes jobs.
type JobControl interface {
	Get(ctx context.Context, id job.ID) (*job.Record, error)
	// Cancel ends a waiting job and asks for the end of a running one; it may be repeated.
	Cancel(ctx context.Context, id job.ID) (*job.Record, error)
	// Retry starts a new run of a job that failed, was cancelled or has expired.
	Retry(ctx context.Context, id job.ID) (*job.Record, error)
	// Erase drops input and result, and leaves a tombstone. What runs is cancelled first.
	Erase(ctx context.Context, id job.ID) error
}

// JobQueues tells of the queues that jobs wait in, and holds them up.
type JobQueues interface {
	// Counted returns when what Queue says is known, or says that it is not.
	Counted(ctx context.Context) error
	// Queue is what waits of a route's jobs, by priority, a moment ago.
	Queue(route string) map[job.Priority]job.Lane
	// Place is where a queued job stands; ok is false when that is not known.
	Place(ctx context.Context, rec *job.Record) (p job.Place, ok bool)
	// Pause keeps the jobs of a route from being started, or lets them start again; it may be repeated.
	Pause(ctx context.Context, route string, paused bool) error
	// Paused reports whether the jobs of a route are kept from being started.
	Paused(route string) bool
}

const (
	// inlineResult is the largest result that a job shows itself.
	inlineResult = 64 << 10
	// longestPoll is the most that Retry-After says to those who poll.
	longestPoll = time.Minute
)

// pollHint is what Retry-After says to those who poll a job: about when there is news.
func (d *jobDesk) pollHint(rec *job.Record) string {
	wait := time.Second
	switch rec.State {
	case job.Scheduled, job.Retrying:
		wait = time.Until(rec.Due())
	case job.Queued:
		wait = drain(d.jobs.Queue(rec.Route)[rec.Priority])
	case job.Running, job.Cancelling, job.Succeeded, job.Failed, job.Cancelled, job.Expired, job.Erased:
	}
	return strconv.Itoa(int(math.Ceil(min(max(wait, time.Second), longestPoll).Seconds())))
}

// drain is how long a lane needs for what waits in it; 0 when that is not known.
func drain(lane job.Lane) time.Duration {
	if !(lane.Rate > 0) {
		return 0
	}
	return time.Duration(min(float64(lane.Waiting)/lane.Rate, problem.LongestPause.Seconds()) * float64(time.Second))
}

// jobDesk places jobs and delivers what became of them.
type jobDesk struct {
	*chassis

	jobs Jobs
}

// order is a job that a caller wants.
type order struct {
	asked   *dialect.Asked
	dialect dialect.Dialect
	body    []byte // what the caller sent for the route
	options jobspec.Options
	path    string // with name: scope of the idempotency key
	name    string // what was asked: the route, or the split that it was drawn from
	id      job.ID // chosen by the caller; "" = ours
}

// orderOfCall is the job that the caller of a path for calls prefers to an answer; nil without such a preference.
func (k *callDesk) orderOfCall(c *call, a *dialect.Asked, speaks dialect.Dialect, body []byte) (*order, jobspec.Preference, error) {
	p, err := jobspec.PreferenceOf(c.r.Header, k.cfg.Jobs.MaxWait)
	if err != nil {
		return nil, p, err
	}
	if k.jobs == nil && p.Durable() {
		p = jobspec.Preference{Idle: append(p.Idle, jobspec.HeaderPrefer)}
	}
	dropped(c.w.Header(), append(jobspec.IdleHeaders(c.r.Header, p.Durable()), p.Idle...)...)
	if !p.Durable() {
		return nil, p, nil
	}
	if a.Stream {
		return nil, p, problem.Param("stream", "the answer of a job is no stream; leave out stream, or the header Prefer")
	}
	e, err := jobspec.FromHeaders(c.r.Header)
	if err != nil {
		return nil, p, err
	}
	o := &order{asked: a, dialect: speaks, body: body, path: c.r.URL.Path, name: c.name}
	if o.options, err = e.Options(k.cfg.Jobs, a.Route, time.Now()); err != nil {
		return nil, p, jobspec.InHeaders(err)
	}
	if store := o.options.Store; p.Wait > 0 && (store == job.StoreInputs || store == job.StoreNone) {
		// The answer is read from the store: it would be paid for, and then there would be none.
		return nil, p, problem.Header("Job-Store", "both or outputs with Prefer: wait, whose answer is the stored result; leave one of them out")
	}
	o.options.Awaited = p.Asked
	o.options.Key, err = jobspec.KeyOf(c.r.Header)
	return o, p, err
}

// record makes a new job's record.
func (d *jobDesk) record(o *order) (*job.Record, error) {
	form, err := json.Marshal(dialect.FormOf(d.dialects, o.dialect, o.asked))
	if err != nil {
		return nil, fmt.Errorf("writing a job's form: %w", err)
	}
	p := o.options
	rec := &job.Record{
		ID: o.id, Route: o.asked.Route.Name, Provider: o.asked.Route.Provider, Type: o.asked.Route.Type,
		Priority: p.Ranked(), RunAt: p.RunAt, Total: p.Total, QueueTime: p.Queue, Timeout: p.Attempt,
		ResultTTL: p.ResultTTL, Retry: p.Retry, Store: p.Store, Metadata: p.Metadata, Tags: p.Tags,
		IdempotencyKey: p.Key, Durability: d.cfg.Jobs.Durability, RequestID: o.asked.Request.ID, Form: form,
	}
	if p.Deadline != nil {
		rec.Deadline = p.Deadline.UTC()
	}
	if rec.ID == "" {
		rec.ID = job.NewID(time.Now())
	}
	rec.Fingerprint, err = jobspec.Fingerprint(rec, p, o.body)
	return rec, err
}

// place accepts a job.
func (d *jobDesk) place(ctx context.Context, o *order) (rec *job.Record, fresh bool, err error) {
	if o.asked.Refused != nil {
		return nil, false, o.asked.Refused
	}
	wanted, err := d.record(o)
	if err != nil {
		return nil, false, err
	}
	if o.options.Key != "" {
		// A split may send the call elsewhere the next time, when its shares have changed: that is still the same key.
		scope := o.path + "\x00" + o.name
		id, held, err := d.jobs.Key(ctx, scope, o.options.Key, wanted.ID, wanted.Fingerprint, d.cfg.Jobs.KeyLife)
		if err != nil {
			return nil, false, err
		}
		if held != wanted.Fingerprint {
			return nil, false, fault.New(fault.KeyReused,
				"the Idempotency-Key was used for another body or other options before; use a new key for a new job")
		}
		wanted.ID = id // of the first request with this key: accepting the same job twice makes one
	}
	rec, fresh, err = d.jobs.Accept(ctx, wanted, o.body, o.asked.Request)
	if err == nil && !fresh {
		err = left(rec) // to ask for it again does not bring it back
	}
	if err != nil {
		err = problem.Later(err, drain(d.jobs.Queue(wanted.Route)[wanted.Priority]))
	}
	return rec, fresh, err
}

// submit is the end of a call that asks for a job: it places it, waits as long as the caller prefers, and writes the
// result in the caller's dialect, or 202 and the job.
func (d *jobDesk) submit(ctx context.Context, c *call, o *order, p jobspec.Preference) error {
	rec, fresh, err := d.place(ctx, o)
	if err != nil {
		return err
	}
	announceJob(c.w, rec, p)
	if !fresh {
		c.w.Header().Set(jobspec.HeaderReplayed, "true")
	}
	if rec, err = d.waitFor(ctx, rec, p.Wait); err != nil {
		return err
	}
	if !rec.State.Terminal() || p.Wait == 0 {
		return d.accepted(c.w, rec)
	}
	c.w.Header().Set("Job-Status", string(rec.State))
	return d.deliver(ctx, c.w, rec)
}

// announceJob sets the headers that every reply about a placed job has.
func announceJob(w http.ResponseWriter, rec *job.Record, p jobspec.Preference) {
	header := w.Header()
	at := "/v1/jobs/" + string(rec.ID)
	header.Set("Location", at)
	header.Set("Content-Location", at)
	header.Set("Job-Id", string(rec.ID))
	if applied := p.Applied(); applied != "" {
		header.Set(jobspec.HeaderApplied, applied)
	}
}

// accepted writes 202 and the job.
func (d *jobDesk) accepted(w *replyWriter, rec *job.Record) error {
	header := w.Header()
	header.Set("Retry-After", d.pollHint(rec))
	header.Set("ETag", etag(rec))
	writeJSON(w, http.StatusAccepted, d.viewJob(rec))
	return nil
}

// waitFor waits until a job has ended, at most for wait, until the caller leaves or this front end drains.
func (d *jobDesk) waitFor(ctx context.Context, rec *job.Record, wait time.Duration) (*job.Record, error) {
	if wait <= 0 || rec.State.Terminal() {
		return rec, nil
	}
	ctx, cancel := d.patient(ctx, wait)
	defer cancel()
	return d.jobs.WaitEnd(ctx, rec.ID)
}

// patient is a context that ends with the wait, the caller's leaving, or the drain.
func (c *chassis) patient(ctx context.Context, wait time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	stop := context.AfterFunc(c.draining, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// deliver writes the result of a job that has ended, in the dialect of the path that took it, or why there is none.
func (d *jobDesk) deliver(ctx context.Context, w *replyWriter, rec *job.Record) error {
	switch rec.State {
	case job.Succeeded:
	case job.Failed:
		return failure(rec)
	case job.Cancelled, job.Expired:
		return fault.New(fault.Conflict, "job %s is %s and has no result%s", rec.ID, rec.State, because(rec))
	case job.Erased, job.Scheduled, job.Queued, job.Running, job.Retrying, job.Cancelling:
		return fault.New(fault.Gone, "job %s is %s", rec.ID, rec.State)
	}
	speaks, a, res, release, err := d.resultOf(ctx, rec)
	if err != nil {
		return err
	}
	defer release()
	return d.respond(ctx, w, speaks, a, res)
}

// resultOf reads the result of a job that succeeded, and how it is written. release gives its bytes back.
func (d *jobDesk) resultOf(ctx context.Context, rec *job.Record) (speaks dialect.Dialect, a *dialect.Asked, res *inference.Result, release func(), err error) {
	var f dialect.Form
	if err := json.Unmarshal(rec.Form, &f); err != nil {
		return nil, nil, nil, nil, fmt.Errorf("reading the form of job %s: %w", rec.ID, err)
	}
	if rec.Result == nil {
		return nil, nil, nil, nil, fault.New(fault.Gone, "the result of job %s is not stored: the job has store=%q", rec.ID, rec.Store)
	}
	size := rec.Result.Bytes
	if err := d.budget.Reserve(ctx, size); err != nil {
		return nil, nil, nil, nil, fault.Wrap(fault.QueueFull, err, "no room for the result in api.max_inflight_bytes; try again")
	}
	if res, err = d.jobs.Result(ctx, rec); err != nil {
		d.budget.Release(size)
		return nil, nil, nil, nil, err
	}
	res.Upstream = rec.Upstream
	if rec.StartedAt != nil && rec.QueuedAt != nil {
		res.Queue = max(rec.StartedAt.Sub(rec.Began()), 0)
	}
	speaks, a = f.Restore(d.dialects, rec)
	return speaks, a, res, func() { d.budget.Release(size) }, nil
}

// failure is what a failed job failed of, as a synchronous call would tell it.
func failure(rec *job.Record) error {
	if rec.Error == nil {
		return fault.New(fault.JobFailed, "job %s has failed%s", rec.ID, because(rec))
	}
	f := fault.New(fault.Code(rec.Error.Code), "%s", rec.Error.Message)
	f.Status, f.Detail = rec.Error.Status, rec.Error.Detail
	known := false
	for _, code := range fault.Codes() {
		known = known || code == f.Code
	}
	if !known || f.Code == fault.Internal {
		f.Code = fault.JobFailed
	}
	return f
}

func because(rec *job.Record) string {
	if rec.Reason == "" {
		return ""
	}
	return " (" + rec.Reason + ")"
}

func etag(rec *job.Record) string { return `"` + strconv.FormatUint(rec.Revision, 10) + `"` }

// placeJob answers POST /v1/jobs and PUT /v1/jobs/{id}.
func (d *jobDesk) placeJob(w *replyWriter, r *http.Request, name string) error {
	body, done, err := d.receive(w, r, d.cfg.SyncTimeout)
	defer done()
	if err != nil {
		return err
	}
	prefers, err := jobspec.PreferenceOf(r.Header, d.cfg.Jobs.MaxWait)
	if err != nil {
		return err
	}
	dropped(w.Header(), append(jobspec.IdleHeaders(r.Header, true), prefers.Idle...)...)
	e, err := jobspec.ReadHeaded(body.bytes, r.Header)
	if err != nil {
		return err
	}
	if err := e.Identify(r.Header, name); err != nil {
		return err
	}
	o, err := d.orderFrom(e)
	if err != nil {
		return err
	}
	o.options.Awaited, o.asked.Request.ID = prefers.Asked, w.id
	rec, fresh, err := d.place(r.Context(), o)
	if err != nil {
		return err
	}
	announceJob(w, rec, prefers)
	if !fresh {
		w.Header().Set(jobspec.HeaderReplayed, "true")
	}
	if rec, err = d.waitFor(r.Context(), rec, prefers.Wait); err != nil {
		return err
	}
	if rec.State.Terminal() && prefers.Wait > 0 || r.Method == http.MethodPut && !fresh {
		d.writeJob(r.Context(), w, rec)
		return nil
	}
	return d.accepted(w, rec)
}

// orderFrom reads an envelope: the route, its input, and options.
func (d *jobDesk) orderFrom(e *jobspec.Envelope) (*order, error) {
	if e.Route == "" {
		return nil, problem.Missing("route", "names the route to ask; GET /v1/routes lists them")
	}
	route, _ := named(d.table.Load(), e.Route, cmp.Or(e.Key, e.ID))
	if route == nil {
		return nil, problem.NoRoute(problem.Headrace, e.Route)
	}
	if len(e.Input) == 0 {
		return nil, problem.Missing("input", "is what /v1/routes/"+e.Route+"/invocations would take")
	}
	text, err := dialect.Parse(e.Input, "application/json")
	if err != nil {
		return nil, dialect.Within("input", err)
	}
	o := &order{dialect: d.dialects.Own, body: e.Input, path: "/v1/jobs", name: e.Route}
	if o.asked, err = o.dialect.Read(route, text); err != nil {
		if text.Has("route") && text.Has("input") {
			return nil, problem.Option("input", `holds "route" and "input" itself: it is a whole job. Place it as it is, or give the route once and only what stands in its "input"`)
		}
		return nil, dialect.Within("input", err)
	}
	if o.options, err = e.Checked(d.cfg.Jobs, route, time.Now()); err != nil {
		return nil, err
	}
	o.id, o.options.Key, err = e.Identity()
	return o, err
}
