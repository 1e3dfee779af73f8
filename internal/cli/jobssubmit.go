package cli

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"headrace/internal/client"
	"headrace/internal/terminal"
	"headrace/internal/view"
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

func (c jobCommands) submitCommand() *cobra.Command {
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
	cmd = c.jobs(cmd, func(ctx context.Context, j *jobsRun, args []string) error {
		if o.file != "" {
			return j.submitFile(ctx, cmd, o, args)
		}
		return j.submitOne(ctx, cmd, o, args)
	})
	cmd.ValidArgsFunction = completeRoutes
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
		input, err = j.client.BodyOf(ctx, args[0], args[1:])
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
	item, err := j.patience(o.waiting).PlaceOne(ctx, job)
	if err != nil && ctx.Err() != nil {
		return interrupted("whether the job was placed is not certain; the same command with `%s` places it once", cameBy(job))
	}
	if err != nil {
		return err
	}
	if !o.wait {
		return j.show(item.Job, existed(item))
	}
	return j.waitForPlaced(ctx, item, o.waiting)
}

// cameBy is the flag that names a job.
func cameBy(job map[string]any) string {
	if id, ok := job["id"].(string); ok {
		return "--id " + terminal.Quoted(id)
	}
	return fmt.Sprint("--key ", job["idempotency_key"])
}

// existed marks a job that was placed before.
func existed(item *client.Placed) string {
	if item.Existed() {
		return "  (was there already)"
	}
	return ""
}

// waitForPlaced tells the id, waits, and prints the answer.
func (j *jobsRun) waitForPlaced(ctx context.Context, item *client.Placed, w *waiting) error {
	v, err := view.ReadJob(item.Job)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintln(j.Err, v.Line(terminal.Colours(j.Err))+existed(item))
	answer, ended, err := j.waitFor(ctx, v.ID, w)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintln(j.Err, ended.Line(terminal.Colours(j.Err)))
	if !j.asJSON {
		return j.printResult(ctx, ended, w)
	}
	return errors.Join(j.printJSON(answer, nil), outcome(ended))
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
