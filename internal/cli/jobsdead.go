package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"headrace/internal/terminal"
	"headrace/internal/view"
)

func (c jobCommands) redriveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "redrive ID... | redrive --all | redrive --error-code CODE", Short: "Run failed jobs again, for example after a model server was mended",
		Long: "Run failed jobs again: those that are named, or up to 1,000 that match the flags, the newest first. --all is for all of them.",
		Example: "  headrace jobs redrive ID\n  headrace jobs redrive --error-code upstream_unavailable --route embeddings\n" +
			"  headrace jobs redrive --all",
	}
	f := filterFlags(cmd, false)
	all := cmd.Flags().Bool("all", false, "all failed jobs")
	limit := cmd.Flags().Int("limit", 1000, "how many at most, up to 1000")
	return c.jobs(cmd, func(ctx context.Context, j *jobsRun, ids []string) error {
		query, err := f.query(now())
		switch {
		case err != nil:
			return err
		case len(ids) > 0 && (len(query) > 0 || *all):
			return wrong(cmd, "give either IDs or flags that choose jobs")
		case len(ids) > 0:
			return each(ids, func(id string) error {
				answer, err := j.client.Do(ctx, http.MethodPost, "/v1/dead/"+jobPath(id)[len("/v1/jobs/"):]+"/redrive", nil)
				if err != nil {
					return err
				}
				return j.show(answer, "")
			})
		case len(query) == 0 && !*all:
			return wrong(cmd, "name jobs, or choose them with flags; --all is for all failed jobs")
		}
		query.Set("limit", strconv.Itoa(*limit))
		answer, err := j.client.Do(ctx, http.MethodPost, "/v1/dead/redrive?"+query.Encode(), nil)
		if err != nil || j.asJSON {
			return j.printJSON(answer, err)
		}
		return j.redriven(answer)
	})
}

// redriven says what has become of many.
func (j *jobsRun) redriven(answer []byte) error {
	var list struct {
		Data []struct {
			ID     string `json:"id"`
			Status int    `json:"status"`
			Error  *struct {
				Detail string `json:"detail"`
			} `json:"error"`
		} `json:"data"`
		HasMore bool `json:"has_more"`
	}
	if err := json.Unmarshal(answer, &list); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	good := 0
	for _, item := range list.Data {
		if item.Error != nil {
			_, _ = fmt.Fprintf(j.Err, "%s: %s\n", item.ID, terminal.OneLine(item.Error.Detail, 500))
			continue
		}
		good++
		if _, err := fmt.Fprintln(j.Out, item.ID); err != nil {
			return err
		}
	}
	_, _ = fmt.Fprintln(j.Err, terminal.Count(good, "job")+" will run again")
	if list.HasMore {
		_, _ = fmt.Fprintln(j.Err, "there are more; run the same command again for them")
	}
	if good < len(list.Data) {
		return errors.New("not all jobs could be run again, see above")
	}
	return nil
}

func (c jobCommands) attemptsCommand() *cobra.Command {
	return c.jobs(&cobra.Command{
		Use: "attempts ID", Short: "List the calls to model servers that a job has made", Args: exactly("ID"), Example: "  headrace jobs attempts ID",
	}, func(ctx context.Context, j *jobsRun, args []string) error {
		answer, err := j.client.Do(ctx, http.MethodGet, jobPath(args[0])+"/attempts", nil)
		if err != nil || j.asJSON {
			return j.printJSON(answer, err)
		}
		var list struct {
			Data []view.Attempt `json:"data"`
		}
		if err := json.Unmarshal(answer, &list); err != nil {
			return fmt.Errorf("reading attempts: %w", err)
		}
		if len(list.Data) == 0 {
			_, _ = fmt.Fprintln(j.Err, "no attempts yet")
			return nil
		}
		return view.AttemptTable(list.Data, now()).Write(j.Out)
	})
}
