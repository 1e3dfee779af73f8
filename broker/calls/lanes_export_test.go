package calls

// Limit sets how many consumers one stream has room for. It must be called before the keeper runs.
func (s *Streams) Limit(n int) { s.lanes = n }
