package app

// Resting tells when a burst of allocations is over.
type Resting struct{ r resting }

// Begun is asked with what was allocated since the start.
func (r *Resting) Begun(bytes uint64) bool { return r.r.begun(bytes) }

// MemoryLimit is the soft limit of a process in which so many bytes are alive.
func MemoryLimit(live uint64) int64 { return memoryLimit(live) }
