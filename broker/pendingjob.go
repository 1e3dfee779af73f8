package broker

import (
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headrace/internal/job"
)

// pendingJob is a job that has not ended. There may be millions: every byte counts.
type pendingJob struct {
	id       job.ID
	due      instant
	then     instant // due after the check
	revision uint64
	lane     *string // shared by all jobs of a lane
	index    int32   // in the heap; -1 while a hand has it
	verify   bool    // its place in the queue is to be checked first
	busy     bool    // a hand has it
	phase    phase   // as which it is counted
	missed   uint8   // how often its record was looked for in vain
}

// instant is a time in unix milliseconds; 0 = never.
type instant int64

func instantOf(t time.Time) instant { return instant(t.UnixMilli()) }

// in reports how long it is until then.
func (i instant) in(now time.Time) time.Duration { return time.UnixMilli(int64(i)).Sub(now) }

// past reports whether there is such a time, and it has come.
func (i instant) past(now time.Time) bool { return i != 0 && i.in(now) <= 0 }

// future reports whether there is such a time, and it is still to come.
func (i instant) future(now time.Time) bool { return i != 0 && i.in(now) > 0 }

// jobNews is what the headers of a record that was written say.
type jobNews struct {
	id       job.ID // part of a message's text
	state    job.State
	place    string // in the work queue
	due      instant
	shard    string
	revision uint64
	at       time.Time
}

func readNews(msg jetstream.Msg) (*jobNews, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return nil, fmt.Errorf("a record without its number: %w", err)
	}
	header := msg.Headers()
	n := &jobNews{
		id: idOfEvent(msg.Subject()), state: job.State(header.Get(headerState)), place: header.Get(headerLane),
		shard: meta.Stream[len(recordStream):], revision: meta.Sequence.Stream, at: meta.Timestamp,
	}
	if ms, err := strconv.ParseInt(header.Get(headerDue), 10, 64); err == nil {
		n.due = instant(ms)
	}
	return n, nil
}

// dueHeap has the job that is due next first.
type dueHeap []*pendingJob

// Len is part of heap.Interface.
func (h *dueHeap) Len() int { return len(*h) }

// Less is part of heap.Interface. Jobs without a due time are last.
func (h *dueHeap) Less(a, b int) bool {
	first, second := (*h)[a].due, (*h)[b].due
	if first == 0 || second == 0 {
		return first != 0
	}
	return first < second
}

// Swap is part of heap.Interface.
func (h *dueHeap) Swap(a, b int) {
	list := *h
	list[a], list[b] = list[b], list[a]
	list[a].index, list[b].index = int32(a), int32(b)
}

// Push is part of heap.Interface.
func (h *dueHeap) Push(x any) {
	p, ok := x.(*pendingJob)
	if !ok {
		return
	}
	p.index = int32(len(*h))
	*h = append(*h, p)
}

// Pop is part of heap.Interface.
func (h *dueHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	last.index = -1
	*h = old[:len(old)-1]
	return last
}
