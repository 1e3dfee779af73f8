// Package jobfile places a job for each line of a file. Lines makes jobs of lines, and is pure; Sender places them in batches,
// bears a gateway that is away or full, and counts what became of each.
//
// It owns the ids of lines: the same line with the same options is the same job, so that a file may be sent again after a
// run that broke off, and nothing is placed twice. Begin at Lines.Job and Sender.Run.
package jobfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	"headrace/internal/client"
	"headrace/internal/terminal"
)

// MaxPrefix bounds what the ids of a file's lines begin with: an id has up to 128 characters.
const MaxPrefix = 60

// Lines makes jobs of the lines of a file.
type Lines struct {
	Route   string                            // of the command line; "": each line names its own
	Text    func(text string) ([]byte, error) // the route's input for a text
	Prefix  string                            // of the ids that are made of lines
	Run     string                            // of --again or --run; "": the first
	Options map[string]any                    // of the command line
}

// Job makes a job of a line: of a text or an input for the route, or of a whole job.
func (r *Lines) Job(line []byte) (json.RawMessage, error) {
	job, err := r.members(line)
	if err != nil {
		return nil, err
	}
	if err := apply(job, r.Options); err != nil {
		return nil, err
	}
	if err := r.identify(job, line); err != nil {
		return nil, err
	}
	return client.Encode(job)
}

// members reads a line.
func (r *Lines) members(line []byte) (map[string]json.RawMessage, error) {
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
	case r.Route == "" && !named:
		return nil, errors.New(`the line names no route; write {"route": ..., "input": ...}, or name the ROUTE on the command line`)
	case r.Route == "":
		return members, nil
	case named:
		return nil, fmt.Errorf("the line names its route already; leave %s out of the command line", r.Route)
	}
	if isObject(members["input"]) { // no route has an input with such a member: it is a job without its route
		members["route"] = mustJSON(r.Route)
		return members, nil
	}
	job := map[string]json.RawMessage{"route": mustJSON(r.Route), "input": line}
	for _, name := range []string{"id", "idempotency_key"} {
		if own, ok := members[name]; ok {
			job[name] = own
			delete(members, name)
			input, err := client.Encode(members)
			if err != nil {
				return nil, err
			}
			job["input"] = input
		}
	}
	return job, nil
}

func (r *Lines) ofText(line []byte) (map[string]json.RawMessage, error) {
	if r.Route == "" || r.Text == nil {
		return nil, errors.New("the line is a text; name the ROUTE that gets it on the command line")
	}
	var text string
	if err := json.Unmarshal(line, &text); err != nil {
		return nil, fmt.Errorf("the line is not JSON: %w", err)
	}
	input, err := r.Text(text)
	if err != nil {
		return nil, err
	}
	return map[string]json.RawMessage{"route": mustJSON(r.Route), "input": input}, nil
}

// identify gives a job its id: the line's own, or one that is made of what the line says, the route and the options. With
// --again the run is added.
func (r *Lines) identify(job map[string]json.RawMessage, line []byte) error {
	for _, name := range []string{"id", "idempotency_key"} {
		if own, ok := job[name]; ok {
			var text string
			if err := json.Unmarshal(own, &text); err != nil || text == "" {
				return fmt.Errorf("%s is %.80s; it is a text that is not empty", name, own)
			}
			if name == "id" && !GoodID(text) {
				return fmt.Errorf("the id %q is not good; it has up to 128 letters, digits, - and _", terminal.OneLine(text, 140))
			}
			job[name] = mustJSON(r.inRun(text))
			return nil
		}
	}
	options, err := json.Marshal(r.Options)
	if err != nil {
		return err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, line); err != nil {
		return err
	}
	sum := sha256.New()
	for _, part := range [][]byte{[]byte(r.Route), options, compact.Bytes()} {
		_, _ = fmt.Fprintf(sum, "%d:", len(part))
		_, _ = sum.Write(part)
	}
	job["id"] = mustJSON(r.inRun(r.Prefix + "-" + hex.EncodeToString(sum.Sum(nil)[:12])))
	return nil
}

func (r *Lines) inRun(id string) string {
	if r.Run == "" {
		return id
	}
	return id + "-" + r.Run
}

// GoodID reports an id that the gateway takes.
func GoodID(id string) bool {
	return id != "" && len(id) <= 128 && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

func isObject(value json.RawMessage) bool {
	value = bytes.TrimSpace(value)
	return len(value) > 0 && value[0] == '{'
}

// mustJSON writes a text, which cannot fail.
func mustJSON(text string) json.RawMessage {
	out, err := json.Marshal(text)
	if err != nil {
		return json.RawMessage(`""`)
	}
	return out
}

// apply puts the options of a command line into a job, over its own: objects are merged, tags added, other values replaced.
func apply(job map[string]json.RawMessage, options map[string]any) error {
	for name, value := range options {
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		own, there := job[name]
		if there {
			if text, err = merge(own, text); err != nil {
				return err
			}
		}
		job[name] = text
	}
	return nil
}

// merge adds b to a, where both are objects or both are lists; else it is b.
func merge(a, b json.RawMessage) (json.RawMessage, error) {
	var first, second map[string]json.RawMessage
	if json.Unmarshal(a, &first) == nil && first != nil && json.Unmarshal(b, &second) == nil {
		maps.Copy(first, second)
		return client.Encode(first)
	}
	var list, more []json.RawMessage
	if json.Unmarshal(a, &list) == nil && json.Unmarshal(b, &more) == nil {
		return client.Encode(append(list, more...))
	}
	return b, nil
}
