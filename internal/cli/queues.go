package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"headrace/internal/client"
	"headrace/internal/view"
)

const aboutQueues = `Show what waits of each route's jobs. A paused queue starts no jobs: those that run go on, and new ones are accepted.
Synchronous calls are not touched.`

func (s *shell) queuesCommand() *cobra.Command {
	cmd := s.asking(&cobra.Command{
		Use: "queues", Short: "Show what waits of each route's jobs; pause and resume it", Long: aboutQueues,
		Example: "  headrace queues\n  headrace queues pause embeddings\n  headrace queues resume embeddings",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownWord(cmd, args[0])
			}
			return nil
		},
	}, func(ctx context.Context, j *jobsRun, _ []string) error {
		answer, err := j.client.Do(ctx, http.MethodGet, "/v1/queues", nil)
		if err != nil || j.asJSON {
			return j.printJSON(answer, err)
		}
		var list struct {
			Data []view.Queue `json:"data"`
		}
		if err := json.Unmarshal(answer, &list); err != nil {
			return fmt.Errorf("reading queues: %w", err)
		}
		return view.QueueTable(list.Data, now()).Write(j.Out)
	})
	cmd.AddCommand(s.pauseCommand("pause", "Start no more jobs of a route, until it is resumed"),
		s.pauseCommand("resume", "Start jobs of a route again"))
	return cmd
}

func (s *shell) pauseCommand(verb, about string) *cobra.Command {
	cmd := &cobra.Command{
		Use: verb + " ROUTE", Short: about, Args: exactly("ROUTE"), Example: "  headrace queues " + verb + " embeddings",
		Long: about + ". It holds for all workers, also after a restart.",
	}
	cmd = s.asking(cmd, func(ctx context.Context, j *jobsRun, args []string) error {
		answer, err := j.client.Do(ctx, http.MethodPost, "/v1/queues/"+url.PathEscape(args[0])+"/"+verb, nil)
		if client.IsNotFound(err) {
			return hinted(err, "`headrace routes` lists what there is")
		}
		if err != nil || j.asJSON {
			return j.printJSON(answer, err)
		}
		var q view.Queue
		if err := json.Unmarshal(answer, &q); err != nil {
			return fmt.Errorf("reading a queue: %w", err)
		}
		_, err = fmt.Fprintf(j.Out, "%s is %s; %s\n", q.Name, q.State(), q.Waits())
		return err
	})
	cmd.ValidArgsFunction = completeRoutes
	return cmd
}
