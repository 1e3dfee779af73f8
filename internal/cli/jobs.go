package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"
)

const (
	// holdFor is how long one request of `jobs wait` is held by the server.
	holdFor = 30 * time.Second
	// linesAtOnce is how many lines of a file go into one request.
	linesAtOnce = 200
	// maxLine bounds one line of a file, in bytes.
	maxLine = 32 << 20
)

// jobsCommand is one run of `headrace jobs`.
type jobsCommand struct {
	*invocation

	client *client
	asJSON bool
}

// jobsUsage is shown by `headrace jobs` alone.
const jobsUsage = `usage: headrace jobs VERB ...

  submit ROUTE [TEXT...] [--data JSON] [--priority P] [--key KEY] [--wait]   place a job
  submit [ROUTE] --file LINES.jsonl                                          place many; the same file again places none twice
  get ID           show a job
  wait ID          wait for its end and show it
  result ID        print its result, waiting for it
  events ID        print what happens to it
  ls               list jobs, the newest first: [--status S] [--route R] [--priority P] [--tag T] [--error-code C] [--limit N]
  cancel ID        cancel it
  retry ID         run a failed, cancelled or expired one again

Every verb takes --url (HEADRACE_URL) and --json.
`

func runJobs(ctx context.Context, inv *invocation) error {
	if len(inv.args) == 0 || inv.args[0] == "help" || inv.args[0] == "--help" || inv.args[0] == "-h" {
		_, _ = fmt.Fprint(inv.Err, jobsUsage)
		if len(inv.args) == 0 {
			return usagef("headrace jobs: name a verb")
		}
		return nil
	}
	verbs := map[string]func(*jobsCommand, context.Context, *flag.FlagSet) error{
		"submit": (*jobsCommand).submit, "get": (*jobsCommand).get, "wait": (*jobsCommand).wait, "result": (*jobsCommand).result,
		"events": (*jobsCommand).events, "cancel": (*jobsCommand).cancel, "retry": (*jobsCommand).retry, "ls": (*jobsCommand).ls,
	}
	verb := verbs[inv.args[0]]
	if verb == nil {
		return usagef("headrace jobs: there is no verb %q\n%s", inv.args[0], jobsUsage)
	}
	inv.command.name = "jobs " + inv.args[0]
	inv.args = inv.args[1:]
	c := &jobsCommand{invocation: inv}
	set := inv.flags()
	return verb(c, ctx, set)
}

// open reads the flags that all verbs have.
func (c *jobsCommand) open(set *flag.FlagSet) ([]string, error) {
	base := set.String("url", envOr("HEADRACE_URL", "http://127.0.0.1:5000"), "where Headrace listens (HEADRACE_URL)")
	set.BoolVar(&c.asJSON, "json", false, "print JSON")
	args, err := c.parse(set)
	if err != nil {
		return nil, err
	}
	at, err := gatewayAt(*base)
	c.client = &client{base: at}
	return args, err
}

// one is open for verbs that take one id.
func (c *jobsCommand) one(set *flag.FlagSet) (path string, err error) {
	args, err := c.open(set)
	if err != nil {
		return "", err
	}
	if len(args) != 1 || args[0] == "" {
		return "", usagef("headrace %s: name one job", c.command.name)
	}
	return "/v1/jobs/" + url.PathEscape(args[0]), nil
}

// shown is what a person wants to know of a job.
type shown struct {
	ID     string  `json:"id"`
	Route  string  `json:"route"`
	Status string  `json:"status"`
	Reason *string `json:"status_reason"`
	Tries  int     `json:"attempt"`
	Most   int     `json:"max_attempts"`
	Error  *struct {
		Detail string `json:"detail"`
	} `json:"error"`
	CreatedAt  time.Time  `json:"created_at"`
	FinishedAt *time.Time `json:"finished_at"`
}

func (s *shown) ended() bool { return s.FinishedAt != nil }

func readShown(answer []byte) (*shown, error) {
	s := new(shown)
	if err := json.Unmarshal(answer, s); err != nil {
		return nil, fmt.Errorf("reading a job: %w", err)
	}
	return s, nil
}

// show prints a job: its line, or what the server said.
func (c *jobsCommand) show(answer []byte) error {
	if c.asJSON {
		_, err := fmt.Fprintln(c.Out, string(bytes.TrimSpace(answer)))
		return err
	}
	s, err := readShown(answer)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.Out, s.line())
	return err
}

func (s *shown) line() string {
	text := fmt.Sprintf("%s  %s  %s", s.ID, s.Route, s.Status)
	if s.Reason != nil && *s.Reason != "" {
		text += " (" + *s.Reason + ")"
	}
	if s.Tries > 1 {
		text += fmt.Sprintf("  attempt %d of %d", s.Tries, s.Most)
	}
	if s.ended() {
		text += "  after " + s.FinishedAt.Sub(s.CreatedAt).Round(time.Millisecond).String()
	}
	if s.Error != nil {
		text += "  " + s.Error.Detail
	}
	return text
}

func (c *jobsCommand) get(ctx context.Context, set *flag.FlagSet) error {
	path, err := c.one(set)
	if err != nil {
		return err
	}
	answer, err := c.client.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	return c.show(answer)
}

func (c *jobsCommand) wait(ctx context.Context, set *flag.FlagSet) error {
	path, err := c.one(set)
	if err != nil {
		return err
	}
	return c.waitFor(ctx, path)
}

// waitFor holds until a job has ended, and fails unless it has succeeded. On a terminal a line tells how it goes.
func (c *jobsCommand) waitFor(ctx context.Context, path string) error {
	terminal, hold := isTerminal(c.Err), &patientGet{jobsCommand: c}
	for {
		answer, err := hold.get(ctx, path+"?wait="+strconv.Itoa(int(holdFor.Seconds())))
		if err != nil {
			return err
		}
		s, err := readShown(answer)
		if err != nil {
			return err
		}
		if !s.ended() {
			if terminal {
				_, _ = fmt.Fprintf(c.Err, "\r\x1b[K%s", s.line())
			}
			continue
		}
		if terminal {
			_, _ = fmt.Fprint(c.Err, "\r\x1b[K")
		}
		if err := c.show(answer); err != nil {
			return err
		}
		if s.Status != "succeeded" {
			return fmt.Errorf("the job is %s", s.Status)
		}
		return nil
	}
}

// isTerminal reports whether somebody may be watching.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (c *jobsCommand) result(ctx context.Context, set *flag.FlagSet) error {
	path, err := c.one(set)
	if err != nil {
		return err
	}
	for hold := (&patientGet{jobsCommand: c}); ; {
		answer, err := hold.get(ctx, path+"/result?wait="+strconv.Itoa(int(holdFor.Seconds())))
		if err != nil {
			return err
		}
		if hold.status == http.StatusAccepted {
			continue // it goes on
		}
		_, err = fmt.Fprintln(c.Out, string(bytes.TrimSpace(answer)))
		return err
	}
}

func (c *jobsCommand) cancel(ctx context.Context, set *flag.FlagSet) error {
	return c.change(ctx, set, "/cancel")
}

func (c *jobsCommand) retry(ctx context.Context, set *flag.FlagSet) error {
	return c.change(ctx, set, "/retry")
}

func (c *jobsCommand) change(ctx context.Context, set *flag.FlagSet, verb string) error {
	path, err := c.one(set)
	if err != nil {
		return err
	}
	answer, err := c.client.do(ctx, http.MethodPost, path+verb, nil)
	if err != nil {
		return err
	}
	return c.show(answer)
}

// submission is the flags of submit.
type submission struct {
	data, file, priority, key string
	wait                      bool
}

func (c *jobsCommand) submit(ctx context.Context, set *flag.FlagSet) error {
	var s submission
	set.StringVar(&s.data, "data", "", "the route's input, as `JSON`; @FILE reads it from a file, - from standard input")
	set.StringVar(&s.file, "file", "", "place a job for each line of this `file`: an input, or a whole job with route and input")
	set.StringVar(&s.priority, "priority", "", "interactive, standard or batch")
	set.StringVar(&s.key, "key", "", "an idempotency `key`: the same one again is the same job")
	set.BoolVar(&s.wait, "wait", false, "wait for the end")
	args, err := c.open(set)
	if err != nil {
		return err
	}
	if s.file != "" {
		return c.submitFile(ctx, s, args)
	}
	if len(args) == 0 || (s.data == "") == (len(args) == 1) {
		return usagef("headrace jobs submit: name a route, and give either texts or --data")
	}
	input, err := c.body(s.data)
	if s.data == "" {
		input, err = c.client.bodyFor(ctx, args[0], args[1:])
	}
	if err != nil {
		return err
	}
	var checked json.RawMessage
	if err := json.Unmarshal(input, &checked); err != nil {
		return usagef("--data is not JSON: %w", err)
	}
	job := map[string]any{"route": args[0], "input": checked}
	if s.priority != "" {
		job["priority"] = s.priority
	}
	if s.key != "" { // a batch of one takes the key in its body
		job["idempotency_key"] = s.key
	}
	items, err := c.place(ctx, []any{job})
	if err != nil {
		return err
	}
	if items[0].Job == nil {
		return errors.New(items[0].refusal())
	}
	if !s.wait {
		return c.show(items[0].Job)
	}
	placed, err := readShown(items[0].Job)
	if err != nil {
		return err
	}
	return c.waitFor(ctx, "/v1/jobs/"+url.PathEscape(placed.ID))
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

// place places jobs and gives the answers in their order.
func (c *jobsCommand) place(ctx context.Context, jobs []any) ([]placed, error) {
	body, err := json.Marshal(map[string]any{"jobs": jobs})
	if err != nil {
		return nil, fmt.Errorf("writing jobs: %w", err)
	}
	answer, err := c.client.do(ctx, http.MethodPost, "/v1/jobs/batch", body)
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
