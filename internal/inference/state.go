package inference

// RouteState is how a route fares at one moment, as far as one front end knows.
type RouteState struct {
	Workers  int       // live worker processes that serve the route
	Slots    int       // calls they can run at the same time
	Waiting  int       // synchronous calls of this front end that no worker has claimed yet
	Replicas []Replica // the model servers behind the route, as the workers see them; may be empty
}

// Replica is one model server of a route.
type Replica struct {
	URL      string `json:"url"`      // base URL; may hold credentials, so it is never shown unredacted
	State    string `json:"state"`    // "up", "down", "probing" or "unknown"
	Busy     int    `json:"busy"`     // calls it runs now
	Failures int    `json:"failures"` // failures in a row
}
