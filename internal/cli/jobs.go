package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"headrace/internal/client"
	"headrace/internal/terminal"
	"headrace/internal/view"
)

// jobsRun is one run of a command about jobs or queues.
type jobsRun struct {
	*shell

	client *gateway
	asJSON bool
}

const aboutJobs = `Place durable jobs, follow them, and find them again. A job that was accepted reaches exactly one end, whatever
dies before then; its result can be read until it expires.`

func (s *shell) jobsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "jobs", Short: "Place durable jobs, follow them, and find them again", Long: aboutJobs, Annotations: exits(),
		Example: "  headrace jobs submit embeddings \"some text\" --wait\n  headrace jobs submit embeddings --file lines.jsonl\n" +
			"  headrace jobs ls --status failed",
	}
	c := jobCommands{s}
	cmd.AddCommand(c.submitCommand(), c.getCommand(), c.waitCommand(), c.resultCommand(), c.eventsCommand(), c.lsCommand(),
		c.inputCommand(), c.attemptsCommand(), c.cancelCommand(), c.retryCommand(), c.deleteCommand(), c.deadCommand(), c.redriveCommand())
	group(cmd)
	return cmd
}

// jobCommands are the commands below `headrace jobs`.
type jobCommands struct{ *shell }

// jobs is asking for commands about jobs.
func (c jobCommands) jobs(cmd *cobra.Command, run func(ctx context.Context, j *jobsRun, args []string) error) *cobra.Command {
	return c.asking(cmd, func(ctx context.Context, j *jobsRun, args []string) error {
		return ownStatus(unlessInterrupted(ctx, run(ctx, j, args)))
	})
}

// asking adds the flags of all commands that ask a gateway, and runs what they ask for.
func (s *shell) asking(cmd *cobra.Command, run func(ctx context.Context, j *jobsRun, args []string) error) *cobra.Command {
	j := &jobsRun{shell: s, client: gatewayFlag(cmd)}
	cmd.Flags().BoolVar(&j.asJSON, "json", false, "print what the gateway says, as JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := j.client.open(); err != nil {
			return err
		}
		return unlessInterrupted(cmd.Context(), run(cmd.Context(), j, args))
	}
	return cmd
}

func now() time.Time { return time.Now() }

func jobPath(id string) string { return "/v1/jobs/" + url.PathEscape(id) }

func (c jobCommands) getCommand() *cobra.Command {
	return c.jobs(&cobra.Command{
		Use: "get ID", Short: "Show a job", Args: exactly("ID"), Example: "  headrace jobs get ID\n  headrace jobs get ID --json",
	}, func(ctx context.Context, j *jobsRun, args []string) error {
		answer, err := j.client.Do(ctx, http.MethodGet, jobPath(args[0]), nil)
		if err != nil || j.asJSON {
			return j.printJSON(answer, err)
		}
		v, err := view.ReadJob(answer)
		if err != nil {
			return err
		}
		j.learnPaused(ctx, v)
		return v.Details(j.Out, now(), terminal.Colours(j.Out))
	})
}

// printJSON prints an answer as it came, unless there was an error.
func (j *jobsRun) printJSON(answer []byte, err error) error {
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(j.Out, string(bytes.TrimSpace(answer)))
	return err
}

// show prints a job: its line, or what the gateway said.
func (j *jobsRun) show(answer []byte, more string) error {
	if j.asJSON {
		return j.printJSON(answer, nil)
	}
	v, err := view.ReadJob(answer)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(j.Out, v.Line(terminal.Colours(j.Out))+more)
	return err
}

func (c jobCommands) inputCommand() *cobra.Command {
	return c.jobs(&cobra.Command{
		Use: "input ID", Short: "Print what a job was asked with", Args: exactly("ID"), Example: "  headrace jobs input ID",
	}, func(ctx context.Context, j *jobsRun, args []string) error {
		return j.printJSON(j.client.Do(ctx, http.MethodGet, jobPath(args[0])+"/input", nil))
	})
}

func (c jobCommands) cancelCommand() *cobra.Command {
	return c.jobs(&cobra.Command{
		Use: "cancel ID...", Short: "Cancel jobs", Args: some("ID"),
		Long:    "Cancel jobs. One that waits ends at once; the call of one that runs is aborted. It may be repeated.",
		Example: "  headrace jobs cancel ID",
	}, func(ctx context.Context, j *jobsRun, args []string) error { return j.change(ctx, args, "/cancel") })
}

func (c jobCommands) retryCommand() *cobra.Command {
	return c.jobs(&cobra.Command{
		Use: "retry ID...", Short: "Run failed, cancelled or expired jobs again", Args: some("ID"), Example: "  headrace jobs retry ID",
	}, func(ctx context.Context, j *jobsRun, args []string) error { return j.change(ctx, args, "/retry") })
}

// change asks for the same of each job, and shows what has become of them.
func (j *jobsRun) change(ctx context.Context, ids []string, verb string) error {
	return each(ids, func(id string) error {
		answer, err := j.client.Do(ctx, http.MethodPost, jobPath(id)+verb, nil)
		if err != nil {
			return err
		}
		return j.show(answer, "")
	})
}

func (c jobCommands) deleteCommand() *cobra.Command {
	return c.jobs(&cobra.Command{
		Use: "delete ID...", Short: "Erase jobs, with their inputs and results", Args: some("ID"),
		Long: "Erase jobs, with their inputs and results. One that runs is cancelled first. The id cannot be used again for seven days;\n" +
			"`jobs submit --file --again` makes new ones.",
		Example: "  headrace jobs delete ID",
	}, func(ctx context.Context, j *jobsRun, args []string) error {
		return each(args, func(id string) error {
			status, answer, err := j.client.Ask(ctx, http.MethodDelete, jobPath(id), nil)
			switch {
			case err != nil:
				return err
			case status != http.StatusNoContent: // it runs, and is erased when its call has ended
				return j.show(answer, "  (it is erased when it has ended)")
			case j.asJSON:
				return nil
			}
			_, err = fmt.Fprintln(j.Out, id+"  erased")
			return err
		})
	})
}

// each does the same for all ids, also after an error; of several errors it names the jobs.
func each(ids []string, do func(id string) error) error {
	var errs []error
	for _, id := range ids {
		err := do(id)
		if err == nil {
			continue
		}
		if _, away := errors.AsType[*client.AwayError](err); away || len(ids) == 1 {
			return err
		}
		errs = append(errs, fmt.Errorf("%s: %w", id, err))
	}
	return errors.Join(errs...)
}

// learnPaused asks whether the queue of a job that waits is paused, where the job does not say it.
func (j *jobsRun) learnPaused(ctx context.Context, s *view.Job) {
	if !s.Waits() || s.KnowsPaused() {
		return
	}
	answer, err := j.client.Do(ctx, http.MethodGet, "/v1/queues/"+url.PathEscape(s.Route), nil)
	var queue struct {
		Paused bool `json:"paused"`
	}
	if err == nil && json.Unmarshal(answer, &queue) == nil {
		s.Paused = queue.Paused
	}
}
