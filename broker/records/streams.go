package records

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/link"
)

// Shares of the bytes on disk. Bodies need the largest; a queue entry is short.
const (
	recordShare = 0.30
	dataShare   = 0.60
	queueShare  = 0.08
	// maxQueued bounds the jobs that wait in one shard of the work queue.
	maxQueued = 12_000_000
)

// Limits bounds what is stored of jobs, and describes the streams of jobs to a keeper.
type Limits struct {
	MaxStore    int64 // bytes on disk, over all streams
	MaxRetained int   // records, over all streams
	Replicas    int   // copies of each stream; 0 counts as 1
	Lanes       int   // most consumers of one work queue; 0 = 256
	// Sync says that the server syncs on request, and never before it acknowledges.
	Sync bool
}

// Always are the streams of records and bodies, which have nine tenths of the store: whether they can be made decides
// whether jobs can be accepted. Work queues are made when they are used first.
func (l Limits) Always() []string { return SyncedStreams() }

// Changed is nil: the configurations stay as they are.
func (l Limits) Changed() <-chan struct{} { return nil }

// Config is the configuration of one of the jobs' streams; ok is false for other names.
func (l Limits) Config(name string) (config jetstream.StreamConfig, ok bool) {
	kind, shard, found := strings.Cut(name, "_")
	if !found || shard == "" || strings.Trim(shard, "0123456789") != "" {
		return config, false
	}
	config = jetstream.StreamConfig{
		Name: name, Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew, Replicas: max(l.Replicas, 1),
		// Replicas answer direct reads, too, while they are behind: a job that was just accepted would not be there.
		AllowDirect: l.Replicas <= 1,
	}
	if l.Sync && kind+"_" != queueStream {
		config.Metadata = map[string]string{link.SyncMark: "asked for"}
	}
	switch kind + "_" {
	case recordStream:
		config.Description = "Headrace: the records of jobs, idempotency keys, paused queues"
		config.Subjects = []string{prefixRecord + shard + ".*", prefixKey + shard + ".*", prefixPause + shard + ".*"}
		if !l.Sync { // else see versions.go
			config.MaxMsgsPerSubject = 1
		}
		config.AllowMsgTTL = true
		config.MaxBytes = int64(float64(l.MaxStore) * recordShare / Shards)
		if l.MaxRetained > 0 {
			config.MaxMsgs = int64(l.MaxRetained/Shards + 1)
		}
		config.RePublish = &jetstream.RePublish{
			Source: prefixRecord + shard + ".*", Destination: prefixEvent + shard + ".{{wildcard(1)}}", HeadersOnly: true,
		}
	case dataStream:
		config.Description = "Headrace: large inputs and results of jobs"
		config.Subjects = []string{prefixInput + shard + ".>", prefixOutput + shard + ".>"}
		config.MaxMsgsPerSubject = 1
		config.AllowMsgTTL = true
		config.MaxBytes = int64(float64(l.MaxStore) * dataShare / Shards)
	case queueStream:
		config.Description = "Headrace: jobs that wait for a worker"
		config.Subjects = []string{PrefixQueue + "*.*.*." + shard + ".*"}
		config.Retention = jetstream.WorkQueuePolicy
		config.MaxMsgsPerSubject = 1
		config.DiscardNewPerSubject = true
		config.MaxConsumers = cmp.Or(l.Lanes, maxJobLanes)
		config.MaxBytes = int64(float64(l.MaxStore) * queueShare / link.Shards)
		config.MaxMsgs = maxQueued
		config.Duplicates = 100 * time.Millisecond // no message carries an id; the least the server allows
	default:
		return config, false
	}
	return config, true
}

// SyncedStreams lists the streams whose writes must survive a loss of power. The work queues are not among them: a lost
// entry is queued again from its record.
func SyncedStreams() []string {
	var names []string
	for shard := range Shards {
		names = append(names, recordStream+strconv.Itoa(shard), dataStream+strconv.Itoa(shard))
	}
	return names
}

const (
	maxJobLanes = 256
)
