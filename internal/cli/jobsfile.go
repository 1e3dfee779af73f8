package cli

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"headrace/internal/client"
	"headrace/internal/jobfile"
	"headrace/internal/terminal"
)

// submitFile places a job for each line.
func (j *jobsRun) submitFile(ctx context.Context, cmd *cobra.Command, o submission, args []string) error {
	if len(args) > 1 || o.data != "" || o.key != "" || o.id != "" || o.wait {
		return wrong(cmd, "beside --file there is at most a ROUTE, and no --data, --id, --key or --wait; a line may have an \"id\" of its own")
	}
	lines, err := newLines(o, args)
	if err != nil {
		return err
	}
	file, name := j.In, "standard input"
	if o.file != "-" {
		opened, err := os.Open(o.file)
		if err != nil {
			return usagef("--file: %w", err)
		}
		defer func() { _ = opened.Close() }() // it was read
		file, name = opened, o.file
	}
	status := terminal.NewStatusLine(j.Err)
	defer status.Clear()
	sender := &jobfile.Sender{
		Patience: &client.Patience{Client: &j.client.Client, Told: status, Limit: client.AwayFor}, Name: name, Lines: *lines, Status: status,
		Show: func(item *client.Placed) error { return j.show(item.Job, existed(item)) },
	}
	if err := j.prepare(ctx, sender); err != nil {
		return err
	}
	if lines.Run != "" {
		_, _ = fmt.Fprintf(j.Err, "this is the run %s of the file; when it is cut off, go on with --run %s\n", lines.Run, lines.Run)
	}
	err = sender.Run(ctx, file)
	status.Clear()
	if ctx.Err() != nil {
		return interrupted("%s; %s", sender.Sum(), sender.GoOn())
	}
	_, _ = fmt.Fprintln(j.Err, sender.Sum())
	if err != nil {
		return err
	}
	return sender.Outcome()
}

// prepare asks the gateway what is needed to make jobs of lines.
func (j *jobsRun) prepare(ctx context.Context, sender *jobfile.Sender) error {
	if err := sender.Prepare(ctx); err != nil {
		return err
	}
	route := sender.Lines.Route
	if route == "" {
		return nil
	}
	kind, err := j.client.TypeOf(ctx, route)
	if client.IsNotFound(err) {
		return hinted(err, "`headrace routes` lists what there is")
	}
	if err != nil {
		return err
	}
	sender.Lines.Text = func(text string) ([]byte, error) { return client.BodyFor(route, kind, []string{text}) }
	return nil
}

// newLines checks what the command line says of a file's lines.
func newLines(o submission, route []string) (*jobfile.Lines, error) {
	if !jobfile.GoodID(o.prefix) || len(o.prefix) > jobfile.MaxPrefix {
		return nil, usagef("--key-prefix %q: it takes up to %d letters, digits, - and _", o.prefix, jobfile.MaxPrefix)
	}
	run := o.run
	if run == "" && o.again {
		run = now().UTC().Format("20060102T150405Z")
	}
	if run != "" && (!jobfile.GoodID(run) || len(run) > jobfile.MaxPrefix/2) {
		return nil, usagef("--run %s: it takes up to %d letters, digits, - and _", run, jobfile.MaxPrefix/2)
	}
	options, err := o.options.members(now(), true)
	if err != nil {
		return nil, err
	}
	return &jobfile.Lines{Route: strings.Join(route, ""), Prefix: o.prefix, Run: run, Options: options}, nil
}
