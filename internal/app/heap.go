package app

import (
	"os"
	"runtime"
)

// ballastBytes is how much larger the heap looks to the garbage collector than it is.
const ballastBytes = 32 << 20

// ballast keeps the garbage collector from running for every few megabytes: the heap of an idle process is
// tiny, a call allocates some 40 KB, and without this a loaded process collected dozens of times a second,
// which cost it more than a third of its throughput. The memory is never touched, so it takes up addresses
// and no RAM. Whoever sets GOGC or GOMEMLIMIT has other plans. The returned function ends it.
func ballast() (release func()) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	weight := make([]byte, ballastBytes)
	return func() { runtime.KeepAlive(weight) }
}
