package records

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"headrace/internal/job"
)

// During an upgrade processes of two versions read and write the same records. What a newer version has added the older
// one keeps as it is, and what it could only misunderstand - a record of a higher schema - it leaves to the newer one.

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
		return r, nil // it has nothing that this version does not know
	}
	if err := json.Unmarshal(text, &r.Unknown); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	for _, name := range RecordFields() {
		delete(r.Unknown, name)
	}
	return r, nil
}

// encodeRecord writes a record's JSON, with what this version does not know of it.
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

// RecordFields are the names of a record's members.
var RecordFields = sync.OnceValue(func() []string { //nolint:gochecknoglobals // a constant that has to be computed
	var names []string
	for field := range reflect.TypeFor[job.Record]().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
})
