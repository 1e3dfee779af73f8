package schema

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// ErrUnreadable is the error of Text for bytes that are no text.
var ErrUnreadable = errors.New("the body is not text in UTF-8, UTF-16 or UTF-32")

// Text makes UTF-8 of a body as Python's json.loads does of bytes: a byte order mark is dropped, UTF-16 and
// UTF-32 are recognised by the mark or by where the first bytes are zero, and surrogates encoded as UTF-8 are
// let in, as escapes. Ordinary bodies are returned as they are. The error is ErrUnreadable, with the byte where it
// stands.
func Text(body []byte) ([]byte, error) {
	if decode := wide(body); decode != nil {
		return decode(body)
	}
	text := bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	if utf8.Valid(text) {
		return text, nil
	}
	return escapeSurrogates(text, len(body)-len(text))
}

// unreadable is ErrUnreadable at a byte.
func unreadable(at int) error { return fmt.Errorf("%w: wrong at byte %d", ErrUnreadable, at) }

// wide recognises bodies of more than one byte a character; nil for others.
func wide(b []byte) func([]byte) ([]byte, error) {
	little, big := binary.LittleEndian, binary.BigEndian
	switch {
	case bytes.HasPrefix(b, []byte{0xff, 0xfe, 0, 0}), bytes.HasPrefix(b, []byte{0, 0, 0xfe, 0xff}):
		if b[0] == 0 {
			return func(b []byte) ([]byte, error) { return from32(b, 4, big) }
		}
		return func(b []byte) ([]byte, error) { return from32(b, 4, little) }
	case bytes.HasPrefix(b, []byte{0xff, 0xfe}):
		return func(b []byte) ([]byte, error) { return from16(b, 2, little) }
	case bytes.HasPrefix(b, []byte{0xfe, 0xff}):
		return func(b []byte) ([]byte, error) { return from16(b, 2, big) }
	}
	zero := func(i int) bool { return i < len(b) && b[i] == 0 }
	switch {
	case len(b) >= 4 && zero(0) && zero(1):
		return func(b []byte) ([]byte, error) { return from32(b, 0, big) }
	case len(b) >= 2 && zero(0):
		return func(b []byte) ([]byte, error) { return from16(b, 0, big) }
	case len(b) >= 4 && zero(1) && zero(2) && zero(3):
		return func(b []byte) ([]byte, error) { return from32(b, 0, little) }
	case len(b) >= 2 && zero(1):
		return func(b []byte) ([]byte, error) { return from16(b, 0, little) }
	}
	return nil
}

// from16 reads what follows a mark.
func from16(b []byte, mark int, order binary.ByteOrder) ([]byte, error) {
	if len(b)%2 != 0 {
		return nil, unreadable(len(b) - 1)
	}
	out := make([]byte, 0, len(b))
	for i := mark; i < len(b); i += 2 {
		r := rune(order.Uint16(b[i:]))
		if utf16.IsSurrogate(r) && i+3 < len(b) {
			if pair := utf16.DecodeRune(r, rune(order.Uint16(b[i+2:]))); pair != utf8.RuneError {
				r = pair
				i += 2
			}
		}
		out = appendRune(out, r)
	}
	return out, nil
}

// from32 reads what follows a mark.
func from32(b []byte, mark int, order binary.ByteOrder) ([]byte, error) {
	if len(b)%4 != 0 {
		return nil, unreadable(len(b) - len(b)%4)
	}
	out := make([]byte, 0, len(b)/2)
	for i := mark; i < len(b); i += 4 {
		u := order.Uint32(b[i:])
		if u > utf8.MaxRune {
			return nil, unreadable(i)
		}
		out = appendRune(out, rune(u))
	}
	return out, nil
}

// appendRune writes a character, a lone surrogate as its JSON escape.
func appendRune(out []byte, r rune) []byte {
	if !utf16.IsSurrogate(r) {
		return utf8.AppendRune(out, r)
	}
	const hex = "0123456789abcdef"
	return append(out, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}

// escapeSurrogates is told how many bytes stood before body.
func escapeSurrogates(body []byte, before int) ([]byte, error) {
	out := make([]byte, 0, len(body)+16)
	for i := 0; i < len(body); {
		if r, size := utf8.DecodeRune(body[i:]); r != utf8.RuneError || size > 1 {
			out = append(out, body[i:i+size]...)
			i += size
			continue
		}
		if i+2 >= len(body) || body[i] != 0xed || body[i+1]&0xe0 != 0xa0 || body[i+2]&0xc0 != 0x80 {
			return nil, unreadable(before + i)
		}
		out = appendRune(out, 0xd000|rune(body[i+1]&0x3f)<<6|rune(body[i+2]&0x3f))
		i += 3
	}
	return out, nil
}
