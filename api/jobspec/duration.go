package jobspec

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// span is a duration: a number of seconds, or a string such as "90s" or "1h30m". wrong says why it is none, for the
// reader that can name the field.
type span struct {
	d     time.Duration
	wrong string
}

// UnmarshalJSON reads both forms. It never fails: see wrong.
func (s *span) UnmarshalJSON(text []byte) error {
	var words string
	if string(text) == "null" {
		return nil
	}
	if json.Unmarshal(text, &words) != nil {
		words = string(text)
	}
	s.parse(words)
	return nil
}

func (s *span) parse(words string) {
	*s = span{}
	d, err := time.ParseDuration(words)
	if err != nil {
		seconds, numErr := strconv.ParseFloat(words, 64)
		if numErr == nil && seconds >= mostSeconds || errors.Is(numErr, strconv.ErrRange) {
			s.wrong = fmt.Sprintf("is %.40q, which is too large: it must be less than %.0f seconds", words, float64(mostSeconds))
			return
		}
		if numErr != nil || seconds != seconds {
			s.wrong = fmt.Sprintf("is %.40q; it must be a number of seconds, or a duration such as \"90s\" or \"1h30m\"", words)
			return
		}
		d = time.Duration(max(seconds, -1) * float64(time.Second))
	}
	if d <= 0 { // 0 would be taken for what is not given, which mostly means without a limit
		s.wrong = fmt.Sprintf("is %.40q; it must be more than 0; leave it out for the default", words)
		return
	}
	s.d = d
}

// instant is a time as RFC 3339 has it; wrong as for span.
type instant struct {
	at    *time.Time
	wrong string
}

// UnmarshalJSON never fails: see wrong.
func (i *instant) UnmarshalJSON(text []byte) error {
	var words string
	if string(text) == "null" {
		return nil
	}
	if json.Unmarshal(text, &words) != nil {
		words = string(text)
	}
	i.parse(words)
	return nil
}

func (i *instant) parse(words string) {
	*i = instant{}
	at, err := time.Parse(time.RFC3339, words)
	if err != nil {
		i.wrong = fmt.Sprintf("is %.40q; it must be a time such as \"2026-01-31T12:00:00Z\"", words)
		return
	}
	i.at = &at
}
