package jobfile

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"headrace/internal/client"
	"headrace/internal/terminal"
)

const (
	// linesAtOnce is how many lines of a file go into one request.
	linesAtOnce = 200
	// bytesAtOnce is about how many bytes of jobs do, where the gateway takes more.
	bytesAtOnce = 4 << 20
	// maxLine bounds one line of a file, in bytes.
	maxLine = 32 << 20
)

// Sender places the lines of a file, many at a time. It holds one batch. Call Prepare, then Run.
type Sender struct {
	*client.Patience

	Name   string // of the file, for people
	Lines  Lines
	Status *terminal.StatusLine
	Show   func(item *client.Placed) error // is called for each job that is there

	room  int // bytes for the jobs of one request, as the gateway has it
	batch []fileLine
	size  int // of the batch, in bytes

	lines, placed, there, refused int
}

// fileLine is a job and the number of the line that asks for it.
type fileLine struct {
	number int
	job    json.RawMessage
}

// Prepare asks the gateway how much it takes in one request.
func (l *Sender) Prepare(ctx context.Context) error {
	answer, err := l.Get(ctx, "/v1/limits", 0)
	if err != nil {
		return err
	}
	var limits struct {
		MaxBody int `json:"max_body_bytes"`
	}
	if err := json.Unmarshal(answer, &limits); err != nil {
		return fmt.Errorf("reading the gateway's limits: %w", err)
	}
	l.room = limits.MaxBody - len(`{"jobs":[]}`)
	return nil
}

// Sum says in a line what has become of the file's lines.
func (l *Sender) Sum() string {
	return fmt.Sprintf("%s: %s, %d placed, %d there already, %d refused", l.Name, terminal.Count(l.lines, "line"), l.placed, l.there, l.refused)
}

// Outcome is an error when lines were refused.
func (l *Sender) Outcome() error {
	if l.refused > 0 {
		return fmt.Errorf("%d of %d lines were refused; correct them and run the same command again: nothing is placed twice", l.refused, l.lines)
	}
	return nil
}

// Run places the lines of a file. What a line is refused for is written to Status, with its number; an error is of the file, or
// of a gateway that was away for too long.
func (l *Sender) Run(ctx context.Context, file io.Reader) error {
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		l.lines++
		line := bytes.TrimSpace(lines.Bytes())
		if l.lines == 1 {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf")) // which some editors write
		}
		if len(line) == 0 {
			continue
		}
		job, err := l.Lines.Job(line)
		if err != nil {
			l.refuse(l.lines, err.Error())
			continue
		}
		if err := l.add(ctx, fileLine{l.lines, job}); err != nil {
			return err
		}
	}
	err := lines.Err()
	if errors.Is(err, bufio.ErrTooLong) {
		err = fmt.Errorf("the line is longer than %d MiB; it and those behind it were not placed", maxLine>>20)
	}
	if err != nil {
		err = fmt.Errorf("%s:%d: %w", l.Name, l.lines+1, err)
	}
	return errors.Join(l.flush(ctx), err)
}

// GoOn says how a run that was cut off is continued.
func (l *Sender) GoOn() string {
	if l.Lines.Run != "" {
		return fmt.Sprintf("run the same command with --run %s: nothing is placed twice", l.Lines.Run)
	}
	return "run the same command again: nothing is placed twice"
}

// refuse says why a line makes no job.
func (l *Sender) refuse(number int, why string) {
	l.refused++
	_, _ = fmt.Fprintf(l.Status, "%s:%d: %s\n", l.Name, number, terminal.OneLine(why, 1000))
}

// add takes a line into the batch, and places the batch before when the line does not fit any more.
func (l *Sender) add(ctx context.Context, line fileLine) error {
	size := len(line.job) + len(",")
	if size > l.room {
		l.refuse(line.number, fmt.Sprintf("the job has %d bytes, and the gateway takes %d at a time (max_body)", len(line.job), l.room))
		return nil
	}
	if len(l.batch) == linesAtOnce || l.size+size > min(l.room, bytesAtOnce) {
		if err := l.flush(ctx); err != nil {
			return err
		}
	}
	l.batch, l.size = append(l.batch, line), l.size+size
	return nil
}

// flush places what was gathered and prints the answers. A gateway that is away, or has no room, is asked again for a while:
// the lines' ids see to it that nothing is placed twice.
func (l *Sender) flush(ctx context.Context) error {
	for len(l.batch) > 0 {
		left, err := l.placeBatch(ctx)
		if len(left) < len(l.batch) {
			l.Here()
		}
		l.batch = left
		l.Status.Set(fmt.Sprintf("%s read, %d placed, %d there already, %d refused", terminal.Count(l.lines, "line"), l.placed, l.there, l.refused), false)
		if err == nil {
			continue
		}
		if err := l.Bear(ctx, err); err != nil {
			return fmt.Errorf("%w; %s", err, l.GoOn())
		}
	}
	l.size = 0
	return nil
}

// placeBatch places what was gathered once. It gives the lines that the gateway may take later, and why it has not.
func (l *Sender) placeBatch(ctx context.Context) (left []fileLine, err error) {
	jobs := make([]any, 0, len(l.batch))
	for _, line := range l.batch {
		jobs = append(jobs, line.job)
	}
	items, err := l.Client.Place(ctx, jobs)
	if err != nil {
		return l.batch, err
	}
	l.Status.Clear()
	why := ""
	for i, item := range items {
		switch {
		case item.Job != nil:
			if item.Status == http.StatusOK {
				l.there++
			} else {
				l.placed++
			}
			err = errors.Join(err, l.Show(&item))
		case item.Status == http.StatusServiceUnavailable:
			left, why = append(left, l.batch[i]), item.Refusal()
		default:
			l.refuse(l.batch[i].number, item.Refusal()+hintFor(item.Status))
		}
		if err != nil {
			return l.batch[i:], err
		}
	}
	if len(left) > 0 {
		return left, &client.ReplyError{Status: http.StatusServiceUnavailable, Text: why}
	}
	return nil, nil
}

// hintFor says what to do about a line that the gateway refused.
func hintFor(status int) string {
	switch status {
	case http.StatusGone:
		return "; --again places it as a new job"
	case http.StatusUnprocessableEntity:
		return ", or place it as a new job with --again"
	default:
		return ""
	}
}
