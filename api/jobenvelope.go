package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
)

// readHeadedEnvelope reads an envelope with headers beside it: an option that the envelope leaves out is the header's.
func readHeadedEnvelope(body []byte, h http.Header) (*envelope, error) {
	headers, err := headerOptions(h)
	if err != nil {
		return nil, err
	}
	e, err := headerOptions(h) // once more, as the body is read over it
	if err != nil {
		return nil, err
	}
	e.headers = headers
	return e, e.read(body)
}

// checked is options with errors that name an option as it was given: by its header, where that is wrong by itself. Such a
// header is refused also where the envelope has the option itself.
func (e *envelope) checked(cfg JobsConfig, route *inference.Route, now time.Time) (jobOptions, error) {
	o, err := e.options(cfg, route, now)
	if e.headers == nil {
		return o, err
	}
	if err == nil {
		_, own := e.headers.each(cfg, route)
		return o, inHeaders(own)
	}
	_, own := e.headers.options(cfg, route, now)
	if own != nil && fault.From(own).Param == fault.From(err).Param {
		err = inHeaders(own)
	}
	return o, err
}

// readObject reads one JSON object that has the members of into and no others, and nothing behind it.
func readObject(body []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err //nolint:wrapcheck // the callers tell its kinds apart
	}
	if _, more := decoder.Token(); !errors.Is(more, io.EOF) {
		return errors.New("something follows the object")
	}
	return nil
}
