package mlflowtest

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"compress/zlib"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// Fault is a way not to answer.
type Fault int

// The faults. Where nothing listens is ClosedURL, hanging is a Reply with Hold.
const (
	NoFault Fault = iota
	Closed        // the connection is closed without a reply
	Reset         // the connection is reset (RST)
	Garbage       // bytes that are not HTTP
	Cut           // the headers of the full reply, half of its body, then the connection is closed
)

// Reply is one scripted answer. The zero value is an empty 200.
type Reply struct {
	Status        int    // 0 = 200
	Reason        string // "" = the usual phrase
	NoReason      bool   // an empty phrase
	ContentType   string // "" = application/json
	NoContentType bool   // no such header
	Header        http.Header
	Body          []byte

	HTTP10     bool   // an HTTP/1.0 status line
	Chunked    bool   // Transfer-Encoding: chunked instead of a length
	Unframed   bool   // no length: the body ends with the connection
	Encoding   string // gzip or deflate: the body is compressed and says so
	CloseAfter bool   // the connection is closed after the reply, without announcement
	Fault      Fault
	// Hold keeps the caller waiting until the channel is closed; nil = answer at once.
	Hold <-chan struct{}
}

// JSON is a 200 with a body as it stands.
func JSON(body string) Reply { return Reply{Body: []byte(body)} }

// Predictions is a 200 with the given JSON text as predictions.
func Predictions(raw string) Reply { return JSON(`{"predictions": ` + raw + `}`) }

// Failure is an error in the form of MLflow's scoring server.
func Failure(status int, code, message string) Reply {
	return Reply{Status: status, Body: fmt.Appendf(nil, `{"error_code": %q, "message": %q}`, code, message)}
}

// Huge is a 200 whose body has n bytes: one prediction of text.
func Huge(n int) Reply {
	const frame = `{"predictions": [""]}`
	return Predictions(`["` + strings.Repeat("x", max(0, n-len(frame))) + `"]`)
}

// Embeddings answers every request with one row of dim floats for each of its inputs. The same input always
// gets the same row: Embedding(input, dim).
func Embeddings(dim int) func(Request) Reply {
	return func(r Request) Reply {
		var body struct {
			Inputs []json.RawMessage `json:"inputs"`
		}
		if err := json.Unmarshal(r.Body, &body); err != nil {
			return Failure(http.StatusBadRequest, "BAD_REQUEST", "Invalid input. "+err.Error())
		}
		rows := make([]string, 0, len(body.Inputs))
		for _, input := range body.Inputs {
			rows = append(rows, Embedding(input, dim))
		}
		return Predictions("[" + strings.Join(rows, ", ") + "]")
	}
}

// Embedding is the row of dim floats, as Python would print it, that stands for one raw JSON input.
func Embedding(input []byte, dim int) string {
	hash := fnv.New32a()
	_, _ = hash.Write(input)
	seed := float64(hash.Sum32()%100_000) + 1
	row := make([]string, 0, dim)
	for i := range dim {
		row = append(row, strconv.FormatFloat(float64(float32(math.Sin(seed*float64(i+1)))), 'g', -1, 64))
	}
	return "[" + strings.Join(row, ", ") + "]"
}

// Echo answers every request with its inputs as predictions.
func Echo(r Request) Reply {
	var body struct {
		Inputs json.RawMessage `json:"inputs"`
	}
	if err := json.Unmarshal(r.Body, &body); err != nil || body.Inputs == nil {
		return Failure(http.StatusBadRequest, "BAD_REQUEST", "Invalid input. The input must be a JSON object with inputs.")
	}
	return Predictions(string(body.Inputs))
}

// Held is a handler that keeps every request waiting until the channel is closed, then answers with f.
func Held(release <-chan struct{}, f func(Request) Reply) func(Request) Reply {
	return func(r Request) Reply {
		reply := f(r)
		reply.Hold = release
		return reply
	}
}

// Script is the recorded answer as a reply for the server. Faults that need another address (refused) or a
// hold (hang) are the caller's: it fails the test for them.
func (u *RecordedUpstream) Script(t testing.TB) Reply {
	t.Helper()
	r := Reply{
		Status: u.Status, Body: u.Body(t), HTTP10: u.HTTP == "1.0", Encoding: u.Encoding,
		Chunked: u.Transfer == "chunked", Unframed: u.Transfer == "close", Header: make(http.Header),
	}
	for name, value := range u.Headers {
		r.Header.Set(name, value)
	}
	if u.ContentType == nil || *u.ContentType == "" {
		r.NoContentType = true
	} else {
		r.ContentType = *u.ContentType
	}
	if u.Reason != nil {
		r.Reason, r.NoReason = *u.Reason, *u.Reason == ""
	}
	switch u.Fault {
	case "":
	case "closed":
		r.Fault = Closed
	case "reset":
		r.Fault = Reset
	case "garbage":
		r.Fault = Garbage
	case "cut":
		r.Fault = Cut
	default:
		t.Fatalf("the fault %q cannot be scripted as a reply", u.Fault)
	}
	return r
}

// errClose makes the server close the connection after a reply that said so.
var errClose = errors.New("close the connection")

// write sends the reply; an error means that the connection is of no use any more.
func (r *Reply) write(c net.Conn) error {
	switch r.Fault {
	case Closed:
		return errClose
	case Reset:
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		return errClose
	case Garbage:
		_, _ = io.WriteString(c, "this is not HTTP\r\nat all\r\n\r\n")
		return errClose
	case NoFault, Cut:
	}
	head, body, err := r.wire()
	if err != nil {
		return err
	}
	if r.Fault == Cut {
		body = body[:len(body)/2]
	}
	if _, err := c.Write(append(head, body...)); err != nil {
		return err
	}
	if r.Fault == Cut || r.Unframed || r.HTTP10 {
		return errClose
	}
	return nil
}

// wire is the head of the reply and its body as they go over the connection.
func (r *Reply) wire() (head, body []byte, err error) {
	status := cmp.Or(r.Status, http.StatusOK)
	reason := cmp.Or(r.Reason, http.StatusText(status))
	if r.NoReason {
		reason = ""
	}
	version := "HTTP/1.1"
	if r.HTTP10 {
		version = "HTTP/1.0"
	}
	header := r.Header.Clone()
	if header == nil {
		header = make(http.Header)
	}
	if !r.NoContentType {
		header.Set("Content-Type", cmp.Or(r.ContentType, "application/json"))
	}
	if body, err = compressed(r.Body, r.Encoding); err != nil {
		return nil, nil, err
	}
	if r.Encoding != "" {
		header.Set("Content-Encoding", r.Encoding)
	}
	switch {
	case status == http.StatusNoContent || status == http.StatusNotModified:
		body = nil
	case r.Chunked:
		header.Set("Transfer-Encoding", "chunked")
		body = chunks(body)
	case !r.Unframed:
		header.Set("Content-Length", strconv.Itoa(len(body)))
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %d %s\r\n", version, status, reason)
	if err := header.Write(&b); err != nil {
		return nil, nil, err
	}
	b.WriteString("\r\n")
	return b.Bytes(), body, nil
}

// chunks is body in two chunks and the end.
func chunks(body []byte) []byte {
	var b bytes.Buffer
	for _, part := range [][]byte{body[:len(body)/2], body[len(body)/2:]} {
		if len(part) > 0 {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(part), part)
		}
	}
	b.WriteString("0\r\n\r\n")
	return b.Bytes()
}

func compressed(body []byte, encoding string) ([]byte, error) {
	var b bytes.Buffer
	var w io.WriteCloser
	switch encoding {
	case "":
		return body, nil
	case "gzip":
		w = gzip.NewWriter(&b)
	case "deflate":
		w = zlib.NewWriter(&b)
	default:
		return nil, fmt.Errorf("mlflowtest cannot compress with %q", encoding)
	}
	if _, err := w.Write(body); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
