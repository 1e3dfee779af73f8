package records

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"headrace/internal/job"
)

// During an upgrade, processes of two versions read and write the same records. The older version keeps the fields that
// a newer one has added, and leaves a record of a higher schema, which it could misunderstand, to the newer one.

// decodeRecord reads a record's JSON.
func decodeRecord(text []byte) (*job.Record, error) {
	r := new(job.Record)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	if r.Schema > job.Schema {
		return nil, fmt.Errorf("%w: it has schema %d, and this version knows %d", ErrUnreadable, r.Schema, job.Schema)
	}
	if r.Edition <= job.Edition {
		return r, nil // this version knows all its members
	}
	if err := json.Unmarshal(text, &r.Unknown); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	for _, name := range RecordFields() {
		delete(r.Unknown, name)
	}
	return r, nil
}

// encodeRecord writes a record's JSON, with the fields that this version does not know.
func encodeRecord(r *job.Record) ([]byte, error) {
	r.Edition = max(r.Edition, job.Edition)
	text, err := json.Marshal(r)
	if err != nil || len(r.Unknown) == 0 {
		return text, err
	}
	rest, err := json.Marshal(r.Unknown)
	if err != nil {
		return nil, err
	}
	return append(append(text[:len(text)-1], ','), rest[1:]...), nil
}

// RecordFields returns the names of a record's JSON members.
var RecordFields = sync.OnceValue(func() []string { //nolint:gochecknoglobals // a constant that has to be computed
	var names []string
	for _, field := range reflect.VisibleFields(reflect.TypeFor[job.Record]()) {
		if field.Anonymous { // its own members follow
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
})
