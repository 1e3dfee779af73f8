package job

import "time"

// Lane is what waits in the work queue of one route and priority, as of a moment ago.
type Lane struct {
	Waiting int
	Oldest  time.Time // when the next job was queued; zero = none, or not known
	Rate    float64   // jobs started a second, over the last minute
}

// Place is where a waiting job stands in its queue, as far as that is known.
type Place struct {
	Ahead int           // jobs that start before it, and itself; an upper bound
	Wait  time.Duration // until it starts, at the rate of the last minute; 0 = not known
}
