package inference

// RouteState is how a route fares at one moment, as far as one front end knows.
type RouteState struct {
	Workers  int       // live worker processes that serve the route
	Slots    int       // calls they can run at the same time
	Waiting  int       // synchronous calls of this front end that no worker has claimed yet
	Replicas []Replica // the model servers behind the route, as the workers see them; may be empty
	// Batching is what each worker that tells has learned of sharing calls.
	Batching []Batching
}

// Batching is what one worker has learned of one route.
type Batching struct {
	Route string    `json:"route"`
	Mode  BatchMode `json:"mode"`
	// Stage is "off", "on", or how far the proof of the mode "auto" is: "unproven", "probing", "proven" or "refuted".
	Stage  string `json:"stage"`
	Reason string `json:"reason,omitempty"` // of a refutation
	// Size is how many inputs the next call may have; Pays whether sharing calls has been found to be faster, nil before
	// it was tried.
	Size int   `json:"size"`
	Pays *bool `json:"pays,omitempty"`
	// What calls cost, in milliseconds: each one, and each input in it; 0 before it is known.
	CallMS float64 `json:"call_ms"`
	ItemMS float64 `json:"item_ms"`
	// Calls to the model server that were answered, and the requests and inputs in them.
	Calls    uint64 `json:"calls"`
	Requests uint64 `json:"requests"`
	Items    uint64 `json:"items"`
	// Isolating counts the calls made to find which request failed a shared one.
	Isolating uint64 `json:"isolating"`
}

// Replica is one model server of a route.
type Replica struct {
	URL      string `json:"url"`      // base URL; may hold credentials, so it is never shown unredacted
	State    string `json:"state"`    // "up", "down", "aside" or "unknown"
	Busy     int    `json:"busy"`     // calls it runs now
	Failures int    `json:"failures"` // failures in a row
	// Format is the form in which it is asked, once that is known.
	Format string `json:"format,omitempty"`
}
