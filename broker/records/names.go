package records

import (
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"headrace/broker/link"
	"headrace/internal/inference"
	"headrace/internal/job"
)

// namedLane is what a lane's subject says.
type namedLane struct {
	Lane

	Provider string
}

// ParseLane reads job.<provider>.<route>.<priority>.<shard>. ok is false for other subjects.
func ParseLane(subject string) (namedLane, bool) {
	parts := strings.Split(subject, ".")
	if len(parts) != 5 {
		return namedLane{}, false
	}
	return namedLane{Lane{link.Untoken(parts[2]), job.Priority(parts[3])}, link.Untoken(parts[1])}, true
}

// Names of jobs' streams, subjects and headers.
const (
	// Shards is the number of streams for records, and of those for bodies. A job's shard is a hash of its id. Neither ever
	// changes. There are several because a stream writes one message at a time.
	Shards = 4

	RecordStream = "JOBREC_"  // + shard: records and idempotency keys
	DataStream   = "JOBDATA_" // + shard: inputs and large results
	QueueStream  = "JOBS_"    // + shard of the route: the work queues

	PrefixRecord = "hrj.rec."
	PrefixKey    = "hrj.key."
	PrefixPause  = "hrj.ctl." // paused queues
	PrefixEvent  = "hrj.evt." // each record written is re-published here, headers only
	prefixInput  = "hrj.in."
	prefixOutput = "hrj.out."
	PrefixQueue  = "job."

	HeaderState = "Hr-State"
	headerDue   = "Hr-Due"  // unix milliseconds; absent when nothing is due
	HeaderLane  = "Hr-Lane" // subject in the work queue
	headerRun   = "Hr-Run"
	headerList  = "Hr-List" // listed, as JSON
	HeaderTag   = "Hr-Tag"  // names the write to its process; absent when it remembers nothing
)

// ShardOf returns the shard of a job's id, or of an idempotency key.
func ShardOf(id string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id)) // a hash never fails to write
	return strconv.Itoa(int(h.Sum32() % Shards))
}

// RecordSubject is the subject of a job's record.
func RecordSubject(id job.ID) string { return PrefixRecord + ShardOf(string(id)) + "." + string(id) }

// IdOfEvent returns the job that an event is about.
func IdOfEvent(subject string) job.ID { return job.ID(subject[strings.LastIndexByte(subject, '.')+1:]) }

// LaneNamed returns the lane of one route and priority.
func LaneNamed(provider, route string, priority job.Priority) link.Lane {
	shard := strconv.Itoa(link.ShardOf(route))
	tok := link.Token(route)
	return link.Lane{
		Stream:   QueueStream + shard,
		Subject:  PrefixQueue + link.Token(provider) + "." + tok + "." + string(priority) + "." + shard + ".*",
		Consumer: "j-" + tok + "-" + string(priority),
	}
}

// LaneOf returns the lane of a route's jobs of one priority.
func LaneOf(route *inference.Route, priority job.Priority) link.Lane {
	return LaneNamed(route.Provider, route.Name, priority)
}

// QueueSubject is the subject of a job in its work queue.
func QueueSubject(r *job.Record) string {
	return strings.TrimSuffix(LaneNamed(r.Provider, r.Route, r.Priority).Subject, "*") + string(r.ID)
}

// InputPrefix begins the subjects of a job's inputs.
func InputPrefix(id job.ID) string {
	return prefixInput + ShardOf(string(id)) + "." + string(id) + "."
}

// OutputPrefix begins the subjects of a job's results.
func OutputPrefix(id job.ID) string {
	return prefixOutput + ShardOf(string(id)) + "." + string(id) + "."
}

// PartSubject is the subject of the n-th part of a body; prefix names the job, series the try that wrote the body.
func PartSubject(prefix, series string, n int) string { return prefix + series + "." + strconv.Itoa(n) }

const (
	// PauseShard is the shard of the records' streams that stores which queues are paused.
	PauseShard = "0"
	// HeaderPaused says whether a queue is paused; the subject's last token names the route.
	HeaderPaused = "Hr-Paused"
	// SubjectCancel tells all workers to abort a running job.
	SubjectCancel = "hr.job.cancel"
	// AckWait is how long the lease of a running job lasts without a heartbeat.
	AckWait = 30 * time.Second
)

// Lane is one work queue of jobs, as reports name it.
type Lane struct {
	Route    string       `json:"route"`
	Priority job.Priority `json:"priority"`
}
