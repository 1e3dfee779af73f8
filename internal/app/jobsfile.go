package app

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// lineSender places the lines of a file, many at a time.
type lineSender struct {
	*jobsCommand

	name    string // of the file
	batch   []any
	number  int // of the last line read
	refused int
}

// submitFile places a job for each line. A line's id is made of its number and its text, so that a run which was cut
// off can be repeated: what was placed is not placed again.
func (c *jobsCommand) submitFile(ctx context.Context, s submission, args []string) error {
	if len(args) > 1 || s.data != "" || s.key != "" || s.wait {
		return usagef("headrace jobs submit --file: give at most a route and --priority beside it")
	}
	file, err := os.Open(s.file)
	if err != nil {
		return usagef("--file: %w", err)
	}
	defer func() { _ = file.Close() }() // it was read
	l := &lineSender{jobsCommand: c, name: s.file}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		l.number++
		job, err := lineJob(lines.Bytes(), l.number, args)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", s.file, l.number, err)
		}
		if s.priority != "" {
			job["priority"] = s.priority
		}
		l.batch = append(l.batch, job)
		if len(l.batch) < linesAtOnce {
			continue
		}
		if err := l.flush(ctx); err != nil {
			return fmt.Errorf("%w; run the same command again: nothing is placed twice", err)
		}
	}
	if err := cmp.Or(lines.Err(), l.flush(ctx)); err != nil {
		return err
	}
	if l.refused > 0 {
		return fmt.Errorf("%d of %d lines were refused", l.refused, l.number)
	}
	return nil
}

// flush places what was gathered and prints the answers.
func (l *lineSender) flush(ctx context.Context) error {
	if len(l.batch) == 0 {
		return nil
	}
	items, err := l.place(ctx, l.batch)
	if err != nil {
		return err
	}
	first := l.number - len(l.batch) + 1
	l.batch = nil
	for i, item := range items {
		if item.Job == nil {
			l.refused++
			_, _ = fmt.Fprintf(l.Err, "%s:%d: %s\n", l.name, first+i, item.refusal())
			continue
		}
		if err := l.show(item.Job); err != nil {
			return err
		}
	}
	return nil
}

// lineJob makes a job of a line: a whole one, or an input for the route of the command line.
func lineJob(line []byte, number int, route []string) (map[string]any, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(line, &members); err != nil {
		return nil, fmt.Errorf("a line must be a JSON object: %w", err)
	}
	job := make(map[string]any, len(members)+1)
	if len(route) == 1 {
		job["route"], job["input"] = route[0], json.RawMessage(bytes.Clone(line))
	} else {
		for key, value := range members {
			job[key] = value
		}
	}
	if job["id"] == nil {
		sum := sha256.Sum256(fmt.Appendf(nil, "%d\x00%s\x00%s", number, strings.Join(route, ""), line))
		job["id"] = "line-" + hex.EncodeToString(sum[:12])
	}
	return job, nil
}
