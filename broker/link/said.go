package link

import (
	"strings"
	"sync"
	"unicode"
)

// Said remembers the text that was logged last, so that a failure that is repeated has one line.
type Said struct {
	mu   sync.Mutex
	text string
}

// News reports whether err differs from the last one, digits aside. A nil err forgets the last one.
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
