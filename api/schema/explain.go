package schema

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// Complaint is what Python says of a text that is not JSON.
type Complaint struct {
	Offset int    // in characters, from 0
	Reason string // for example "Expecting value"
}

// Explain finds the place in text, which is UTF-8 and not JSON, that Python's json.loads complains about.
func Explain(text []byte) Complaint {
	p := &parser{src: text}
	end := p.value(p.space(0), 0)
	if end >= 0 {
		if end = p.space(end); end < len(text) {
			p.fail(end, "Extra data")
		}
	}
	return Complaint{Offset: utf8.RuneCount(text[:min(max(p.at, 0), len(text))]), Reason: p.reason}
}

// maxExplained is the depth below which nothing is looked at: deeper texts are refused before.
const maxExplained = 1000

// parser walks like Python's scanner. A negative position means that it complained.
type parser struct {
	src    []byte
	at     int
	reason string
}

func (p *parser) fail(at int, reason string) int {
	p.at, p.reason = at, reason
	return -1
}

func (p *parser) byteAt(i int) byte {
	if i < len(p.src) {
		return p.src[i]
	}
	return 0
}

func (p *parser) space(i int) int {
	for i < len(p.src) && strings.IndexByte(" \t\n\r", p.src[i]) >= 0 {
		i++
	}
	return i
}

func (p *parser) value(i, depth int) int {
	if depth > maxExplained {
		return p.fail(i, "Nested too deeply")
	}
	switch p.byteAt(i) {
	case '"':
		return p.str(i)
	case '{':
		return p.object(i, depth)
	case '[':
		return p.array(i, depth)
	}
	for _, word := range []string{"null", "true", "false", "NaN", "Infinity", "-Infinity"} {
		if bytes.HasPrefix(p.src[min(i, len(p.src)):], []byte(word)) {
			return i + len(word)
		}
	}
	return p.number(i)
}

func (p *parser) digits(i int) int {
	for c := p.byteAt(i); c >= '0' && c <= '9'; c = p.byteAt(i) {
		i++
	}
	return i
}

// number takes the longest prefix that is a number; what follows is somebody else's complaint.
func (p *parser) number(i int) int {
	first := i
	if p.byteAt(i) == '-' {
		first++
	}
	end := p.digits(first)
	if end == first {
		return p.fail(i, "Expecting value")
	}
	if p.byteAt(first) == '0' {
		end = first + 1
	}
	if p.byteAt(end) == '.' {
		if e := p.digits(end + 1); e > end+1 {
			end = e
		}
	}
	if c := p.byteAt(end); c == 'e' || c == 'E' {
		exponent := end + 1
		if s := p.byteAt(exponent); s == '+' || s == '-' {
			exponent++
		}
		if e := p.digits(exponent); e > exponent {
			end = e
		}
	}
	return end
}

func (p *parser) array(i, depth int) int {
	i = p.space(i + 1)
	if p.byteAt(i) == ']' {
		return i + 1
	}
	for {
		if i = p.value(i, depth+1); i < 0 {
			return i
		}
		i = p.space(i)
		switch p.byteAt(i) {
		case ']':
			return i + 1
		case ',':
			i = p.space(i + 1)
		default:
			return p.fail(i, "Expecting ',' delimiter")
		}
	}
}

func (p *parser) object(i, depth int) int {
	i = p.space(i + 1)
	if p.byteAt(i) == '}' {
		return i + 1
	}
	for {
		if p.byteAt(i) != '"' {
			return p.fail(i, "Expecting property name enclosed in double quotes")
		}
		if i = p.str(i); i < 0 {
			return i
		}
		if i = p.space(i); p.byteAt(i) != ':' {
			return p.fail(i, "Expecting ':' delimiter")
		}
		if i = p.value(p.space(i+1), depth+1); i < 0 {
			return i
		}
		i = p.space(i)
		switch p.byteAt(i) {
		case '}':
			return i + 1
		case ',':
			i = p.space(i + 1)
		default:
			return p.fail(i, "Expecting ',' delimiter")
		}
	}
}

func (p *parser) str(begin int) int {
	for i := begin + 1; i < len(p.src); i++ {
		switch c := p.src[i]; {
		case c == '"':
			return i + 1
		case c < 0x20:
			return p.fail(i, "Invalid control character at")
		case c == '\\':
			if i+1 >= len(p.src) {
				return p.fail(begin, "Unterminated string starting at")
			}
			i++
			if p.src[i] == 'u' {
				if !hex4(p.src[i+1:]) {
					return p.fail(i, "Invalid \\uXXXX escape")
				}
				i += 4
				continue
			}
			if strings.IndexByte(`"\/bfnrt`, p.src[i]) < 0 {
				return p.fail(i-1, "Invalid \\escape")
			}
		}
	}
	return p.fail(begin, "Unterminated string starting at")
}

// hex4 tells four digits that something follows, if only the end of the string.
func hex4(b []byte) bool {
	if len(b) < 5 {
		return false
	}
	for _, c := range b[:4] {
		if strings.IndexByte("0123456789abcdefABCDEF", c) < 0 {
			return false
		}
	}
	return true
}
