package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"headrace/internal/client"
	"headrace/internal/terminal"
	"headrace/internal/view"
)

func (c jobCommands) eventsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "events ID", Short: "Print what happens to a job, until it has ended", Args: exactly("ID"),
		Long: "Print what happens to a job, until it has ended: a line for each event, with the time at which it came; with --json the\n" +
			"events' data.\n\n" + aboutWaiting,
		Example: "  headrace jobs events ID",
	}
	w := waitingFlag(cmd)
	return c.jobs(cmd, func(ctx context.Context, j *jobsRun, args []string) error {
		bounded, cancel := w.bound(ctx)
		defer cancel()
		last := ""
		err := j.patience(w).Follow(bounded, jobPath(args[0])+"/events", func(e client.Event) error {
			// The end comes twice, as a change and as the last event: a person sees it once.
			twice := e.Kind == "done" && e.ID == last && !j.asJSON
			if last = e.ID; twice {
				return nil
			}
			return j.event(e.Data)
		})
		if err != nil {
			return j.gaveUp(bounded, args[0], "", err)
		}
		return nil
	})
}

// event prints one event.
func (j *jobsRun) event(data []byte) error {
	if j.asJSON {
		return j.printJSON(data, nil)
	}
	v, err := view.ReadJob(data)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(j.Out, "%s  %s\n", now().Format(time.TimeOnly), v.Line(terminal.Colours(j.Out)))
	return err
}
