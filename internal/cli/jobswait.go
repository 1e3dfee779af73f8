package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// holdWatched is holdFor where a person watches.
const holdWatched = 5 * time.Second

const aboutWaiting = `Waiting outlasts restarts of the gateway, for two minutes or, where
that is longer, for --timeout. Ctrl-C ends the waiting, not the job.`

// errTimedOut is why waiting ends when --timeout is over.
var errTimedOut = errors.New("the time is over")

// waiting is how long a command waits for a job.
type waiting struct{ timeout time.Duration }

func waitingFlag(cmd *cobra.Command) *waiting {
	w := new(waiting)
	cmd.Flags().DurationVar(&w.timeout, "timeout", 0, "wait no longer than this `DURATION`, as 90s or 1h30m; then exit with 124 (default: no limit)")
	return w
}

// bound is a context that ends when the time is over.
func (w *waiting) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if w.timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, w.timeout, errTimedOut)
}

func (s *shell) waitCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "wait ID", Short: "Wait for the end of a job, and show it", Args: exactly("ID"),
		Long: "Wait for the end of a job, and show it.\n\n" + aboutWaiting, Annotations: exits(),
		Example: "  headrace jobs wait ID && echo done\n  headrace jobs wait ID --timeout 10m",
	}
	w := waitingFlag(cmd)
	return s.jobs(cmd, func(ctx context.Context, j *jobsRun, args []string) error {
		answer, ended, err := j.waitFor(ctx, args[0], w)
		if err != nil {
			return err
		}
		if err := j.show(answer, ""); err != nil {
			return err
		}
		return ended.outcome()
	})
}

func (s *shell) resultCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "result ID", Short: "Print the result of a job, waiting for it", Args: exactly("ID"),
		Long: "Print the result of a job, waiting for it.\n\n" + aboutWaiting, Annotations: exits(),
		Example: "  headrace jobs result ID > result.json",
	}
	w := waitingFlag(cmd)
	return s.jobs(cmd, func(ctx context.Context, j *jobsRun, args []string) error {
		_, ended, err := j.waitFor(ctx, args[0], w)
		if err != nil {
			return err
		}
		return j.printResult(ctx, ended, w)
	})
}

// printResult prints the result of a job that has ended; a job without one is an error.
func (j *jobsRun) printResult(ctx context.Context, ended *shown, w *waiting) error {
	if err := ended.outcome(); err != nil {
		return err
	}
	p := j.patience(w)
	p.reached = true
	return j.printJSON(p.get(ctx, jobPath(ended.ID)+"/result", 0))
}

func (j *jobsRun) patience(w *waiting) *patience {
	return &patience{client: j.client, told: j.Err, limit: max(awayFor, w.timeout)}
}

// outcome is nil for a job that has succeeded, else an error with the exit status of its end.
func (s *shown) outcome() error {
	detail := s.why()
	if s.Error != nil {
		detail = oneLine(s.Error.Detail, 2000)
	}
	if detail != "" {
		detail = ": " + detail
	}
	switch s.Status {
	case "succeeded":
		return nil
	case "cancelled":
		return exitf(exitJobCanceled, "job %s was cancelled%s", s.ID, detail)
	case "expired":
		return exitf(exitJobExpired, "job %s has expired%s", s.ID, detail)
	default:
		return exitf(exitJobFailed, "job %s has failed%s", s.ID, detail)
	}
}

// waitFor holds until a job has ended. It says on Err what the job waits for: on a terminal in a line that changes, else
// when that is an operator's doing.
func (j *jobsRun) waitFor(ctx context.Context, id string, w *waiting) (answer []byte, ended *shown, err error) {
	bounded, cancel := w.bound(ctx)
	defer cancel()
	p := j.patience(w)
	status := &statusLine{w: j.Err, terminal: isTerminal(j.Err)}
	defer status.clear()
	p.told = status
	hold, last := time.Duration(0), ""
	for {
		answer, err := p.get(bounded, jobPath(id)+"?wait="+strconv.Itoa(int(hold.Seconds())), hold)
		if err != nil {
			return nil, nil, j.gaveUp(bounded, id, last, err)
		}
		v, err := readShown(answer)
		if err != nil {
			return nil, nil, err
		}
		if v.ended() {
			return answer, v, nil
		}
		j.learnPaused(bounded, v)
		last = v.Status
		status.set(v.line(false), v.waits() && v.paused)
		hold = holdFor
		if status.terminal {
			hold = holdWatched
		}
	}
}

// gaveUp says why waiting has ended before the job did.
func (j *jobsRun) gaveUp(ctx context.Context, id, last string, err error) error {
	if last != "" {
		last = ", which is " + last + ","
	}
	switch cause := context.Cause(ctx); {
	case cause == nil && isNotFound(err):
		return hinted(err, "`headrace jobs ls` lists jobs")
	case cause == nil:
		return err
	case errors.Is(cause, errTimedOut):
		return exitf(exitTimeout, "the time is over; job %s%s goes on: `headrace jobs wait %s`", id, last, id)
	default:
		return interrupted("job %s%s goes on: `headrace jobs wait %s`", id, last, id)
	}
}

// statusLine is a line of a terminal that changes; what else is written goes above it.
type statusLine struct {
	w        io.Writer
	terminal bool
	text     string // as it stands on the terminal
	said     bool
}

// set shows a text on a terminal; elsewhere only what matters, and once.
func (l *statusLine) set(text string, matters bool) {
	switch {
	case l.terminal:
		l.text = oneLine(text, widthOf(l.w)) // a longer one would wrap, and could not be taken back
		text = l.text
		_, _ = fmt.Fprintf(l.w, "\r\x1b[K%s", text)
	case matters && !l.said:
		_, _ = fmt.Fprintln(l.w, text)
	}
	l.said = matters
}

func (l *statusLine) clear() {
	if l.text != "" {
		_, _ = io.WriteString(l.w, "\r\x1b[K")
		l.text = ""
	}
}

// Write writes whole lines above the one that changes.
func (l *statusLine) Write(lines []byte) (int, error) {
	text := l.text
	l.clear()
	n, err := l.w.Write(lines)
	if text != "" {
		l.set(text, l.said)
	}
	return n, err
}
