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

// namedLane is a lane's subject, read.
type namedLane struct {
	Lane

	Provider string
}

// ParseLane reads job.<provider>.<route>.<priority>.<shard>.
func ParseLane(subject string) (namedLane, bool) {
	parts := strings.Split(subject, ".")
	if len(parts) != 5 {
		return namedLane{}, false
	}
	return namedLane{Lane{link.Untoken(parts[2]), job.Priority(parts[3])}, link.Untoken(parts[1])}, true
}

// Names of jobs' streams, subjects and headers.
const (
	// Shards is the number of streams for records and for bodies. A job's shard is a hash of its id, fixed for
	// ever. Several, because each stream writes one message at a time.
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

func ShardOf(id string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id)) // a hash never fails to write
	return strconv.Itoa(int(h.Sum32() % Shards))
}

func RecordSubject(id job.ID) string { return PrefixRecord + ShardOf(string(id)) + "." + string(id) }

// IdOfEvent is the job that an event is about.
func IdOfEvent(subject string) job.ID { return job.ID(subject[strings.LastIndexByte(subject, '.')+1:]) }

// LaneNamed names the work queue of one route and priority.
func LaneNamed(provider, route string, priority job.Priority) link.Lane {
	shard := strconv.Itoa(link.ShardOf(route))
	tok := link.Token(route)
	return link.Lane{
		Stream:   QueueStream + shard,
		Subject:  PrefixQueue + link.Token(provider) + "." + tok + "." + string(priority) + "." + shard + ".*",
		Consumer: "j-" + tok + "-" + string(priority),
	}
}

func LaneOf(route *inference.Route, priority job.Priority) link.Lane {
	return LaneNamed(route.Provider, route.Name, priority)
}

func QueueSubject(r *job.Record) string {
	return strings.TrimSuffix(LaneNamed(r.Provider, r.Route, r.Priority).Subject, "*") + string(r.ID)
}

func InputPrefix(id job.ID) string {
	return prefixInput + ShardOf(string(id)) + "." + string(id) + "."
}

func OutputPrefix(id job.ID) string {
	return prefixOutput + ShardOf(string(id)) + "." + string(id) + "."
}

func PartSubject(prefix, series string, n int) string { return prefix + series + "." + strconv.Itoa(n) }

const (
	// PauseShard is the shard of the records' streams that holds which queues are paused.
	PauseShard = "0"
	// HeaderPaused says whether a queue is paused; its name is the subject's last token.
	HeaderPaused = "Hr-Paused"
	// SubjectCancel tells all workers that a running job is to be aborted.
	SubjectCancel = "hr.job.cancel"
	// AckWait is how long the lease of a running job lasts without a heartbeat.
	AckWait = 30 * time.Second
)

// Lane is one work queue of jobs.
type Lane struct {
	Route    string       `json:"route"`
	Priority job.Priority `json:"priority"`
}
