package app

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// ballastBytes is how much larger the heap looks to the garbage collector than it is.
	ballastBytes = 32 << 20
	// restAfter is how long a process must have had next to nothing to do before it gives memory back.
	restAfter = 30 * time.Second
	// idleBytes is what it may allocate in that time: reports, presence, metrics.
	idleBytes = 16 << 20
	// burstBytes is what it must have allocated since it last gave memory back.
	burstBytes = 64 << 20
	// calmBytes is how much memory the process may take up before the collector works harder than once for each doubling, and
	// headroomBytes the least that it has beside what is alive. Reading a large store after a start makes garbage much faster than
	// it keeps anything.
	calmBytes     = 208 << 20
	headroomBytes = 48 << 20
	// limitEvery is how often the limit follows what is alive.
	limitEvery = 250 * time.Millisecond
)

// tendHeap keeps the heap of a process in shape until ctx ends: no collection for every few megabytes, and no memory kept
// that was needed in a burst only. It does nothing when GOGC or GOMEMLIMIT is set.
func tendHeap(ctx context.Context) error {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		<-ctx.Done()
		return nil
	}
	// The heap of an idle process is tiny, a call allocates some 40 KB, and without this a loaded process collected dozens
	// of times a second, which cost it more than a third of its throughput. The memory is never touched, so it takes up
	// addresses and no RAM.
	ballast := make([]byte, ballastBytes)
	defer runtime.KeepAlive(ballast)
	before := debug.SetMemoryLimit(calmBytes)
	defer debug.SetMemoryLimit(before)
	rest := resting{}
	tick, follow := time.NewTicker(restAfter), time.NewTicker(limitEvery)
	defer tick.Stop()
	defer follow.Stop()
	for {
		if rest.begun(allocated()) {
			// The runtime keeps as much as the next collection may need, which is twice what is alive; a process with a
			// million waiting jobs kept half as much again as it used.
			debug.FreeOSMemory()
		}
		for rested := false; !rested; {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
				rested = true
			case <-follow.C:
				debug.SetMemoryLimit(memoryLimit(read("/gc/heap/live:bytes")))
			}
		}
	}
}

// memoryLimit is the soft limit of a process in which so many bytes were alive at the last collection. What the NATS server has
// read counts as alive for three collections, so up to two thirds of what is above the rest: a limit of one and a half times
// that would grow as long as jobs are read.
func memoryLimit(live uint64) int64 {
	return max(calmBytes, int64(live)+max(headroomBytes, int64(live/4)))
}

// resting tells when a burst is over.
type resting struct {
	last  uint64 // allocated when it was asked before
	freed uint64 // allocated when a burst was over
}

// begun reports whether a process that has allocated so many bytes since its start rests after a burst. It is asked once
// in restAfter.
func (r *resting) begun(bytes uint64) bool {
	idle := bytes-r.last <= idleBytes
	r.last = bytes
	if !idle || bytes-r.freed < burstBytes {
		return false
	}
	r.freed = bytes
	return true
}

// allocated is how many bytes the process has allocated since its start.
func allocated() uint64 { return read("/gc/heap/allocs:bytes") }

func read(name string) uint64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
