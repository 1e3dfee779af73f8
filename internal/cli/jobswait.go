package cli

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"headrace/internal/client"
	"headrace/internal/terminal"
	"headrace/internal/view"
)

// holdWatched is client.HoldFor where a person watches.
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

func (c jobCommands) waitCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "wait ID", Short: "Wait for the end of a job, and show it", Args: exactly("ID"),
		Long: "Wait for the end of a job, and show it.\n\n" + aboutWaiting, Annotations: exits(),
		Example: "  headrace jobs wait ID && echo done\n  headrace jobs wait ID --timeout 10m",
	}
	w := waitingFlag(cmd)
	return c.jobs(cmd, func(ctx context.Context, j *jobsRun, args []string) error {
		answer, ended, err := j.waitFor(ctx, args[0], w)
		if err != nil {
			return err
		}
		if err := j.show(answer, ""); err != nil {
			return err
		}
		return outcome(ended)
	})
}

func (c jobCommands) resultCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "result ID", Short: "Print the result of a job, waiting for it", Args: exactly("ID"),
		Long: "Print the result of a job, waiting for it.\n\n" + aboutWaiting, Annotations: exits(),
		Example: "  headrace jobs result ID > result.json",
	}
	w := waitingFlag(cmd)
	return c.jobs(cmd, func(ctx context.Context, j *jobsRun, args []string) error {
		_, ended, err := j.waitFor(ctx, args[0], w)
		if err != nil {
			return err
		}
		return j.printResult(ctx, ended, w)
	})
}

// printResult prints the result of a job that has ended; a job without one is an error.
func (j *jobsRun) printResult(ctx context.Context, ended *view.Job, w *waiting) error {
	if err := outcome(ended); err != nil {
		return err
	}
	p := j.patience(w)
	p.Reached()
	return j.printJSON(p.Get(ctx, jobPath(ended.ID)+"/result", 0))
}

func (j *jobsRun) patience(w *waiting) *client.Patience {
	return &client.Patience{Client: &j.client.Client, Told: j.Err, Limit: max(client.AwayFor, w.timeout)}
}

// outcome is nil for a job that has succeeded, else an error with the exit status of its end.
func outcome(s *view.Job) error {
	detail := s.Why()
	if s.Error != nil {
		detail = terminal.OneLine(s.Error.Detail, 2000)
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
func (j *jobsRun) waitFor(ctx context.Context, id string, w *waiting) (answer []byte, ended *view.Job, err error) {
	bounded, cancel := w.bound(ctx)
	defer cancel()
	p := j.patience(w)
	status := terminal.NewStatusLine(j.Err)
	defer status.Clear()
	p.Told = status
	hold, last := time.Duration(0), ""
	for {
		answer, err := p.Get(bounded, jobPath(id)+"?wait="+strconv.Itoa(int(hold.Seconds())), hold)
		if err != nil {
			return nil, nil, j.gaveUp(bounded, id, last, err)
		}
		v, err := view.ReadJob(answer)
		if err != nil {
			return nil, nil, err
		}
		if v.Ended() {
			return answer, v, nil
		}
		j.learnPaused(bounded, v)
		last = v.Status
		status.Set(v.Line(false), v.Waits() && v.Paused)
		hold = client.HoldFor
		if status.Watched() {
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
	case cause == nil && client.IsNotFound(err):
		return hinted(err, "`headrace jobs ls` lists jobs")
	case cause == nil:
		return err
	case errors.Is(cause, errTimedOut):
		return exitf(exitTimeout, "the time is over; job %s%s goes on: `headrace jobs wait %s`", id, last, id)
	default:
		return interrupted("job %s%s goes on: `headrace jobs wait %s`", id, last, id)
	}
}
