package jobspec

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"

	"headrace/api/problem"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/job"
)

// Envelope is the body of POST /v1/jobs.
type Envelope struct {
	Route    string          `json:"route"`
	Input    json.RawMessage `json:"input"`
	ID       string          `json:"id"`
	Key      string          `json:"idempotency_key"`
	Priority string          `json:"priority"`
	RunAt    instant         `json:"run_at"`
	Timeouts struct {
		Queue   span `json:"queue"`
		Attempt span `json:"attempt"`
		Total   span `json:"total"`
	} `json:"timeouts"`
	Deadline instant `json:"deadline"`
	Retry    struct {
		MaxAttempts *int `json:"max_attempts"`
		MaxElapsed  span `json:"max_elapsed"`
	} `json:"retry"`
	ResultTTL span              `json:"result_ttl"`
	Store     string            `json:"store"`
	Metadata  map[string]string `json:"metadata"`
	Tags      []string          `json:"tags"`

	headers *Envelope // the options that headers gave; nil where they give none
}

// ReadEnvelope reads the body of POST /v1/jobs: one object with no unknown members and nothing behind it.
func ReadEnvelope(body []byte) (*Envelope, error) {
	e := new(Envelope)
	return e, e.read(body)
}

func (e *Envelope) read(body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return fault.New(fault.Invalid, `the body is missing; write {"route": "...", "input": {...}}`)
	}
	err := readObject(body, e)
	if typed, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return wrongType(typed)
	}
	if err != nil {
		return fault.New(fault.Invalid, "the body is not a job: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// wrongType names the field and what it takes, without Go's words for it.
func wrongType(err *json.UnmarshalTypeError) error {
	want := "an object"
	switch err.Type.Kind() { //nolint:exhaustive // these are the kinds that an envelope has
	case reflect.String:
		want = "a string"
	case reflect.Int:
		want = "a whole number"
	case reflect.Slice:
		want = "a list of strings"
	}
	if err.Field == "" {
		return fault.New(fault.Invalid, `a job is %s, not a JSON %s; write {"route": "...", "input": {...}}`, want, err.Value)
	}
	return problem.Option(err.Field, "takes %s, not a JSON %s", want, err.Value)
}

// ReadHeaded reads an envelope with headers beside it: an option that the envelope leaves out is the header's.
func ReadHeaded(body []byte, h http.Header) (*Envelope, error) {
	headers, err := FromHeaders(h)
	if err != nil {
		return nil, err
	}
	e, err := FromHeaders(h) // once more, as the body is read over it
	if err != nil {
		return nil, err
	}
	e.headers = headers
	return e, e.read(body)
}

// Checked is options with errors that name an option as it was given: by its header, where that is wrong by itself. Such a
// header is refused also where the envelope has the option itself.
func (e *Envelope) Checked(l Limits, route *inference.Route, now time.Time) (Options, error) {
	o, err := e.Options(l, route, now)
	if e.headers == nil {
		return o, err
	}
	if err == nil {
		_, own := e.headers.each(l, route)
		return o, InHeaders(own)
	}
	_, own := e.headers.Options(l, route, now)
	if own != nil && fault.From(own).Param == fault.From(err).Param {
		err = InHeaders(own)
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

// Identify takes the idempotency key of a header and the id of a path, which the envelope may name as well.
func (e *Envelope) Identify(h http.Header, id string) error {
	key, err := KeyOf(h)
	if err != nil {
		return err
	}
	if key != "" && e.Key != "" && key != e.Key {
		return problem.Option("idempotency_key", "differs from the header %s; give one of them", HeaderKey)
	}
	if id != "" && e.ID != "" && id != e.ID {
		return problem.Option("id", "differs from the id in the path; leave it out")
	}
	e.Key, e.ID = cmp.Or(key, e.Key), cmp.Or(id, e.ID)
	return nil
}

// Identity is what makes the job repeatable: an id that the caller chose, or an idempotency key, or neither.
func (e *Envelope) Identity() (id job.ID, key string, err error) {
	if key, err = checkKey(e.Key); err != nil || e.ID == "" {
		return "", key, err
	}
	if key != "" {
		return "", "", problem.Option("idempotency_key", "is not needed: an id of your own makes a job repeatable already; leave it out")
	}
	id, ok := job.ParseID(e.ID)
	if !ok {
		return "", "", problem.Option("id", "has up to 128 letters, digits, - and _")
	}
	if id == BatchName {
		return "", "", problem.Option("id", "must not be %q: /v1/jobs/%[1]s takes batches", BatchName)
	}
	return id, "", nil
}
