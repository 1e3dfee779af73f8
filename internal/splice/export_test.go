package splice

// Plain and Digits are the two eight-bytes-at-a-time searches.
func Plain(src []byte, i int) int  { return plain(src, i) }
func Digits(src []byte, i int) int { return digits(src, i) }
