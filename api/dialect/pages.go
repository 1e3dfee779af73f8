package dialect

import (
	"encoding/base64"
	"math"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"headrace/api/schema"
	"headrace/internal/fault"
	"headrace/internal/splice"
)

// pageToken is MLflow's token for the page that begins at index.
func pageToken(index int) string {
	return base64.StdEncoding.EncodeToString([]byte(`{"index": ` + strconv.Itoa(index) + `}`))
}

// PageStart is the index at which the page of a list begins, by the token in a query as it was sent; without one it is 0.
func PageStart(query string) (int, error) {
	token, there := lastOf(query, "page_token")
	if !there {
		return 0, nil
	}
	if index, ok := readPageToken(token); ok {
		return index, nil
	}
	e := fault.New(fault.Invalid, "page_token is not a token of this list; pass next_page_token of the page before, or none")
	e.Param = "page_token"
	return 0, e
}

// lastOf is the last value of a parameter, read as Python does: only & parts parameters, and an escape that is none
// stands for itself. net/url leaves such parameters out, and a token that is left out means the first page.
func lastOf(query, name string) (value string, there bool) {
	for pair := range strings.SplitSeq(query, "&") {
		key, text, _ := strings.Cut(pair, "=")
		if unescaped(key) == name && pair != "" {
			value, there = unescaped(text), true
		}
	}
	return value, there
}

// unescaped undoes the escapes of a query.
func unescaped(text string) string {
	if whole, err := url.QueryUnescape(text); err == nil {
		return whole
	}
	var b strings.Builder
	for text != "" {
		part := text[:1]
		if part == "%" && len(text) > 2 {
			part = text[:3]
		}
		plain, err := url.QueryUnescape(part)
		if err != nil { // a % that begins no escape
			part, plain = "%", "%"
		}
		b.WriteString(plain)
		text = text[len(part):]
	}
	return b.String()
}

// readPageToken reads a token as Python does: base64 in which foreign characters do not count, in it a JSON
// object whose index makes a whole number that is not negative.
func readPageToken(token string) (int, bool) {
	decoded, ok := looseBase64(token)
	if !ok {
		return 0, false
	}
	text, err := schema.Text(decoded)
	if err != nil {
		return 0, false
	}
	members, err := schema.Members(text)
	if err != nil {
		return 0, false
	}
	for _, m := range members {
		if m.Key == "index" {
			return wholeNumber(m.Value)
		}
	}
	return 0, false
}

// looseBase64 decodes as Python's base64.b64decode does without validation. Padding is needed.
func looseBase64(token string) ([]byte, bool) {
	digits := make([]byte, 0, len(token))
	padding := 0
	for i := range len(token) {
		switch c := token[i]; {
		case c == '=':
			padding++
			if need := -len(digits) & 3; need > 0 && need < 3 && padding >= need {
				decoded, err := base64.RawStdEncoding.DecodeString(string(digits))
				return decoded, err == nil
			}
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '+', c == '/':
			digits = append(digits, c)
			padding = 0
		case c >= utf8.RuneSelf:
			return nil, false
		}
	}
	if len(digits)%4 != 0 {
		return nil, false
	}
	decoded, err := base64.StdEncoding.DecodeString(string(digits))
	return decoded, err == nil
}

// wholeNumber is Python's int(), for numbers from 0 up; a number beyond int is as good as the largest.
func wholeNumber(raw []byte) (int, bool) {
	text := string(raw)
	switch splice.KindOf(raw) {
	case splice.Bool:
		return len("true") + 1 - len(raw), true // true is 1, false is 0
	case splice.Number:
		if strings.ContainsAny(text, ".eE") {
			f, err := strconv.ParseFloat(text, 64)
			if err != nil || f <= -1 {
				return 0, false
			}
			return int(min(max(f, 0), math.MaxInt32)), true
		}
	case splice.String:
		var err error
		if text, err = splice.Unquote(raw); err != nil || strings.Contains(text, ".") {
			return 0, false
		}
	case splice.Invalid, splice.Null, splice.NonFinite, splice.Array, splice.Object:
		return 0, false
	}
	digits, ok := schema.Whole(text)
	if !ok || strings.HasPrefix(digits, "-") {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n > math.MaxInt32 {
		return math.MaxInt32, true
	}
	return n, true
}
