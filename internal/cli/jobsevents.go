package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// follower reads the events of one job, over several streams when it must.
type follower struct {
	*jobsRun
	*patience

	path string
	last string // the id of the last event
}

func (s *shell) eventsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "events ID", Short: "Print what happens to a job, until it has ended", Args: exactly("ID"),
		Long: "Print what happens to a job, until it has ended: a line for each event, with the time at which it came; with --json the\n" +
			"events' data.\n\n" + aboutWaiting,
		Example: "  headrace jobs events ID",
	}
	w := waitingFlag(cmd)
	return s.jobs(cmd, func(ctx context.Context, j *jobsRun, args []string) error {
		bounded, cancel := w.bound(ctx)
		defer cancel()
		f := &follower{jobsRun: j, patience: j.patience(w), path: jobPath(args[0]) + "/events"}
		for {
			err := f.stream(bounded)
			if err == nil {
				return nil
			}
			if err := f.bear(bounded, err); err != nil {
				return j.gaveUp(bounded, args[0], "", err)
			}
		}
	})
}

// stream prints one stream from where the last one broke off. nil: the job has ended.
func (f *follower) stream(ctx context.Context) error {
	header := make(http.Header)
	if f.last != "" {
		header.Set("Last-Event-ID", f.last)
	}
	resp, err := f.jobsRun.client.send(ctx, http.MethodGet, f.path, nil, header)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // the stream is over
	if resp.StatusCode != http.StatusOK {
		answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		return cmp.Or(err, refusal(resp, answer))
	}
	f.reached = true
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLine)
	var id, kind string
	for lines.Scan() {
		name, value, _ := bytes.Cut(lines.Bytes(), []byte(": "))
		switch string(name) {
		case "id":
			id = string(value)
		case "event":
			kind = string(value)
		case "data":
			f.here() // there was news
			if err := f.event(kind, id, value); err != nil {
				return err
			}
			f.last = id
			if kind == "done" {
				return nil
			}
		}
	}
	return &awayError{cause: cmp.Or(causeOr(ctx, lines.Err()), errors.New("the gateway has ended the events"))}
}

// event prints one event. The end comes twice, as a change and as the last event: a person sees it once.
func (f *follower) event(kind, id string, data []byte) error {
	if f.asJSON {
		return f.printJSON(data, nil)
	}
	if kind == "done" && id == f.last {
		return nil
	}
	v, err := readShown(data)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f.Out, "%s  %s\n", now().Format(time.TimeOnly), v.line(colours(f.Out)))
	return err
}
