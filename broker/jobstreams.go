package broker

import (
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Shares of the bytes on disk. Bodies need most; a queue entry is short.
const (
	recordShare = 0.30
	dataShare   = 0.60
	queueShare  = 0.08
	// maxQueued bounds the jobs that wait in one shard of the work queue.
	maxQueued = 12_000_000
)

// config is the configuration of one of the jobs' streams; ok is false for other names.
func (l JobLimits) config(name string) (config jetstream.StreamConfig, ok bool) {
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
		config.Metadata = map[string]string{syncMark: "asked for"}
	}
	switch kind + "_" {
	case recordStream:
		config.Description = "Headrace: the records of jobs, idempotency keys, paused queues"
		config.Subjects = []string{prefixRecord + shard + ".*", prefixKey + shard + ".*", prefixPause + shard + ".*"}
		if !l.Sync { // else see jobversions.go
			config.MaxMsgsPerSubject = 1
		}
		config.AllowMsgTTL = true
		config.MaxBytes = int64(float64(l.MaxStore) * recordShare / jobShards)
		if l.MaxRetained > 0 {
			config.MaxMsgs = int64(l.MaxRetained/jobShards + 1)
		}
		config.RePublish = &jetstream.RePublish{
			Source: prefixRecord + shard + ".*", Destination: prefixEvent + shard + ".{{wildcard(1)}}", HeadersOnly: true,
		}
	case dataStream:
		config.Description = "Headrace: large inputs and results of jobs"
		config.Subjects = []string{prefixInput + shard + ".>", prefixOutput + shard + ".>"}
		config.MaxMsgsPerSubject = 1
		config.AllowMsgTTL = true
		config.MaxBytes = int64(float64(l.MaxStore) * dataShare / jobShards)
	case queueStream:
		config.Description = "Headrace: jobs that wait for a worker"
		config.Subjects = []string{prefixQueue + "*.*.*." + shard + ".*"}
		config.Retention = jetstream.WorkQueuePolicy
		config.MaxMsgsPerSubject = 1
		config.DiscardNewPerSubject = true
		config.MaxConsumers = maxJobLanes
		config.MaxBytes = int64(float64(l.MaxStore) * queueShare / Shards)
		config.MaxMsgs = maxQueued
		config.Duplicates = 100 * time.Millisecond // no message carries an id; the least the server allows
	default:
		return config, false
	}
	return config, true
}
