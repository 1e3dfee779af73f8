package api

import (
	"net/http"
	"slices"
	"strings"

	"headrace/api/jobfilter"
	"headrace/api/jobspec"
	"headrace/api/openapi"
	"headrace/internal/fault"
)

// placedHeaders are those of every reply about a job that was placed.
func placedHeaders() []string {
	return []string{"Location", "Content-Location", "Job-Id", jobspec.HeaderApplied, jobspec.HeaderReplayed}
}

// describeJobs adds to a call that it may become a job.
func describeJobs(op *operation) {
	op.headers = slices.Concat(op.headers, jobspec.OptionHeaders(), []string{jobspec.HeaderKey})
	placed := jobPlaced()
	placed.headers = union(placed.headers, op.beside)
	op.beside = slices.Concat(op.beside, placedHeaders(), []string{"Job-Status"})
	op.answers[0].headers = union(op.answers[0].headers, op.beside)
	op.answers = append(op.answers, placed)
	op.fails = append(op.fails, fault.Conflict, fault.KeyReused, fault.Gone, fault.JobFailed)
}

// Answers that many of the jobs' paths give.
func jobAnswer(what string) answer {
	return answer{status: http.StatusOK, what: what, schema: "Job", headers: []string{"ETag", "Retry-After"}}
}

func jobUnderWay() answer {
	return answer{
		status: http.StatusAccepted, what: "The job; Retry-After says when to ask again.", schema: "Job",
		headers: []string{"ETag", "Retry-After"},
	}
}

func jobPlaced() answer {
	a := jobUnderWay()
	a.headers = append(a.headers, placedHeaders()...)
	return a
}

// ofStore are the ways in which everything fails that reads or writes jobs.
func ofStore(more ...fault.Code) []fault.Code {
	return append([]fault.Code{fault.NoWorkers, fault.QueueFull}, more...)
}

// jobOperations are the paths of durable jobs.
func jobOperations(d *jobDesk, finder JobList) []operation {
	reads, queues := &jobReader{d}, &queueDesk{d.chassis, d.jobs}
	ops := append(d.placeOperations(), reads.followOperations()...)
	ops = append(ops, reads.changeOperations()...)
	ops = append(ops, queues.queueOperations()...)
	if finder != nil {
		ops = append(ops, (&jobLists{d, finder}).listOperations()...)
	}
	for i := range ops {
		op := &ops[i]
		op.tag = "Jobs"
		list := op.path == "/v1/jobs" && op.method == http.MethodGet
		op.guarded = list || op.method == http.MethodDelete || strings.HasPrefix(op.path, "/v1/dead") || strings.HasSuffix(op.path, "/pause") || strings.HasSuffix(op.path, "/resume")
		if op.guarded {
			op.fails = append(op.fails, fault.Unauthorized, fault.RateLimited)
			op.beside = append(op.beside, "WWW-Authenticate")
		}
	}
	return ops
}

// placeOperations are the paths that place jobs.
func (d *jobDesk) placeOperations() []operation {
	done := jobAnswer("The job, which has ended within Prefer: wait, or was there already.")
	done.headers = append(done.headers, placedHeaders()...)
	fails := ofStore(fault.NotFound, fault.KeyReused, fault.Gone, fault.NotImplemented, fault.ShuttingDown)
	headers := append([]string{headerTimeout, headerRequestID}, jobspec.OptionHeaders()...)
	return []operation{
		{
			method: "POST", path: "/v1/jobs", handle: d.placeJob, body: "JobOrder", headers: append(slices.Clone(headers), jobspec.HeaderKey),
			summary: "Place a durable job.", answers: []answer{done, jobPlaced()}, fails: fails, beside: placedHeaders(), examples: openapi.OrderExamples(),
		},
		{
			method: "POST", path: "/v1/jobs/batch", handle: d.placeJobs, body: "JobBatch", headers: []string{headerTimeout, headerRequestID},
			summary:  "Place up to 1,000 jobs; each is accepted or refused by itself.",
			answers:  []answer{{status: http.StatusAccepted, what: "What became of each job.", schema: "JobsPlaced"}},
			fails:    []fault.Code{fault.ShuttingDown},
			examples: openapi.BatchExamples(),
		},
		{
			method: "PUT", path: "/v1/jobs/{id}", handle: d.placeJob, body: "JobOrder", headers: headers,
			summary: "Place a job under an id of your own; the same body again is the same job.",
			answers: []answer{done, jobPlaced()}, fails: fails, beside: placedHeaders(), examples: openapi.OrderExamples(),
		},
	}
}

// followOperations are the paths that read one job.
func (j *jobReader) followOperations() []operation {
	wait := []string{"wait"}
	fails := ofStore(fault.NotFound, fault.Gone)
	ended := []string{"Job-Id", "Job-Status"}
	running := jobUnderWay()
	running.headers = append(running.headers, ended...)
	return []operation{
		{
			method: "GET", path: "/v1/jobs/{id}", handle: j.getJob, params: wait, headers: []string{"If-None-Match", jobspec.HeaderPrefer},
			summary: "A job's state; ?wait=seconds holds until it has ended, or, with If-None-Match, until it changes.",
			answers: []answer{
				jobAnswer("The job."), {status: http.StatusNotModified, what: "It has not changed.", headers: []string{"ETag", "Retry-After"}},
			},
			fails: append(fails, fault.Invalid), examples: openapi.OfJob(),
		},
		{
			method: "GET", path: "/v1/jobs/{id}/result", handle: j.jobResult, params: wait, headers: []string{jobspec.HeaderPrefer},
			summary: "The result, in the dialect of the path that took the job.",
			answers: []answer{
				{status: http.StatusOK, what: "The result.", schema: "Result", headers: append(ended, "Server-Timing")},
				running,
			},
			beside: ended,
			fails:  append(fails, fault.Invalid, fault.Conflict, fault.JobFailed, fault.UpstreamBadResponse), examples: openapi.OfJob(),
		},
		{
			method: "GET", path: "/v1/jobs/{id}/input", handle: j.jobInput, summary: "What the job was asked with.",
			answers: ok("The input as it was sent.", "JobInput"), fails: fails, examples: openapi.OfJob(),
		},
		{
			method: "GET", path: "/v1/jobs/{id}/attempts", handle: j.jobAttempts, summary: "The attempts so far.",
			answers: ok("Each call to a model server.", "JobAttempts"), fails: fails, examples: openapi.OfJob(),
		},
		{
			method: "GET", path: "/v1/jobs/{id}/events", handle: j.jobEvents, headers: []string{"Last-Event-ID"},
			summary: "Server-sent events: a snapshot, then every change.",
			answers: []answer{{status: http.StatusOK, what: "The stream, which ends with the job.", schema: "Event", kind: "text/event-stream"}},
			fails:   fails, examples: openapi.OfJob(),
		},
	}
}

// changeOperations are the paths that change one job.
func (j *jobReader) changeOperations() []operation {
	fails := ofStore(fault.NotFound, fault.Gone)
	aborted := jobUnderWay()
	aborted.what = "The job, whose call is being aborted."
	return []operation{
		{
			method: "POST", path: "/v1/jobs/{id}/cancel", handle: j.cancelJob, summary: "Cancel a job; it may be repeated.",
			answers: []answer{jobAnswer("The job, which has ended."), aborted}, fails: fails, examples: openapi.OfJob(),
		},
		{
			method: "POST", path: "/v1/jobs/{id}/retry", handle: j.retryJob, summary: "Run a failed, cancelled or expired job again.",
			answers: []answer{jobPlaced()}, fails: append(fails, fault.Conflict), examples: openapi.OfJob(),
		},
		{
			method: "DELETE", path: "/v1/jobs/{id}", handle: j.deleteJob, summary: "Erase a job's input and result; it answers 410 from then on.",
			answers: []answer{{status: http.StatusNoContent, what: "Nothing but a tombstone is left."}, aborted}, fails: fails, examples: openapi.OfJob(),
		},
	}
}

// queueOperations are the paths of what jobs wait in.
func (q *queueDesk) queueOperations() []operation {
	one, fails := ok("The queue.", "Queue"), ofStore(fault.NotFound)
	return []operation{
		{
			method: "GET", path: "/v1/queues", handle: q.listQueues, summary: "What waits of each route's jobs.",
			answers: ok("All queues.", "QueueList"),
		},
		{
			method: "GET", path: "/v1/queues/{name}", handle: q.getQueue, summary: "What waits of one route's jobs.",
			answers: one, fails: fails, examples: openapi.OfQueue(),
		},
		{
			method: "POST", path: "/v1/queues/{name}/pause", handle: q.pauseQueue, summary: "Start no more jobs of this route until it is resumed.",
			answers: one, fails: fails, examples: openapi.OfQueue(),
		},
		{
			method: "POST", path: "/v1/queues/{name}/resume", handle: q.resumeQueue, summary: "Start jobs of this route again.",
			answers: one, fails: fails, examples: openapi.OfQueue(),
		},
		{
			method: "GET", path: "/v1/limits", handle: q.jobLimits, summary: "What jobs may ask for.",
			answers: ok("The limits.", "JobLimits"),
		},
	}
}

// listOperations are the paths that list jobs.
func (l *jobLists) listOperations() []operation {
	page, fails := ok("A page of jobs.", "JobList"), ofStore(fault.Invalid)
	redriven := slices.DeleteFunc(jobfilter.Params("status", "dead", "after", "before"), func(name string) bool { return name == "limit" })
	return []operation{
		{
			method: "GET", path: "/v1/jobs", handle: l.listJobs, params: jobfilter.Params(), summary: "List jobs, the newest first.",
			answers: page, fails: fails,
		},
		{
			method: "GET", path: "/v1/dead", handle: l.listDead, params: jobfilter.Params("status", "dead"), summary: "List failed jobs.",
			answers: page, fails: fails,
		},
		{
			method: "POST", path: "/v1/dead/redrive", handle: l.redriveMany, params: append(redriven, "redrive.limit"),
			summary: "Run failed jobs again: the newest up to limit that match.", body: "Nothing", optional: true,
			answers: []answer{{status: http.StatusAccepted, what: "What became of each.", schema: "JobsRedriven"}}, fails: fails,
		},
		{
			method: "POST", path: "/v1/dead/{id}/redrive", handle: l.redriveJob, summary: "Run a failed job again.",
			answers: []answer{jobPlaced()}, fails: ofStore(fault.NotFound, fault.Conflict, fault.Gone), examples: openapi.OfJob(),
		},
	}
}
