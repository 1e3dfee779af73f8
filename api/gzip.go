package api

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"

	"headrace/api/problem"
	"headrace/internal/fault"
)

// errNotGzip marks a body that is announced as gzip and is none, or breaks off.
var errNotGzip = errors.New("not gzip")

// decompress makes a request's body readable where its Content-Encoding says gzip: what it holds counts against max_body
// and the memory for bodies, and so does what was sent. Other codings are refused.
func decompress(r *http.Request, most int64) error {
	switch coding := strings.ToLower(strings.TrimSpace(strings.Join(r.Header.Values("Content-Encoding"), ","))); coding {
	case "", "identity":
		return nil
	case "gzip", "x-gzip":
		r.Body = &unzipped{sent: http.MaxBytesReader(nil, r.Body, most)}
		r.ContentLength = -1
		return nil
	default:
		e := fault.Wrap(fault.Invalid, problem.ErrCoding, "the Content-Encoding %.40q is not read here; send the body as it is, or with gzip", coding)
		e.Param = "Content-Encoding"
		return e
	}
}

// unzipped reads what a gzip body holds.
type unzipped struct {
	sent io.ReadCloser
	zip  *gzip.Reader
	err  error // the one that ended it
}

// Read gives errNotGzip for a body that is none; errors of the connection stay what they are.
func (u *unzipped) Read(p []byte) (n int, err error) {
	if u.err != nil {
		return 0, u.err
	}
	if u.zip == nil {
		if u.zip, err = gzip.NewReader(u.sent); errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
	}
	if err == nil {
		n, err = u.zip.Read(p)
	}
	if err != nil {
		u.err = zipError(err)
	}
	return n, u.err
}

// Close ends the body that was sent.
func (u *unzipped) Close() error { return u.sent.Close() }

func zipError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return err
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return err
	}
	return fmt.Errorf("%w: %w", errNotGzip, err)
}
