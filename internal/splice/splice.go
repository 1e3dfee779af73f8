// Package splice locates values inside JSON text without decoding them.
//
// It returns slices of the text it was given, so numbers and strings travel byte for byte. In addition to the JSON that
// encoding/json accepts it tolerates the tokens NaN, Infinity and -Infinity, which Python's json writes, and reports where they
// stand so that they can be made null before the text is sent on. Nesting is limited to MaxDepth levels. As with encoding/json,
// bytes that are not UTF-8 are accepted inside strings; check the whole text with utf8.Valid, which is cheap, to refuse them.
package splice

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// MaxDepth is how deeply arrays and objects may be nested.
const MaxDepth = 512

// Kind is the kind of a JSON value.
type Kind uint8

// The kinds. NonFinite is one of Python's tokens NaN, Infinity and -Infinity standing by itself.
const (
	Invalid Kind = iota
	Null
	Bool
	Number
	NonFinite
	String
	Array
	Object
)

// String names the kind for messages, with its article: "a number".
func (k Kind) String() string {
	switch k {
	case Invalid:
		return "not JSON"
	case Null:
		return "null"
	case Bool:
		return "a boolean"
	case Number:
		return "a number"
	case NonFinite:
		return "NaN or Infinity"
	case String:
		return "a string"
	case Array:
		return "a list"
	case Object:
		return "an object"
	}
	return "not JSON"
}

// SyntaxError says where and why a text is not JSON.
type SyntaxError struct {
	Offset int    // in bytes, from 0
	Reason string // what was expected or wrong
}

// Error returns the reason and the offset.
func (e *SyntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.Reason, e.Offset) }

// KindOf returns the kind of a value, by its first bytes. It does not check the rest.
func KindOf(value []byte) Kind {
	i := skipSpace(value, 0)
	if i >= len(value) {
		return Invalid
	}
	if value[i] == '-' && i+1 < len(value) && value[i+1] == 'I' {
		return NonFinite
	}
	return kindOfByte(value[i])
}

func kindOfByte(c byte) Kind {
	switch c {
	case '{':
		return Object
	case '[':
		return Array
	case '"':
		return String
	case 'n':
		return Null
	case 't', 'f':
		return Bool
	case 'N', 'I':
		return NonFinite
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return Number
	}
	return Invalid
}

// Whole checks that text is exactly one JSON value, surrounding blanks aside, and describes it. The error is
// a *SyntaxError.
func Whole(text []byte) (Value, error) {
	r := NewReader(text)
	v, err := r.Value()
	if err != nil {
		return Value{}, err
	}
	return v, r.End()
}

// Member is one key and value of an object.
type Member struct {
	Key   string // decoded
	Value []byte // raw, without surrounding blanks
}

// Members lists the members of the one object that text holds, in order; a key that occurs twice is listed
// twice (Python and Go let the last one win). Everything is checked on the way; the error is a *SyntaxError,
// also when text does not hold an object.
func Members(text []byte) ([]Member, error) {
	var members []Member
	r := NewReader(text)
	err := r.Object(func(key string) error {
		v, err := r.Value()
		members = append(members, Member{Key: key, Value: v.Raw})
		return err
	})
	if err == nil {
		err = r.End()
	}
	if err != nil {
		return nil, err
	}
	return members, nil
}

// Elements lists the elements of the one array that text holds. Everything is checked on the way; the error
// is a *SyntaxError, also when text does not hold an array.
func Elements(text []byte) ([][]byte, error) {
	var elements [][]byte
	r := NewReader(text)
	err := r.Array(func(int) error {
		v, err := r.Value()
		elements = append(elements, v.Raw)
		return err
	})
	if err == nil {
		err = r.End()
	}
	if err != nil {
		return nil, err
	}
	return elements, nil
}

// Unquote decodes a JSON string. As in encoding/json, lone surrogates and bytes that are not UTF-8 become
// U+FFFD.
func Unquote(value []byte) (string, error) {
	if KindOf(value) != String {
		return "", &SyntaxError{Reason: "expected a string"}
	}
	v, err := Whole(value)
	if err != nil {
		return "", err
	}
	return unquote(v.Raw)
}

// unquote decodes a string that is known to be well formed.
func unquote(raw []byte) (string, error) {
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return string(inner), nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", &SyntaxError{Reason: err.Error()}
	}
	return text, nil
}
