package api

import (
	"encoding/base64"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"headrace/api/schema"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/splice"
)

// pageSize is how many entries a page of MLflow's lists has.
const pageSize = 3000

// appendRoute writes a route as MLflow's routes list shows it. `limit` came with endpoints.
func appendRoute(out *output, r *inference.Route) {
	appendEntry(out, r, "route")
	if r.Family == inference.Endpoints {
		appendLimit(out, r.Limit)
	}
	out.text(`}`)
}

// appendEndpoint writes a route as MLflow's endpoints list shows it.
func appendEndpoint(out *output, r *inference.Route) {
	appendEntry(out, r, "endpoint")
	appendLimit(out, r.Limit)
	out.text(`}`)
}

// appendEntry writes what both lists show; kind begins the names of their members.
func appendEntry(out *output, r *inference.Route, kind string) {
	out.text(`{"name":`)
	out.quoted(r.Name)
	out.text(`,"` + kind + `_type":`)
	out.quoted(string(r.Type))
	out.text(`,"model":{"name":`)
	if r.Model == "" {
		out.text(`null`)
	} else {
		out.quoted(r.Model)
	}
	out.text(`,"provider":`)
	out.quoted(r.Provider)
	out.text(`},"` + kind + `_url":`)
	out.quoted("/gateway/" + r.Name + "/invocations")
}

func appendLimit(out *output, l *inference.Limit) {
	if l == nil {
		out.text(`,"limit":null`)
		return
	}
	out.text(`,"limit":{"calls":`)
	out.number(int64(l.Calls))
	out.text(`,"key":`)
	if l.Key == "" {
		out.text(`null`)
	} else {
		out.quoted(l.Key)
	}
	out.text(`,"renewal_period":`)
	out.quoted(l.Period)
	out.text(`}`)
}

// listing is one of MLflow's two lists: the word for its entries, and how one is written.
type listing struct {
	word  string
	write func(out *output, r *inference.Route)
}

func routesListing() listing    { return listing{"route", appendRoute} }
func endpointsListing() listing { return listing{"endpoint", appendEndpoint} }

// list answers GET /api/2.0/gateway/routes/ and GET /api/2.0/endpoints/.
func (s *Server) list(l listing) handler {
	return func(w *replyWriter, r *http.Request, _ string) error {
		from, err := pageStart(r.URL.RawQuery)
		if err != nil {
			return err
		}
		table := s.table.Load()
		var out output
		out.text(`{"` + l.word + `s":[`)
		i := 0
		for route := range table.All() {
			if i >= from && i-from < pageSize {
				comma(&out, i-from)
				l.write(&out, route)
			}
			i++
		}
		out.text(`],"next_page_token":`)
		if table.Len()-from > pageSize {
			out.quoted(pageToken(from + pageSize))
		} else {
			out.text(`null`)
		}
		out.text(`}`)
		return writeOutput(w, &out)
	}
}

// get answers for one entry.
func (s *Server) get(l listing) handler {
	return func(w *replyWriter, _ *http.Request, name string) error {
		route := s.table.Load().Route(name)
		if route == nil {
			return absent(l.word, name)
		}
		var out output
		l.write(&out, route)
		return writeOutput(w, &out)
	}
}

func absent(word, name string) error {
	return fault.New(fault.NotFound, "The %s '%s' is not present or active on the server. Please verify the %s name.",
		word, replaceInvalid(name), word)
}

// replaceInvalid puts a replacement character for what is not UTF-8, as Python does: one for as many bytes as begin a
// character, else one for each byte.
func replaceInvalid(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for text != "" {
		r, size := utf8.DecodeRuneInString(text)
		if r == utf8.RuneError {
			for size < len(text) && !utf8.FullRuneInString(text[:size+1]) {
				size++
			}
		}
		b.WriteRune(r)
		text = text[size:]
	}
	return b.String()
}

func writeOutput(w http.ResponseWriter, out *output) error {
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(out.length()))
	w.WriteHeader(http.StatusOK)
	_ = out.writeTo(w) // the caller has gone: there is nobody to tell
	return nil
}

// pageToken is MLflow's token for the page that begins at index.
func pageToken(index int) string {
	return base64.StdEncoding.EncodeToString([]byte(`{"index": ` + strconv.Itoa(index) + `}`))
}

// pageStart reads the token of a query; without one it is 0.
func pageStart(query string) (int, error) {
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
