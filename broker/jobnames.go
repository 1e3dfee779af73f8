package broker

import (
	"hash/fnv"
	"strconv"
	"strings"

	"headrace/internal/inference"
	"headrace/internal/job"
)

// Names of jobs' streams, subjects and headers.
const (
	// jobShards is the number of streams for records and for bodies. A job's shard is a hash of its id, fixed for
	// ever. Several, because each stream writes one message at a time.
	jobShards = 4

	recordStream = "JOBREC_"  // + shard: records and idempotency keys
	dataStream   = "JOBDATA_" // + shard: inputs and large results
	queueStream  = "JOBS_"    // + shard of the route: the work queues

	prefixRecord = "hrj.rec."
	prefixKey    = "hrj.key."
	prefixPause  = "hrj.ctl." // paused queues
	prefixEvent  = "hrj.evt." // each record written is re-published here, headers only
	prefixInput  = "hrj.in."
	prefixOutput = "hrj.out."
	prefixQueue  = "job."

	headerState = "Hr-State"
	headerDue   = "Hr-Due"  // unix milliseconds; absent when nothing is due
	headerLane  = "Hr-Lane" // subject in the work queue
	headerRun   = "Hr-Run"
	headerList  = "Hr-List" // listed, as JSON
	headerTag   = "Hr-Tag"  // names the write to its process; absent when it remembers nothing
)

func jobShard(id string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id)) // a hash never fails to write
	return strconv.Itoa(int(h.Sum32() % jobShards))
}

func recordSubject(id job.ID) string { return prefixRecord + jobShard(string(id)) + "." + string(id) }

// idOfEvent is the job that an event is about.
func idOfEvent(subject string) job.ID { return job.ID(subject[strings.LastIndexByte(subject, '.')+1:]) }

// jobLane names the work queue of one route and priority.
func jobLane(provider, route string, priority job.Priority) lane {
	shard := strconv.Itoa(shardOf(route))
	tok := token(route)
	return lane{
		stream:   queueStream + shard,
		subject:  prefixQueue + token(provider) + "." + tok + "." + string(priority) + "." + shard + ".*",
		consumer: "j-" + tok + "-" + string(priority),
	}
}

func jobLaneOf(route *inference.Route, priority job.Priority) lane {
	return jobLane(route.Provider, route.Name, priority)
}

func queueSubject(r *job.Record) string {
	return strings.TrimSuffix(jobLane(r.Provider, r.Route, r.Priority).subject, "*") + string(r.ID)
}

func inputPrefix(id job.ID) string {
	return prefixInput + jobShard(string(id)) + "." + string(id) + "."
}

func outputPrefix(id job.ID) string {
	return prefixOutput + jobShard(string(id)) + "." + string(id) + "."
}

func partSubject(prefix, series string, n int) string { return prefix + series + "." + strconv.Itoa(n) }
