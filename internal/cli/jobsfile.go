package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

// lineSender places the lines of a file, many at a time.
type lineSender struct {
	*jobsCommand

	name    string // of the file
	room    int    // bytes for the jobs of one request
	batch   []fileLine
	size    int // of the batch, in bytes
	refused int
}

// fileLine is a job and the number of the line that asks for it.
type fileLine struct {
	number int
	job    json.RawMessage
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
	if l.room, err = c.room(ctx); err != nil {
		return err
	}
	lines, number := bufio.NewScanner(file), 0
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		number++
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		job, err := lineJob(lines.Bytes(), number, args, s.priority)
		if err != nil {
			l.refuse(number, err.Error())
			continue
		}
		if err := l.add(ctx, fileLine{number, job}); err != nil {
			return err
		}
	}
	err = lines.Err()
	if err != nil {
		err = fmt.Errorf("%s:%d: %w", s.file, number+1, err)
	}
	if err := cmp.Or(err, l.flush(ctx)); err != nil {
		return err
	}
	if l.refused > 0 {
		return fmt.Errorf("%d of %d lines were refused", l.refused, number)
	}
	return nil
}

// room is how many bytes of jobs the gateway takes in one request.
func (c *jobsCommand) room(ctx context.Context) (int, error) {
	answer, err := c.client.do(ctx, http.MethodGet, "/v1/limits", nil)
	if err != nil {
		return 0, err
	}
	var limits struct {
		MaxBody int `json:"max_body_bytes"`
	}
	if err := json.Unmarshal(answer, &limits); err != nil {
		return 0, fmt.Errorf("reading the gateway's limits: %w", err)
	}
	return limits.MaxBody - len(`{"jobs":[]}`), nil
}

// refuse says why a line makes no job.
func (l *lineSender) refuse(number int, why string) {
	l.refused++
	_, _ = fmt.Fprintf(l.Err, "%s:%d: %s\n", l.name, number, why)
}

// add takes a line into the batch, and places the batch before when the line does not fit any more.
func (l *lineSender) add(ctx context.Context, line fileLine) error {
	size := len(line.job) + len(",")
	if size > l.room {
		l.refuse(line.number, fmt.Sprintf("the job has %d bytes, and the gateway takes %d at a time (max_body)", len(line.job), l.room))
		return nil
	}
	if len(l.batch) == linesAtOnce || l.size+size > l.room {
		if err := l.flush(ctx); err != nil {
			return err
		}
	}
	l.batch, l.size = append(l.batch, line), l.size+size
	return nil
}

// flush places what was gathered and prints the answers. A gateway that is away, or has no room, is asked again for a while:
// the lines' ids see to it that nothing is placed twice.
func (l *lineSender) flush(ctx context.Context) error {
	var since time.Time
	for len(l.batch) > 0 {
		left, err := l.placeBatch(ctx)
		if len(left) < len(l.batch) {
			since = time.Time{}
		}
		l.batch = left
		if err == nil {
			continue
		}
		if err := l.bear(ctx, &since, err); err != nil {
			return fmt.Errorf("%w; run the same command again: nothing is placed twice", err)
		}
	}
	l.size = 0
	return nil
}

// placeBatch places what was gathered once. It gives the lines that the gateway may take later, and why it has not.
func (l *lineSender) placeBatch(ctx context.Context) (left []fileLine, err error) {
	jobs := make([]any, 0, len(l.batch))
	for _, line := range l.batch {
		jobs = append(jobs, line.job)
	}
	items, err := l.place(ctx, jobs)
	if err != nil {
		return l.batch, err
	}
	why := ""
	for i, item := range items {
		switch {
		case item.Job != nil:
			err = errors.Join(err, l.show(item.Job))
		case item.Status == http.StatusServiceUnavailable:
			left, why = append(left, l.batch[i]), item.refusal()
		default:
			l.refuse(l.batch[i].number, item.refusal())
		}
		if err != nil {
			return l.batch[i:], err
		}
	}
	if len(left) > 0 {
		return left, &replyError{http.StatusServiceUnavailable, why}
	}
	return nil, nil
}

// lineJob makes a job of a line: a whole one, or an input for the route of the command line.
func lineJob(line []byte, number int, route []string, priority string) (json.RawMessage, error) {
	var members map[string]json.RawMessage
	err := json.Unmarshal(line, &members)
	if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok || err == nil && members == nil {
		return nil, errors.New("a line must be a JSON object")
	}
	if err != nil {
		return nil, fmt.Errorf("a line must be a JSON object: %w", err)
	}
	job := make(map[string]any, len(members)+1)
	if len(route) == 1 {
		job["route"], job["input"] = route[0], json.RawMessage(line)
	} else {
		for key, value := range members {
			job[key] = value
		}
	}
	if job["id"] == nil && job["idempotency_key"] == nil {
		sum := sha256.Sum256(fmt.Appendf(nil, "%d\x00%s\x00%s", number, strings.Join(route, ""), line))
		job["id"] = "line-" + hex.EncodeToString(sum[:12])
	}
	if priority != "" {
		job["priority"] = priority
	}
	return json.Marshal(job)
}
