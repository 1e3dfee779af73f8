package link

import (
	"strings"
	"sync"
	"unicode"
)

// Said remembers what was logged last, so that what is tried again and again is told once.
type Said struct {
	mu   sync.Mutex
	text string
}

// News reports whether err was not said last; that its numbers differ is no news. nil forgets.
func (s *Said) News(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := ""
	if err != nil {
		text = strings.Map(withoutDigits, err.Error())
	}
	news := text != s.text
	s.text = text
	return news && text != ""
}

func withoutDigits(r rune) rune {
	if unicode.IsDigit(r) {
		return -1
	}
	return r
}
