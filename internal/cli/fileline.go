package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// maxPrefix bounds what the ids of a file's lines begin with: an id has up to 128 characters.
const maxPrefix = 60

// lineReader makes jobs of the lines of a file.
type lineReader struct {
	route   string                            // of the command line; "": each line names its own
	text    func(text string) ([]byte, error) // the route's input for a text
	prefix  string                            // of the ids that are made of lines
	run     string                            // of --again or --run; "": the first
	options map[string]any                    // of the command line
}

// job makes a job of a line: of a text or an input for the route, or of a whole job.
func (r *lineReader) job(line []byte) (json.RawMessage, error) {
	job, err := r.members(line)
	if err != nil {
		return nil, err
	}
	if err := apply(job, r.options); err != nil {
		return nil, err
	}
	if err := r.identify(job, line); err != nil {
		return nil, err
	}
	return encode(job)
}

// members reads a line.
func (r *lineReader) members(line []byte) (map[string]json.RawMessage, error) {
	if !json.Valid(line) {
		return nil, fmt.Errorf("the line is not JSON: %w", json.Unmarshal(line, new(any)))
	}
	if line[0] == '"' {
		return r.ofText(line)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(line, &members); err != nil || members == nil {
		return nil, errors.New("a line is a JSON object or a text; see `headrace jobs submit --help`")
	}
	_, named := members["route"]
	switch {
	case r.route == "" && !named:
		return nil, errors.New(`the line names no route; write {"route": ..., "input": ...}, or name the ROUTE on the command line`)
	case r.route == "":
		return members, nil
	case named:
		return nil, fmt.Errorf("the line names its route already; leave %s out of the command line", r.route)
	}
	if isObject(members["input"]) { // no route has an input with such a member: it is a job without its route
		members["route"] = mustJSON(r.route)
		return members, nil
	}
	job := map[string]json.RawMessage{"route": mustJSON(r.route), "input": line}
	for _, name := range []string{"id", "idempotency_key"} {
		if own, ok := members[name]; ok {
			job[name] = own
			delete(members, name)
			input, err := encode(members)
			if err != nil {
				return nil, err
			}
			job["input"] = input
		}
	}
	return job, nil
}

func (r *lineReader) ofText(line []byte) (map[string]json.RawMessage, error) {
	if r.route == "" || r.text == nil {
		return nil, errors.New("the line is a text; name the ROUTE that gets it on the command line")
	}
	var text string
	if err := json.Unmarshal(line, &text); err != nil {
		return nil, fmt.Errorf("the line is not JSON: %w", err)
	}
	input, err := r.text(text)
	if err != nil {
		return nil, err
	}
	return map[string]json.RawMessage{"route": mustJSON(r.route), "input": input}, nil
}

// identify gives a job its id: the line's own, or one that is made of what the line says, the route and the options. With
// --again the run is added.
func (r *lineReader) identify(job map[string]json.RawMessage, line []byte) error {
	for _, name := range []string{"id", "idempotency_key"} {
		if own, ok := job[name]; ok {
			var text string
			if err := json.Unmarshal(own, &text); err != nil || text == "" {
				return fmt.Errorf("%s is %.80s; it is a text that is not empty", name, own)
			}
			if name == "id" && !goodID(text) {
				return fmt.Errorf("the id %q is not good; it has up to 128 letters, digits, - and _", oneLine(text, 140))
			}
			job[name] = mustJSON(r.inRun(text))
			return nil
		}
	}
	options, err := json.Marshal(r.options)
	if err != nil {
		return err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, line); err != nil {
		return err
	}
	sum := sha256.New()
	for _, part := range [][]byte{[]byte(r.route), options, compact.Bytes()} {
		_, _ = fmt.Fprintf(sum, "%d:", len(part))
		_, _ = sum.Write(part)
	}
	job["id"] = mustJSON(r.inRun(r.prefix + "-" + hex.EncodeToString(sum.Sum(nil)[:12])))
	return nil
}

func (r *lineReader) inRun(id string) string {
	if r.run == "" {
		return id
	}
	return id + "-" + r.run
}

// goodID tells an id that the gateway takes.
func goodID(id string) bool {
	return id != "" && len(id) <= 128 && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

func isObject(value json.RawMessage) bool {
	value = bytes.TrimSpace(value)
	return len(value) > 0 && value[0] == '{'
}

// encode writes JSON and leaves <, > and & as they are.
func encode(value any) ([]byte, error) {
	var text bytes.Buffer
	out := json.NewEncoder(&text)
	out.SetEscapeHTML(false)
	if err := out.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), nil
}

// mustJSON writes a text, which cannot fail.
func mustJSON(text string) json.RawMessage {
	out, err := json.Marshal(text)
	if err != nil {
		return json.RawMessage(`""`)
	}
	return out
}
