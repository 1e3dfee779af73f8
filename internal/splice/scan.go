package splice

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
)

const tooDeep = "nested deeper than 512 levels"

// scan passes over values. Positions are byte offsets into src; a negative one means that err is set.
type scan struct {
	src []byte
	err *SyntaxError

	nonFinite bool // a NaN, an Infinity or a number beyond float64 was passed
	count     int  // elements of the array that ended last
	numbers   bool // all of them were numbers
}

func (s *scan) fail(i int, reason string) int {
	s.err = &SyntaxError{Offset: i, Reason: reason}
	return -1
}

// at is the byte at i, 0 past the end; 0 is legal nowhere outside a string, and not inside one either.
func at(src []byte, i int) byte {
	if i < len(src) {
		return src[i]
	}
	return 0
}

func skipSpace(src []byte, i int) int {
	for i < len(src) {
		if c := src[i]; c > ' ' || c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			break
		}
		i++
	}
	return i
}

// value passes over the value that starts at i, at the given depth, and returns its end.
func (s *scan) value(i, depth int) int {
	switch c := at(s.src, i); c {
	case '"':
		return s.str(i)
	case '[':
		return s.array(i, depth+1)
	case '{':
		return s.object(i, depth+1)
	case 'n':
		return s.word(i, "null")
	case 't':
		return s.word(i, "true")
	case 'f':
		return s.word(i, "false")
	case 'N':
		s.nonFinite = true
		return s.word(i, "NaN")
	case 'I':
		s.nonFinite = true
		return s.word(i, "Infinity")
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return s.number(i)
	}
	if i >= len(s.src) {
		return s.fail(i, "unexpected end, expected a value")
	}
	return s.fail(i, "expected a value")
}

func (s *scan) word(i int, word string) int {
	if !bytes.HasPrefix(s.src[i:], []byte(word)) {
		return s.fail(i, "expected a value")
	}
	return i + len(word)
}

// array is the hot path: embeddings are long rows of numbers.
func (s *scan) array(i, depth int) int {
	if depth > MaxDepth {
		return s.fail(i, tooDeep)
	}
	src := s.src
	i = skipSpace(src, i+1)
	if at(src, i) == ']' {
		s.count, s.numbers = 0, true
		return i + 1
	}
	numbers := true
	for n := 1; ; n++ {
		c := at(src, i)
		if c == '-' || c-'0' <= 9 {
			i = s.number(i)
		} else {
			numbers = numbers && (c == 'N' || c == 'I')
			i = s.value(i, depth)
		}
		if i < 0 {
			return i
		}
		if i+1 < len(src) && src[i] == ',' && src[i+1] > ' ' {
			i++
			continue
		}
		i = skipSpace(src, i)
		switch at(src, i) {
		case ',':
			i = skipSpace(src, i+1)
		case ']':
			s.count, s.numbers = n, numbers
			return i + 1
		default:
			return s.fail(i, "expected , or ]")
		}
	}
}

func (s *scan) object(i, depth int) int {
	if depth > MaxDepth {
		return s.fail(i, tooDeep)
	}
	src := s.src
	i = skipSpace(src, i+1)
	if at(src, i) == '}' {
		return i + 1
	}
	for {
		if i = s.key(i); i < 0 {
			return i
		}
		if i = s.colon(i); i < 0 {
			return i
		}
		if i = s.value(i, depth); i < 0 {
			return i
		}
		i = skipSpace(src, i)
		switch at(src, i) {
		case ',':
			i = skipSpace(src, i+1)
		case '}':
			return i + 1
		default:
			return s.fail(i, "expected , or }")
		}
	}
}

func (s *scan) key(i int) int {
	if at(s.src, i) != '"' {
		return s.fail(i, "expected a key in quotes")
	}
	return s.str(i)
}

// colon passes over the colon after a key that ended at i, and the blanks behind it.
func (s *scan) colon(i int) int {
	i = skipSpace(s.src, i)
	if at(s.src, i) != ':' {
		return s.fail(i, "expected : after the key")
	}
	return skipSpace(s.src, i+1)
}

// str passes over the string that starts with the quote at i.
func (s *scan) str(i int) int {
	src := s.src
	i++
	for {
		i = plain(src, i)
		switch c := at(src, i); {
		case i >= len(src):
			return s.fail(i, "unexpected end inside a string")
		case c == '"':
			return i + 1
		case c == '\\':
			if i = s.escape(i); i < 0 {
				return i
			}
		default:
			return s.fail(i, "a control character must be escaped inside a string")
		}
	}
}

func (s *scan) escape(i int) int {
	switch at(s.src, i+1) {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2
	case 'u':
		for k := i + 2; k < i+6; k++ {
			if c := at(s.src, k); c-'0' > 9 && (c|0x20)-'a' > 5 {
				return s.fail(k, "expected four hexadecimal digits after \\u")
			}
		}
		return i + 6
	}
	return s.fail(i+1, "unknown escape inside a string")
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// plain finds the first quote, backslash or control character from i on, eight bytes at a time. A borrow
// can only produce a false alarm in a byte after a true one, so the first mark is right.
func plain(src []byte, i int) int {
	for i+8 <= len(src) {
		x := binary.LittleEndian.Uint64(src[i:])
		quote := x ^ ones*'"'
		slash := x ^ ones*'\\'
		mark := ((quote-ones)&^quote | (slash-ones)&^slash | (x-ones*0x20)&^x) & highs
		if mark != 0 {
			return i + bits.TrailingZeros64(mark)>>3
		}
		i += 8
	}
	for i < len(src) && src[i] >= 0x20 && src[i] != '"' && src[i] != '\\' {
		i++
	}
	return i
}

// digits finds the end of the run of digits at i, eight bytes at a time. A carry only reaches bytes after
// one that is no digit, so the first mark is right.
func digits(src []byte, i int) int {
	const (
		nibble = ones * 0xF0
		zero   = ones * 0x30
	)
	for i+8 <= len(src) {
		x := binary.LittleEndian.Uint64(src[i:])
		if mark := (x&nibble ^ zero) | ((x+ones*6)&nibble ^ zero); mark != 0 {
			return i + bits.TrailingZeros64(mark)>>3
		}
		i += 8
	}
	for i < len(src) && src[i]-'0' <= 9 {
		i++
	}
	return i
}

// number passes over the number, or -Infinity, that starts at i.
func (s *scan) number(i int) int {
	src, start := s.src, i
	if src[i] == '-' {
		i++
		if at(src, i) == 'I' {
			s.nonFinite = true
			return s.word(i, "Infinity")
		}
	}
	switch c := at(src, i); {
	case c == '0':
		i++
	case c-'1' <= 8:
		i = digits(src, i+1)
	default:
		return s.fail(i, "expected a digit")
	}
	if i < len(src) && src[i] == '.' {
		first := i + 1
		if i = digits(src, first); i == first {
			return s.fail(i, "expected a digit after the decimal point")
		}
	}
	if i < len(src) && src[i]|0x20 == 'e' {
		return s.exponent(start, i)
	}
	if i-start > maxSurelyFinite && overflows(src[start:i]) {
		s.nonFinite = true
	}
	return i
}

func (s *scan) exponent(start, i int) int {
	src := s.src
	i++
	negative := at(src, i) == '-'
	if negative || at(src, i) == '+' {
		i++
	}
	first := i
	if i = digits(src, first); i == first {
		return s.fail(i, "expected a digit in the exponent")
	}
	if (!negative || i-start > maxSurelyFinite) && overflows(src[start:i]) {
		s.nonFinite = true
	}
	return i
}

// maxSurelyFinite is a length up to which a number without a positive exponent cannot exceed float64.
const maxSurelyFinite = 300

func overflows(number []byte) bool {
	f, err := strconv.ParseFloat(string(number), 64)
	return err != nil && math.IsInf(f, 0)
}

// Nulled replaces every NaN, Infinity, -Infinity and number beyond float64 in a well-formed value by null.
// A value without one is returned as it is, otherwise a copy. The result is JSON that encoding/json accepts.
func Nulled(value []byte) []byte {
	s := scan{src: value}
	var out []byte
	done := 0 // value[:done] is in out
	for i := 0; i < len(value); {
		start := i
		switch c := value[i]; {
		case c == '"':
			i = s.str(i)
		case c == '-' || c-'0' <= 9:
			i = s.number(i)
		case c == 'N':
			s.nonFinite = true
			i = s.word(i, "NaN")
		case c == 'I':
			s.nonFinite = true
			i = s.word(i, "Infinity")
		default:
			i++
		}
		if i < 0 {
			return value // not well-formed, against the promise: left alone
		}
		if s.nonFinite {
			s.nonFinite = false
			out = append(append(out, value[done:start]...), "null"...)
			done = i
		}
	}
	if done == 0 {
		return value
	}
	return append(out, value[done:]...)
}
