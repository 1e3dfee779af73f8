package calls

import (
	"cmp"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/link"
)

// maxStreamMessages bounds one shard; front ends refuse long before.
const maxStreamMessages = 1_000_000

// Streams are the streams of the sync lane.
type Streams struct {
	changed chan struct{} // capacity 1
	lanes   int           // most consumers of one stream
	copies  int

	mu      sync.Mutex
	maxWait time.Duration
}

// MaxLanes is how many routes' calls one stream has room for at a time; of more the lanes take turns. A wider stream would make
// each acknowledgement slower.
const MaxLanes = 128

// NewStreams makes them. maxWait is the longest synchronous wait of any route: the age at which a message that was not
// claimed is dropped. lanes is how many consumers one stream may have; 0 is MaxLanes. copies is on how many servers of a cluster
// each message is; 0 is one.
func NewStreams(maxWait time.Duration, lanes, copies int) (*Streams, error) {
	if maxWait <= 0 {
		return nil, fmt.Errorf("broker: longest wait %s is not positive", maxWait)
	}
	return &Streams{changed: make(chan struct{}, 1), lanes: cmp.Or(lanes, MaxLanes), copies: max(copies, 1), maxWait: maxWait}, nil
}

// SetMaxWait changes the longest synchronous wait. Messages may be kept for longer from then on, never shorter.
func (s *Streams) SetMaxWait(maxWait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if maxWait <= s.maxWait {
		return
	}
	s.maxWait = maxWait
	link.Ring(s.changed)
}

// Always is empty: they are made when they are used first.
func (s *Streams) Always() []string { return nil }

// Changed is sent to when messages are to be kept for longer.
func (s *Streams) Changed() <-chan struct{} { return s.changed }

// Config is the configuration of one of the streams; ok is false for other names.
func (s *Streams) Config(stream string) (config jetstream.StreamConfig, ok bool) {
	shard, ok := link.ShardOfStream(stream)
	if !ok {
		return config, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return jetstream.StreamConfig{
		Name:         stream,
		Description:  "Headrace: synchronous requests that wait for a worker",
		Subjects:     []string{link.StreamSubject(shard)},
		Retention:    jetstream.WorkQueuePolicy,
		Storage:      jetstream.MemoryStorage,
		Discard:      jetstream.DiscardNew,
		MaxMsgs:      maxStreamMessages,
		MaxAge:       s.maxWait,
		MaxConsumers: s.lanes,
		Replicas:     s.copies,
		AllowDirect:  true,
		Duplicates:   100 * time.Millisecond, // no message carries an id; the least the server allows
	}, true
}
