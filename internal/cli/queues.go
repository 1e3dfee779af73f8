package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"
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
		answer, err := j.client.do(ctx, http.MethodGet, "/v1/queues", nil)
		if err != nil || j.asJSON {
			return j.printJSON(answer, err)
		}
		var list struct {
			Data []queue `json:"data"`
		}
		if err := json.Unmarshal(answer, &list); err != nil {
			return fmt.Errorf("reading queues: %w", err)
		}
		return queueTable(list.Data, now()).write(j.Out)
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
		answer, err := j.client.do(ctx, http.MethodPost, "/v1/queues/"+url.PathEscape(args[0])+"/"+verb, nil)
		if isNotFound(err) {
			return hinted(err, "`headrace routes` lists what there is")
		}
		if err != nil || j.asJSON {
			return j.printJSON(answer, err)
		}
		var q queue
		if err := json.Unmarshal(answer, &q); err != nil {
			return fmt.Errorf("reading a queue: %w", err)
		}
		_, err = fmt.Fprintf(j.Out, "%s is %s; %s\n", q.Name, q.state(), q.waits())
		return err
	})
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		c := &client{address: cmd.Flag("url").Value.String()}
		return c.routeNames(cmd, args, word)
	}
	return cmd
}

// queue is what waits of one route's jobs.
type queue struct {
	Name    string                `json:"name"`
	Paused  bool                  `json:"paused"`
	Waiting map[string]int        `json:"waiting"`
	Oldest  map[string]*time.Time `json:"oldest_queued_at"`
	Rate    map[string]float64    `json:"started_per_second"`
	Limit   int                   `json:"max_waiting"`
	Workers int                   `json:"workers"`
	Slots   int                   `json:"slots"`
}

func (q *queue) state() string {
	switch {
	case q.Paused:
		return "paused"
	case q.Workers == 0:
		return "without workers"
	default:
		return "open"
	}
}

func (q *queue) total() (n int) {
	for _, w := range q.Waiting {
		n += w
	}
	return n
}

func (q *queue) waits() string {
	if q.total() == 1 {
		return "1 job waits"
	}
	return count(q.total(), "job") + " wait"
}

// oldest is when the job was queued that waits longest.
func (q *queue) oldest() (oldest time.Time) {
	for _, t := range q.Oldest {
		if t != nil && (oldest.IsZero() || t.Before(oldest)) {
			oldest = *t
		}
	}
	return oldest
}

func queueTable(queues []queue, at time.Time) *table {
	t := &table{header: []string{"ROUTE", "STATE", "WAITING", "INTERACTIVE", "STANDARD", "BATCH", "LONGEST", "STARTED/S", "LIMIT", "WORKERS", "SLOTS"}}
	for _, q := range queues {
		longest, rate := "", 0.0
		if oldest := q.oldest(); !oldest.IsZero() {
			longest = inWords(max(0, at.Sub(oldest)))
		}
		for _, r := range q.Rate {
			rate += r
		}
		shade := plain
		if q.state() != "open" {
			shade = yellow
		}
		number := func(n int) cell { return cell{text: strconv.Itoa(n)} }
		t.add(cell{text: q.Name}, cell{q.state(), shade}, number(q.total()), number(q.Waiting["interactive"]), number(q.Waiting["standard"]),
			number(q.Waiting["batch"]), cell{text: longest}, cell{text: trimZero(fmt.Sprintf("%.1f", rate), ".0")}, number(q.Limit),
			number(q.Workers), number(q.Slots))
	}
	return t
}
