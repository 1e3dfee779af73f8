package api

import (
	"net/http"
	"slices"
)

// jobHeaders are the headers by which a call becomes a job with options.
func jobHeaders() []string {
	return []string{
		headerPrefer, headerKey, "Job-Priority", "Job-Run-At", "Job-Deadline", "Job-Queue-Timeout", "Job-Attempt-Timeout",
		"Job-Total-Timeout", "Job-Result-TTL", "Job-Max-Attempts", "Job-Max-Elapsed", "Job-Store", "Job-Tags",
	}
}

// Answers that many of the jobs' paths give.
func jobAnswer() answer { return answer{http.StatusOK, "The job.", "Job"} }

func jobUnderWay() answer {
	return answer{http.StatusAccepted, "The job; Retry-After says when to ask again.", "Job"}
}

func jobUnknown() answer {
	return answer{http.StatusNotFound, "No job of this id is remembered.", "Problem"}
}

func jobGone() answer {
	return answer{http.StatusGone, "The job has expired or was erased.", "Problem"}
}

func jobConflict() answer {
	return answer{http.StatusConflict, "The job's state does not allow it.", "Problem"}
}

func jobReused() answer {
	return answer{http.StatusUnprocessableEntity, "The id or the key was used for something else.", "Problem"}
}

func jobRefused() answer {
	return answer{http.StatusBadRequest, "An option or the input is wrong; param names it.", "Problem"}
}

func jobsFull() answer {
	return answer{http.StatusServiceUnavailable, "No job is accepted now; Retry-After says when to ask again.", "Problem"}
}

func routeUnknown() answer { return answer{http.StatusNotFound, "There is no such route.", "Problem"} }

// jobOperations are the paths of durable jobs.
func (s *Server) jobOperations() []operation {
	ops := append(s.placeOperations(), s.followOperations()...)
	ops = append(ops, s.queueOperations()...)
	if s.finder != nil {
		ops = append(ops, s.listOperations()...)
	}
	for i := range ops {
		ops[i].tag = "Jobs"
	}
	return ops
}

// placeOperations are the paths that place jobs.
func (s *Server) placeOperations() []operation {
	withoutKey := slices.DeleteFunc(jobHeaders(), func(name string) bool { return name == headerKey })
	done := answer{http.StatusOK, "The job, which has ended within Prefer: wait, or was there already.", "Job"}
	return []operation{
		{
			method: "POST", path: "/v1/jobs", handle: s.placeJob, body: "JobOrder", headers: jobHeaders(), summary: "Place a durable job.",
			answers: []answer{done, jobUnderWay(), jobRefused(), routeUnknown(), jobGone(), jobReused(), jobsFull()},
		},
		{
			method: "POST", path: "/v1/jobs/batch", handle: s.placeJobs, body: "JobBatch",
			summary: "Place up to 1,000 jobs; each is accepted or refused by itself.",
			answers: []answer{{http.StatusAccepted, "What became of each job.", "JobsPlaced"}, jobRefused()},
		},
		{
			method: "PUT", path: "/v1/jobs/{name}", handle: s.placeJob, body: "JobOrder", headers: withoutKey,
			summary: "Place a job under an id of your own; the same body again is the same job.",
			answers: []answer{done, jobUnderWay(), jobRefused(), routeUnknown(), jobGone(), jobReused(), jobsFull()},
		},
	}
}

// followOperations are the paths of one job.
func (s *Server) followOperations() []operation {
	wait := []string{"wait"}
	return []operation{
		{
			method: "GET", path: "/v1/jobs/{name}", handle: s.getJob, params: wait, headers: []string{"If-None-Match", headerPrefer},
			summary: "A job's state; ?wait=seconds holds until it has ended, or, with If-None-Match, until it changes.",
			answers: []answer{jobAnswer(), {http.StatusNotModified, "It has not changed.", ""}, jobUnknown(), jobGone()},
		},
		{
			method: "DELETE", path: "/v1/jobs/{name}", handle: s.deleteJob, summary: "Erase a job's input and result; it answers 410 from then on.",
			answers: []answer{{http.StatusNoContent, "Nothing but a tombstone is left.", ""}, jobUnderWay(), jobUnknown(), jobGone()},
		},
		{
			method: "GET", path: "/v1/jobs/{name}/result", handle: s.jobResult, params: wait, headers: []string{headerPrefer},
			summary: "The result, in the dialect of the path that took the job.",
			answers: []answer{
				{http.StatusOK, "The result.", ""},
				jobUnderWay(), jobUnknown(),
				{http.StatusConflict, "The job was cancelled or has expired.", "Problem"},
				jobGone(),
				{http.StatusFailedDependency, "The job has failed.", "Problem"},
			},
		},
		{
			method: "GET", path: "/v1/jobs/{name}/input", handle: s.jobInput, summary: "What the job was asked with.",
			answers: []answer{{http.StatusOK, "The input as it was sent.", ""}, jobUnknown(), jobGone()},
		},
		{
			method: "GET", path: "/v1/jobs/{name}/attempts", handle: s.jobAttempts, summary: "The attempts so far.",
			answers: []answer{{http.StatusOK, "Each call to a model server.", "JobAttempts"}, jobUnknown(), jobGone()},
		},
		{
			method: "GET", path: "/v1/jobs/{name}/events", handle: s.jobEvents, headers: []string{"Last-Event-ID"},
			summary: "Server-sent events: a snapshot, then every change.",
			answers: []answer{{http.StatusOK, "text/event-stream: snapshot, status, done, each with a job as data and its revision as id.", ""}, jobUnknown(), jobGone()},
		},
		{
			method: "POST", path: "/v1/jobs/{name}/cancel", handle: s.cancelJob, summary: "Cancel a job; it may be repeated.",
			answers: []answer{{http.StatusOK, "The job, which has ended.", "Job"}, {http.StatusAccepted, "The job, whose call is being aborted.", "Job"}, jobUnknown(), jobGone()},
		},
		{
			method: "POST", path: "/v1/jobs/{name}/retry", handle: s.retryJob, summary: "Run a failed, cancelled or expired job again.",
			answers: []answer{jobUnderWay(), jobUnknown(), jobConflict(), jobGone()},
		},
	}
}

// queueOperations are the paths of what jobs wait in.
func (s *Server) queueOperations() []operation {
	one := []answer{{http.StatusOK, "The queue.", "Queue"}, routeUnknown()}
	return []operation{
		{
			method: "GET", path: "/v1/queues", handle: s.listQueues, summary: "What waits of each route's jobs.",
			answers: []answer{{http.StatusOK, "All queues.", "QueueList"}},
		},
		{method: "GET", path: "/v1/queues/{name}", handle: s.getQueue, summary: "What waits of one route's jobs.", answers: one},
		{method: "POST", path: "/v1/queues/{name}/pause", handle: s.pauseQueue, summary: "Start no more jobs of this route until it is resumed.", answers: one},
		{method: "POST", path: "/v1/queues/{name}/resume", handle: s.resumeQueue, summary: "Start jobs of this route again.", answers: one},
		{
			method: "GET", path: "/v1/limits", handle: s.jobLimits, summary: "What jobs may ask for.",
			answers: []answer{{http.StatusOK, "The limits.", "JobLimits"}},
		},
	}
}

// listOperations are the paths that list jobs.
func (s *Server) listOperations() []operation {
	page := []answer{{http.StatusOK, "A page of jobs.", "JobList"}, jobRefused()}
	return []operation{
		{method: "GET", path: "/v1/jobs", handle: s.listJobs, params: listParams(), summary: "List jobs, the newest first.", answers: page},
		{method: "GET", path: "/v1/dead", handle: s.listDead, params: listParams("status", "dead"), summary: "List failed jobs.", answers: page},
		{
			method: "POST", path: "/v1/dead/redrive", handle: s.redriveMany, params: listParams("status", "dead", "after", "before"),
			summary: "Run failed jobs again: the newest up to limit that match.",
			answers: []answer{{http.StatusAccepted, "What became of each.", "JobsRedriven"}, jobRefused()},
		},
		{
			method: "POST", path: "/v1/dead/{name}/redrive", handle: s.redriveJob, summary: "Run a failed job again.",
			answers: []answer{jobUnderWay(), jobUnknown(), jobConflict(), jobGone()},
		},
	}
}
