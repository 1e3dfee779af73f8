package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"headrace/internal/client"
	"headrace/internal/terminal"
	"headrace/internal/view"
)

const (
	// pageOf is how many jobs one request of `jobs ls` lists.
	pageOf = 200
	// watchEvery is how often `jobs ls --watch` asks.
	watchEvery = 2 * time.Second
)

// filter is the flags that choose jobs, and the parameters they become.
type filter struct {
	flags  *pflag.FlagSet
	params map[string]string // by flag
}

func filterFlags(cmd *cobra.Command, statuses bool) *filter { //nolint:revive // lists of failed jobs have no statuses
	f := &filter{flags: cmd.Flags(), params: map[string]string{
		"route": "route", "priority": "priority", "tag": "tag", "error-code": "error_code",
	}}
	if statuses {
		f.flags.StringArray("status", nil, "only those in this `STATE`; several with commas")
		choices(cmd, "status", "scheduled", "queued", "running", "retrying", "cancelling", "succeeded", "failed", "cancelled", "expired")
		f.params["status"] = "status"
	}
	f.flags.StringArray("route", nil, "only those of this `ROUTE`")
	f.flags.StringArray("priority", nil, "only those of this `PRIORITY`")
	f.flags.StringArray("tag", nil, "only those with this `TAG`; of several, with all")
	f.flags.StringArray("error-code", nil, "only those that failed with this `CODE`")
	f.flags.StringArray("metadata", nil, "only those with this `KEY=VALUE`")
	f.flags.String("since", "", "only those created since this `TIME`, or in this last duration, such as 2h")
	return f
}

// query makes parameters of flags.
func (f *filter) query(at time.Time) (url.Values, error) {
	query := make(url.Values)
	for flag, param := range f.params {
		values, err := f.flags.GetStringArray(flag)
		if err != nil {
			return nil, err
		}
		for _, value := range values {
			query.Add(param, value)
		}
	}
	pairs, err := f.flags.GetStringArray("metadata")
	if err != nil {
		return nil, err
	}
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, usagef("--metadata %q: write KEY=VALUE", pair)
		}
		query.Add("metadata."+key, value)
	}
	if since := f.flags.Lookup("since").Value.String(); since != "" {
		when, before, err := timeOrDuration(since)
		if err != nil {
			return nil, usagef("--since %q: %w", since, err)
		}
		if before > 0 {
			when = at.Add(-before).UTC().Format(time.RFC3339)
		}
		query.Set("created_after", when)
	}
	return query, nil
}

// lister prints a list of jobs.
type lister struct {
	*jobsRun

	path  string // /v1/jobs or /v1/dead
	query url.Values
	limit int
	after string
	again func(after string) string // the command for the next page
	get   func(ctx context.Context, path string) ([]byte, error)
}

// page is one page of a list.
type page struct {
	Data    []json.RawMessage `json:"data"`
	LastID  *string           `json:"last_id"`
	HasMore bool              `json:"has_more"`
}

func (c jobCommands) lsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List jobs, the newest first", Args: none("to see one job, write `headrace jobs get %s`"),
		Example: "  headrace jobs ls --status failed,expired --route embeddings\n  headrace jobs ls --since 2h --limit 100\n  headrace jobs ls --watch",
	}
	f := filterFlags(cmd, true)
	watch := cmd.Flags().Bool("watch", false, "show the list again every two seconds, until Ctrl-C")
	return c.listCommand(cmd, "/v1/jobs", f, watch)
}

func (c jobCommands) deadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "dead", Short: "List failed jobs, the newest first", Args: none("to see one job, write `headrace jobs get %s`"),
		Long:    "List failed jobs, the newest first. `headrace jobs redrive` runs them again.",
		Example: "  headrace jobs dead --error-code upstream_unavailable",
	}
	return c.listCommand(cmd, "/v1/dead", filterFlags(cmd, false), new(bool))
}

func (c jobCommands) listCommand(cmd *cobra.Command, path string, f *filter, watch *bool) *cobra.Command {
	limit := cmd.Flags().Int("limit", 20, "how many at most")
	after := cmd.Flags().String("after", "", "go on behind the job with this `ID`")
	name := cmd.Name()
	return c.jobs(cmd, func(ctx context.Context, j *jobsRun, _ []string) error {
		if *limit < 1 {
			return usagef("headrace jobs %s: --limit %d: it takes a number from 1", name, *limit)
		}
		query, err := f.query(now())
		if err != nil {
			return err
		}
		l := &lister{
			jobsRun: j, path: path, query: query, limit: *limit, after: *after,
			again: func(after string) string { return nextCommand(name, f.flags, after) },
			get: func(ctx context.Context, path string) ([]byte, error) {
				return j.client.Do(ctx, http.MethodGet, path, nil)
			},
		}
		if *watch {
			return l.watch(ctx)
		}
		return l.print(ctx)
	})
}

// read gives up to limit jobs, page by page, and the id behind which there are more.
func (l *lister) read(ctx context.Context, take func(page []json.RawMessage) error) (more string, err error) {
	if l.after != "" {
		l.query.Set("after", l.after)
	}
	for left := l.limit; left > 0; left -= pageOf {
		l.query.Set("limit", strconv.Itoa(min(left, pageOf)))
		answer, err := l.get(ctx, l.path+"?"+l.query.Encode())
		if err != nil {
			return "", err
		}
		var p page
		if err := json.Unmarshal(answer, &p); err != nil {
			return "", fmt.Errorf("reading a list of jobs: %w", err)
		}
		if err := take(p.Data); err != nil {
			return "", err
		}
		if !p.HasMore || p.LastID == nil {
			return "", nil
		}
		l.query.Set("after", *p.LastID)
		more = *p.LastID
	}
	return more, nil
}

// print prints the list; a long one in pages that are each aligned for themselves, so that memory stays bounded.
func (l *lister) print(ctx context.Context) error {
	header := true
	more, err := l.read(ctx, func(jobs []json.RawMessage) error {
		if l.asJSON {
			for _, job := range jobs {
				if err := l.printJSON(job, nil); err != nil {
					return err
				}
			}
			return nil
		}
		t, err := tableOf(jobs)
		if err != nil || len(jobs) == 0 {
			return err
		}
		t.Bare, header = !header, false
		return t.Write(l.Out)
	})
	switch {
	case err != nil:
		return err
	case more != "":
		_, _ = fmt.Fprintln(l.Err, "there are more: "+l.again(more))
	case header && !l.asJSON:
		_, _ = fmt.Fprintln(l.Err, "no jobs")
	}
	return nil
}

func tableOf(jobs []json.RawMessage) (*terminal.Table, error) {
	var all []*view.Job
	for _, job := range jobs {
		v, err := view.ReadJob(job)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return view.JobTable(all, now()), nil
}

// watch shows the list again and again until ctx ends, which is a good end. A gateway that is restarted is asked again.
func (l *lister) watch(ctx context.Context) error {
	p := &client.Patience{Client: &l.client.Client, Told: l.Err, Limit: client.AwayFor}
	l.get = func(ctx context.Context, path string) ([]byte, error) {
		return p.Get(ctx, path, 0)
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		var all []json.RawMessage
		l.query.Del("after")
		_, err := l.read(ctx, func(jobs []json.RawMessage) error {
			all = append(all, jobs...)
			return nil
		})
		if ctx.Err() != nil {
			return nil // Ctrl-C is how watching ends
		}
		if err != nil {
			return err
		}
		t, err := tableOf(all)
		if err != nil {
			return err
		}
		text := t.Render(terminal.Colours(l.Out))
		if terminal.IsTerminal(l.Out) {
			text = "\x1b[H\x1b[2J" + text
		}
		if _, err := fmt.Fprintln(l.Out, text); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// nextCommand is what was typed, for the page behind a job.
func nextCommand(name string, flags *pflag.FlagSet, after string) string {
	words := []string{"headrace", "jobs", name}
	flags.Visit(func(f *pflag.Flag) {
		if f.Name == "after" {
			return
		}
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, value := range values {
			if f.Value.Type() == "bool" {
				words = append(words, "--"+f.Name)
				continue
			}
			words = append(words, "--"+f.Name, terminal.Quoted(value))
		}
	})
	return strings.Join(append(words, "--after", after), " ")
}
