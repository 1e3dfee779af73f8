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

// LaneName names a lane of any provider: a subject of a work queue without the job's id.
type LaneName string

// LaneNameOf returns the lane of a job.
func LaneNameOf(r *job.Record) LaneName {
	return LaneName(strings.TrimSuffix(laneNamed(r.Provider, r.Route, r.Priority).Subject, ".*"))
}

// Lane returns the route and the priority; ok is false for what is no name of a lane.
func (n LaneName) Lane() (lane Lane, ok bool) {
	named, ok := parseLane(string(n))
	return named.Lane, ok
}

// Beside reports whether the queues of two lanes are in one stream.
func (n LaneName) Beside(other LaneName) bool { return n.shard() == other.shard() }

// In reports whether the lane's queue is in the stream of a shard (0 to QueueShards-1).
func (n LaneName) In(shard int) bool { return n.shard() == strconv.Itoa(shard) }

func (n LaneName) shard() string { return string(n[strings.LastIndexByte(string(n), '.')+1:]) }

// place is the subject of one of the lane's jobs.
func (n LaneName) place(id job.ID) string { return string(n) + "." + string(id) }

// namedLane is what a lane's name says.
type namedLane struct {
	Lane

	Provider string
}

// parseLane reads job.<provider>.<route>.<priority>.<shard>. ok is false for other subjects.
func parseLane(subject string) (namedLane, bool) {
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

	recordStream = "JOBREC_"  // + shard: records and idempotency keys
	dataStream   = "JOBDATA_" // + shard: inputs and large results
	queueStream  = "JOBS_"    // + shard of the route: the work queues

	prefixRecord = "hrj.rec."
	prefixKey    = "hrj.key."
	prefixPause  = "hrj.ctl." // paused queues
	prefixEvent  = "hrj.evt." // each record written is re-published here, headers only
	prefixInput  = "hrj.in."
	prefixOutput = "hrj.out."
	PrefixQueue  = "job."

	headerState = "Hr-State"
	headerDue   = "Hr-Due"  // unix milliseconds; absent when nothing is due
	headerLane  = "Hr-Lane" // subject in the work queue
	headerRun   = "Hr-Run"
	headerList  = "Hr-List" // listed, as JSON
	headerTag   = "Hr-Tag"  // names the write to its process; absent when it remembers nothing
)

// ShardOf returns the shard of a job's id, or of an idempotency key.
func ShardOf(id string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id)) // a hash never fails to write
	return strconv.Itoa(int(h.Sum32() % Shards))
}

// recordSubject is the subject of a job's record.
func recordSubject(id job.ID) string { return prefixRecord + ShardOf(string(id)) + "." + string(id) }

// IdOfEvent returns the job that an event is about.
func IdOfEvent(subject string) job.ID { return job.ID(subject[strings.LastIndexByte(subject, '.')+1:]) }

// laneNamed returns the lane of one route and priority.
func laneNamed(provider, route string, priority job.Priority) link.Lane {
	shard := strconv.Itoa(link.ShardOf(route))
	tok := link.Token(route)
	return link.Lane{
		Stream:   queueStream + shard,
		Subject:  PrefixQueue + link.Token(provider) + "." + tok + "." + string(priority) + "." + shard + ".*",
		Consumer: "j-" + tok + "-" + string(priority),
	}
}

// LaneOf returns the lane of a route's jobs of one priority.
func LaneOf(route *inference.Route, priority job.Priority) link.Lane {
	return laneNamed(route.Provider, route.Name, priority)
}

// queueSubject is the subject of a job in its work queue.
func queueSubject(r *job.Record) string { return LaneNameOf(r).place(r.ID) }

// InputPrefix begins the subjects of a job's inputs.
func InputPrefix(id job.ID) string {
	return prefixInput + ShardOf(string(id)) + "." + string(id) + "."
}

// OutputPrefix begins the subjects of a job's results.
func OutputPrefix(id job.ID) string {
	return prefixOutput + ShardOf(string(id)) + "." + string(id) + "."
}

// partSubject is the subject of the n-th part of a body; prefix names the job, series the try that wrote the body.
func partSubject(prefix, series string, n int) string { return prefix + series + "." + strconv.Itoa(n) }

const (
	// pauseShard is the shard of the records' streams that stores which queues are paused.
	pauseShard = "0"
	// headerPaused says whether a queue is paused; the subject's last token names the route.
	headerPaused = "Hr-Paused"
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
