package app

// Resting tells when a burst of allocations is over.
type Resting struct{ r resting }

// Begun is asked with what was allocated since the start.
func (r *Resting) Begun(bytes uint64) bool { return r.r.begun(bytes) }
