// Package sse writes and reads server-sent events, as the HTML standard has them (9.2, "Server-sent events").
package sse

import (
	"bytes"
	"io"
	"strconv"
	"strings"
)

// ContentType is the type of a stream of events.
const ContentType = "text/event-stream; charset=utf-8"

// Event is one event.
type Event struct {
	Name string // of its kind; "" = "message"
	Data string
	ID   string // the last one that the stream gave
}

// Append writes an event with one piece of data. A line break in data, LF, CR or CRLF, begins another line of the same event.
func Append(dst []byte, name string, data []byte) []byte {
	if name != "" {
		dst = append(append(append(dst, "event: "...), name...), '\n')
	}
	for {
		dst = append(dst, "data: "...)
		end := bytes.IndexAny(data, "\r\n")
		if end < 0 {
			return append(append(dst, data...), "\n\n"...)
		}
		dst = append(append(dst, data[:end]...), '\n')
		if data[end] == '\r' && end+1 < len(data) && data[end+1] == '\n' {
			end++
		}
		data = data[end+1:]
	}
}

// AppendComment writes a comment, which clients skip; it keeps a connection alive. text must be one line.
func AppendComment(dst []byte, text string) []byte {
	return append(append(append(dst, ": "...), text...), "\n\n"...)
}

// Reader reads events out of a stream. It holds one event at most.
type Reader struct {
	in   io.Reader
	most int

	held    []byte // read, and not taken yet
	seen    int    // of held: there is no end of a line in it
	buffer  []byte // that held is the end of
	began   bool   // the mark at the beginning has been looked for
	wasCR   bool   // the last line ended with a carriage return: a line feed belongs to it
	end     error  // of in
	name    string
	data    []byte
	hasData bool
	id      string
	retry   int
}

// TooLongError is the error of an event that is longer than a reader takes.
type TooLongError struct{ Most int }

// Error says how long an event may be.
func (e *TooLongError) Error() string {
	return "an event of the stream is longer than " + strconv.Itoa(e.Most) + " bytes"
}

// NewReader reads events of most bytes at most, which must be more than 0.
func NewReader(in io.Reader, most int) *Reader { return &Reader{in: in, most: most, retry: -1} }

// Next gives the next event. An event that the end of the stream cuts is none, as the standard wants: the error is
// io.EOF, or that of the stream. After an error there is no other event.
func (r *Reader) Next() (Event, error) {
	for {
		line, err := r.line()
		if err != nil {
			return Event{}, err
		}
		if len(line) > 0 {
			r.field(line)
			if len(r.data) > r.most {
				r.end = &TooLongError{r.most}
				r.held = nil
				return Event{}, r.end
			}
			continue
		}
		name, data, has := r.name, r.data, r.hasData
		r.name, r.data, r.hasData = "", nil, false
		if has {
			return Event{Name: name, Data: strings.ToValidUTF8(string(bytes.TrimSuffix(data, []byte("\n"))), "\ufffd"), ID: r.id}, nil
		}
	}
}

// Retry is how many milliseconds the stream wants its clients to wait before they connect again; -1 when it does not say.
func (r *Reader) Retry() int { return r.retry }

// field takes one line that is not empty.
func (r *Reader) field(line []byte) {
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "event":
		r.name = strings.ToValidUTF8(string(value), "\ufffd")
	case "data":
		r.data = append(append(r.data, value...), '\n')
		r.hasData = true
	case "id":
		if bytes.IndexByte(value, 0) < 0 {
			r.id = strings.ToValidUTF8(string(value), "\ufffd")
		}
	case "retry":
		if n, err := strconv.Atoi(string(value)); err == nil && n >= 0 && value[0] >= '0' && value[0] <= '9' {
			r.retry = n
		}
	}
}

// line gives the next line without its end: LF, CR or CRLF. The slice is valid until the next call.
func (r *Reader) line() ([]byte, error) {
	for {
		r.skipMarks()
		if at := bytes.IndexAny(r.held[r.seen:], "\r\n"); at >= 0 {
			at += r.seen
			line := r.held[:at]
			r.wasCR = r.held[at] == '\r'
			r.held, r.seen = r.held[at+1:], 0
			return line, nil
		}
		r.seen = len(r.held)
		if r.end != nil {
			return nil, r.end
		}
		if len(r.held) > r.most+len("data: ") {
			r.end = &TooLongError{r.most}
			r.held, r.seen, r.buffer = nil, 0, nil
			return nil, r.end
		}
		r.read()
	}
}

// skipMarks skips the byte order mark at the beginning, and the line feed after a carriage return.
func (r *Reader) skipMarks() {
	const mark = "\ufeff"
	if !r.began && (len(r.held) >= len(mark) || r.end != nil) {
		r.held = bytes.TrimPrefix(r.held, []byte(mark))
		r.began, r.seen = true, 0
	}
	if r.wasCR && len(r.held) > 0 {
		if r.held[0] == '\n' {
			r.held = r.held[1:]
			r.seen = max(r.seen-1, 0)
		}
		r.wasCR = false
	}
}

// read reads more behind what is held. The buffer grows as the line in it does, and is kept for the next ones unless it has
// grown large.
func (r *Reader) read() {
	const piece, kept = 4 << 10, 64 << 10
	if len(r.held) == cap(r.held) {
		if want := max(piece, 2*len(r.held)); want > len(r.buffer) || len(r.buffer) > max(kept, 2*want) {
			r.buffer = make([]byte, want)
		}
		r.held = r.buffer[:copy(r.buffer, r.held)]
	}
	n, err := r.in.Read(r.held[len(r.held):cap(r.held)])
	r.held = r.held[:len(r.held)+n]
	r.end = err
}
