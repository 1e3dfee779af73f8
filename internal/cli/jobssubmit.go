package cli

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// submission is the flags of submit.
type submission struct {
	data, file, key, id, prefix, run string

	wait    bool
	again   bool
	waiting *waiting
	options *jobOptions
}

const aboutSubmit = `Place a job: texts, or with --data the route's own input. With --wait the
answer is printed at the end.

With --file, place a job for each line of a file; "-" is standard input. A line
is JSON, in one of these forms:

  "some text"                            a text, for ROUTE
  {"input": "some text"}                 the own input of ROUTE, whatever it is
  {"id": "a-1", "input": "some text"}    likewise, with an id of your own
  {"route": "embeddings", "id": "a-1", "priority": "batch",
   "input": {"input": "some text"}}      a whole job on one line, without ROUTE

The same line is the same job, in this file and in the next, wherever it stands:
its id is made of the line, the route and the options of the command, unless the
line has an "id" or an "idempotency_key". So a file may be corrected, extended
and run again, and a run that was cut off is repeated: nothing is placed twice.
To place all lines as new jobs use --again, or a --key-prefix for each run.

`

func (s *shell) submitCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "submit ROUTE [TEXT...] | submit [ROUTE] --file FILE", Short: "Place a job, or a job for each line of a file",
		Long: aboutSubmit + aboutWaiting, Annotations: exits(),
		Example: "  headrace jobs submit embeddings \"some text\" --wait\n" +
			"  headrace jobs submit iris --data @input.json --priority batch --tag nightly\n" +
			"  headrace jobs submit embeddings --file lines.jsonl --priority batch\n" +
			"  headrace jobs submit embeddings --file lines.jsonl --again",
	}
	o := submission{options: jobOptionFlags(cmd), waiting: waitingFlag(cmd)}
	set := cmd.Flags()
	set.StringVar(&o.data, "data", "", "the route's input, as `JSON`; @FILE reads it from a file, - from standard input")
	set.StringVar(&o.file, "file", "", "place a job for each line of this `FILE`; - is standard input")
	set.StringVar(&o.key, "key", "", "an idempotency `KEY`: the same one again is the same job")
	set.StringVar(&o.id, "id", "", "an `ID` of your own: the same one again is the same job")
	set.StringVar(&o.prefix, "key-prefix", "line", "with --file: what the ids of lines begin with; another `PREFIX` makes other jobs")
	set.BoolVar(&o.again, "again", false, "with --file: place all lines as new jobs, also where the old ones were erased")
	set.StringVar(&o.run, "run", "", "with --file: like --again, with a `NAME` for the run; the same one again places nothing twice")
	set.BoolVar(&o.wait, "wait", false, "wait for the end, and print the answer")
	cmd = s.jobs(cmd, func(ctx context.Context, j *jobsRun, args []string) error {
		if o.file != "" {
			return j.submitFile(ctx, cmd, o, args)
		}
		return j.submitOne(ctx, cmd, o, args)
	})
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		c := &client{address: cmd.Flag("url").Value.String()}
		return c.routeNames(cmd, args, word)
	}
	return cmd
}

func (j *jobsRun) submitOne(ctx context.Context, cmd *cobra.Command, o submission, args []string) error {
	switch {
	case len(args) == 0 || (o.data == "") == (len(args) == 1):
		return wrong(cmd, "name a route, and give either texts or --data")
	case cmd.Flags().Changed("key-prefix") || o.again || o.run != "":
		return wrong(cmd, "--key-prefix, --again and --run are for --file; use --id or --key")
	case o.waiting.timeout > 0 && !o.wait:
		return wrong(cmd, "--timeout is for --wait")
	}
	options, err := o.options.members(now(), false)
	if err != nil {
		return err
	}
	input, err := j.body(o.data)
	if o.data == "" {
		input, err = j.client.bodyOf(ctx, args[0], args[1:])
	}
	if err != nil {
		return err
	}
	if !json.Valid(input) {
		return wrong(cmd, "--data is not JSON: %w", json.Unmarshal(input, new(any)))
	}
	job := options
	job["route"], job["input"] = args[0], json.RawMessage(input)
	switch {
	case o.id != "":
		job["id"] = o.id
	case o.key != "":
		job["idempotency_key"] = o.key
	default: // so that it can be asked for again when the answer is lost
		job["idempotency_key"] = "cli-" + rand.Text()
	}
	item, err := j.placeOne(ctx, job, o.waiting)
	if err != nil && ctx.Err() != nil {
		return interrupted("whether the job was placed is not certain; the same command with `%s` places it once", cameBy(job))
	}
	if err != nil {
		return err
	}
	if !o.wait {
		return j.show(item.Job, item.there())
	}
	return j.waitForPlaced(ctx, item, o.waiting)
}

// cameBy is the flag that names a job.
func cameBy(job map[string]any) string {
	if id, ok := job["id"].(string); ok {
		return "--id " + quoted(id)
	}
	return fmt.Sprint("--key ", job["idempotency_key"])
}

// waitForPlaced tells the id, waits, and prints the answer.
func (j *jobsRun) waitForPlaced(ctx context.Context, item *placed, w *waiting) error {
	v, err := readShown(item.Job)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintln(j.Err, v.line(colours(j.Err))+item.there())
	answer, ended, err := j.waitFor(ctx, v.ID, w)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintln(j.Err, ended.line(colours(j.Err)))
	if !j.asJSON {
		return j.printResult(ctx, ended, w)
	}
	return errors.Join(j.printJSON(answer, nil), ended.outcome())
}

// placed is the answer to one job of a batch.
type placed struct {
	Index  int             `json:"index"`
	Status int             `json:"status"`
	Job    json.RawMessage `json:"job"`
	Error  struct {
		Detail string `json:"detail"`
		Code   string `json:"code"`
	} `json:"error"`
}

func (p *placed) refusal() string {
	return fmt.Sprintf("%d (%s): %s", p.Status, p.Error.Code, p.Error.Detail)
}

// there tells a job that was placed before.
func (p *placed) there() string {
	if p.Status == http.StatusOK {
		return "  (was there already)"
	}
	return ""
}

// placeOne places one job that has an id or a key. A gateway that is restarted is asked again; one that refuses is not.
func (j *jobsRun) placeOne(ctx context.Context, job any, w *waiting) (*placed, error) {
	p := j.patience(w)
	for {
		items, err := j.place(ctx, []any{job})
		switch {
		case err == nil && items[0].Job != nil:
			return &items[0], nil
		case err == nil && (items[0].Status != http.StatusServiceUnavailable || items[0].Error.Code == "queue_full"):
			return nil, errors.New(items[0].refusal())
		case err == nil:
			err = &replyError{status: items[0].Status, text: items[0].refusal()}
		}
		if err := p.bear(ctx, err); err != nil {
			return nil, err
		}
	}
}

// place places jobs once and gives the answers in their order.
func (j *jobsRun) place(ctx context.Context, jobs []any) ([]placed, error) {
	body, err := encode(map[string]any{"jobs": jobs})
	if err != nil {
		return nil, fmt.Errorf("writing jobs: %w", err)
	}
	answer, err := j.client.do(ctx, http.MethodPost, "/v1/jobs/batch", body)
	if err != nil {
		return nil, err
	}
	var list struct {
		Data []placed `json:"data"`
	}
	if err := json.Unmarshal(answer, &list); err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if len(list.Data) != len(jobs) {
		return nil, fmt.Errorf("the answer is about %d jobs, %d were placed", len(list.Data), len(jobs))
	}
	return list.Data, nil
}

// body is the value of --data, or what it names.
func (s *shell) body(data string) ([]byte, error) {
	if data == "-" {
		body, err := io.ReadAll(s.In)
		if err != nil {
			return nil, fmt.Errorf("reading standard input: %w", err)
		}
		return bytes.TrimSpace(body), nil
	}
	if path, ok := strings.CutPrefix(data, "@"); ok {
		body, err := os.ReadFile(path) //nolint:gosec // the user names the file
		if err != nil {
			return nil, usagef("--data: %w", err)
		}
		return bytes.TrimSpace(body), nil
	}
	return []byte(data), nil
}

// bodyOf makes the body that a route wants for texts; its type is asked for.
func (c *client) bodyOf(ctx context.Context, route string, texts []string) ([]byte, error) {
	kind, err := c.typeOf(ctx, route)
	if err != nil {
		return nil, err
	}
	return bodyFor(route, kind, texts)
}
