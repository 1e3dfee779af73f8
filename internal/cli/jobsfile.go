package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

const (
	// linesAtOnce is how many lines of a file go into one request.
	linesAtOnce = 200
	// bytesAtOnce is about how many bytes of jobs do, where the gateway takes more.
	bytesAtOnce = 4 << 20
	// maxLine bounds one line of a file, in bytes.
	maxLine = 32 << 20
)

// lineSender places the lines of a file, many at a time. It holds one batch.
type lineSender struct {
	*jobsRun
	*patience

	name   string // of the file
	reader lineReader
	room   int // bytes for the jobs of one request, as the gateway has it
	batch  []fileLine
	size   int // of the batch, in bytes
	status *statusLine

	lines, placed, there, refused int
}

// fileLine is a job and the number of the line that asks for it.
type fileLine struct {
	number int
	job    json.RawMessage
}

// submitFile places a job for each line.
func (j *jobsRun) submitFile(ctx context.Context, cmd *cobra.Command, o submission, args []string) error {
	if len(args) > 1 || o.data != "" || o.key != "" || o.id != "" || o.wait {
		return wrong(cmd, "beside --file there is at most a ROUTE, and no --data, --id, --key or --wait; a line may have an \"id\" of its own")
	}
	reader, err := newLineReader(o, args)
	if err != nil {
		return err
	}
	file, name := j.In, "standard input"
	if o.file != "-" {
		opened, err := os.Open(o.file)
		if err != nil {
			return usagef("--file: %w", err)
		}
		defer func() { _ = opened.Close() }() // it was read
		file, name = opened, o.file
	}
	l := &lineSender{
		jobsRun: j, patience: &patience{client: j.client, limit: awayFor}, name: name, reader: *reader,
		status: &statusLine{w: j.Err, terminal: isTerminal(j.Err)},
	}
	l.told = l.status
	defer l.status.clear()
	if err := l.prepare(ctx, args); err != nil {
		return err
	}
	if reader.run != "" {
		_, _ = fmt.Fprintf(j.Err, "this is the run %s of the file; when it is cut off, go on with --run %s\n", reader.run, reader.run)
	}
	return l.sum(ctx, l.read(ctx, file))
}

// prepare asks the gateway what is needed to make jobs of lines.
func (l *lineSender) prepare(ctx context.Context, route []string) error {
	answer, err := l.get(ctx, "/v1/limits", 0)
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
	if len(route) == 1 {
		kind, err := l.jobsRun.client.typeOf(ctx, route[0])
		if isNotFound(err) {
			return hinted(err, "`headrace routes` lists what there is")
		}
		if err != nil {
			return err
		}
		l.reader.text = func(text string) ([]byte, error) { return bodyFor(route[0], kind, []string{text}) }
	}
	return nil
}

// read places the lines of a file.
func (l *lineSender) read(ctx context.Context, file io.Reader) error {
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
		job, err := l.reader.job(line)
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
		err = fmt.Errorf("%s:%d: %w", l.name, l.lines+1, err)
	}
	return errors.Join(l.flush(ctx), err)
}

// sum says what has become of the lines.
func (l *lineSender) sum(ctx context.Context, err error) error {
	l.status.clear()
	text := fmt.Sprintf("%s: %s, %d placed, %d there already, %d refused",
		l.name, count(l.lines, "line"), l.placed, l.there, l.refused)
	if ctx.Err() != nil {
		return interrupted("%s; %s", text, l.goOn())
	}
	_, _ = fmt.Fprintln(l.Err, text)
	switch {
	case err != nil:
		return err
	case l.refused > 0:
		return fmt.Errorf("%d of %d lines were refused; correct them and run the same command again: nothing is placed twice", l.refused, l.lines)
	}
	return nil
}

// goOn says how a run that was cut off is continued.
func (l *lineSender) goOn() string {
	if l.reader.run != "" {
		return fmt.Sprintf("run the same command with --run %s: nothing is placed twice", l.reader.run)
	}
	return "run the same command again: nothing is placed twice"
}

// refuse says why a line makes no job.
func (l *lineSender) refuse(number int, why string) {
	l.refused++
	_, _ = fmt.Fprintf(l.status, "%s:%d: %s\n", l.name, number, oneLine(why, 1000))
}

// add takes a line into the batch, and places the batch before when the line does not fit any more.
func (l *lineSender) add(ctx context.Context, line fileLine) error {
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
func (l *lineSender) flush(ctx context.Context) error {
	for len(l.batch) > 0 {
		left, err := l.placeBatch(ctx)
		if len(left) < len(l.batch) {
			l.here()
		}
		l.batch = left
		l.status.set(fmt.Sprintf("%s read, %d placed, %d there already, %d refused", count(l.lines, "line"), l.placed, l.there, l.refused), false)
		if err == nil {
			continue
		}
		if err := l.bear(ctx, err); err != nil {
			return fmt.Errorf("%w; %s", err, l.goOn())
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
	l.status.clear()
	why := ""
	for i, item := range items {
		switch {
		case item.Job != nil:
			if item.Status == http.StatusOK {
				l.there++
			} else {
				l.placed++
			}
			err = errors.Join(err, l.show(item.Job, item.there()))
		case item.Status == http.StatusServiceUnavailable:
			left, why = append(left, l.batch[i]), item.refusal()
		default:
			l.refuse(l.batch[i].number, item.refusal()+hintFor(item.Status))
		}
		if err != nil {
			return l.batch[i:], err
		}
	}
	if len(left) > 0 {
		return left, &replyError{status: http.StatusServiceUnavailable, text: why}
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

// newLineReader checks what the command line says of a file's lines.
func newLineReader(o submission, route []string) (*lineReader, error) {
	if !goodID(o.prefix) || len(o.prefix) > maxPrefix {
		return nil, usagef("--key-prefix %q: it takes up to %d letters, digits, - and _", o.prefix, maxPrefix)
	}
	run := o.run
	if run == "" && o.again {
		run = now().UTC().Format("20060102T150405Z")
	}
	if run != "" && (!goodID(run) || len(run) > maxPrefix/2) {
		return nil, usagef("--run %s: it takes up to %d letters, digits, - and _", run, maxPrefix/2)
	}
	options, err := o.options.members(now(), true)
	if err != nil {
		return nil, err
	}
	return &lineReader{route: strings.Join(route, ""), prefix: o.prefix, run: run, options: options}, nil
}
