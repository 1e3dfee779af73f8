package runner

// Away reports whether an error of the store costs a job no attempt.
func Away(err error) bool { return away(err) }
