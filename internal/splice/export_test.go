package splice

// Plain and Digits are the two eight-bytes-at-a-time searches.
var (
	Plain  = plain
	Digits = digits
)
