package calls

import "headrace/broker/link"

// Limit sets how many consumers one stream has room for. It must be called before the keeper runs.
func (s *Streams) Limit(n int) { s.lanes = n }

// LanesTogether is how many routes' calls all streams have room for.
const LanesTogether = link.Shards * maxCallLanes
