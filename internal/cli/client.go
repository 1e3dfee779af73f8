package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"headrace/internal/inference"
)

const (
	// maxAnswer bounds an answer, in bytes.
	maxAnswer = 1 << 30
	// quickly bounds how long a gateway may take for an answer that it does not hold back.
	quickly = time.Minute
	// whileTyping bounds how long completion waits for names.
	whileTyping = time.Second
)

// client asks a running Headrace.
type client struct {
	address string // the value of --url
	base    string
}

// gatewayFlag adds --url; open checks it.
func gatewayFlag(cmd *cobra.Command) *client {
	c := new(client)
	cmd.Flags().StringVar(&c.address, "url", envOr("HEADRACE_URL", "http://127.0.0.1:5000"), "the gateway's `ADDRESS` (HEADRACE_URL)")
	return c
}

// open checks the value of --url.
func (c *client) open() error {
	if u, err := url.Parse(c.address); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return usagef("--url %s: an address begins with http:// or https://, for example http://127.0.0.1:5000", c.address)
	}
	c.base = strings.TrimRight(c.address, "/")
	return nil
}

// awayError is a gateway that was not reached, or whose answer broke off.
type awayError struct {
	cause   error
	dialing bool // no connection came about
}

// Error is what a person should read.
func (e *awayError) Error() string {
	cause := e.cause
	if u, ok := errors.AsType[*url.Error](cause); ok {
		cause = u.Err // without the address, which may be long
	}
	if e.dialing {
		return fmt.Sprintf("the gateway cannot be reached: %v; is Headrace running? (`headrace up`, or --url)", cause)
	}
	return fmt.Sprintf("the connection to the gateway broke off: %v", cause)
}

func (e *awayError) Unwrap() error { return e.cause }

// replyError is a reply that is an error.
type replyError struct {
	status int
	after  time.Duration // Retry-After; 0: there is none
	text   string
}

// Error is what a person should read.
func (e *replyError) Error() string { return e.text }

// isNotFound tells that what was asked for is not there.
func isNotFound(err error) bool {
	reply, ok := errors.AsType[*replyError](err)
	return ok && reply.status == http.StatusNotFound
}

// do asks for something that a gateway does not hold back.
func (c *client) do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, quickly, errSlow)
	defer cancel()
	_, answer, err := c.ask(ctx, method, path, body)
	return answer, err
}

// errSlow is why a question to a gateway ends that has not answered.
var errSlow = errors.New("no answer came in time")

// ask makes one request, and gives the status of a good answer; an error reply is a replyError, no reply an awayError.
func (c *client) ask(ctx context.Context, method, path string, body []byte) (status int, answer []byte, err error) {
	resp, err := c.send(ctx, method, path, body, nil)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, nil, &awayError{cause: causeOr(ctx, err)}
	}
	if resp.StatusCode >= 400 {
		return 0, nil, refusal(resp, answer)
	}
	return resp.StatusCode, answer, nil
}

// send makes one request. The caller closes the body.
func (c *client) send(ctx context.Context, method, path string, body []byte, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, usagef("--url %s: %w", c.base, err)
	}
	maps.Copy(req.Header, header)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, &awayError{cause: causeOr(ctx, err), dialing: isDial(err)}
	}
	return resp, nil
}

// causeOr is why ctx has ended, or err while it has not.
func causeOr(ctx context.Context, err error) error { return cmp.Or(context.Cause(ctx), err) }

// refusal makes an error of an error reply.
func refusal(resp *http.Response, answer []byte) error {
	var problem struct {
		Detail string `json:"detail"`
		Code   string `json:"code"`
	}
	text := fmt.Sprintf("%s: %.2000s", resp.Status, bytes.TrimSpace(answer))
	if json.Unmarshal(answer, &problem) == nil && problem.Detail != "" {
		text = fmt.Sprintf("%s (%s): %s", resp.Status, problem.Code, problem.Detail)
	}
	e := &replyError{status: resp.StatusCode, text: text}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.after = time.Duration(min(seconds, int(longestPause.Seconds()))) * time.Second
	}
	return e
}

// typeOf asks for the type of a route, or of a split, which is described in MLflow's place for it.
func (c *client) typeOf(ctx context.Context, route string) (inference.Type, error) {
	name := url.PathEscape(route)
	answer, err := c.do(ctx, http.MethodGet, "/v1/routes/"+name, nil)
	if isNotFound(err) {
		if split, other := c.do(ctx, http.MethodGet, "/api/3.0/gateway/route/"+name, nil); other == nil {
			answer, err = split, nil
		}
	}
	if err != nil {
		return "", err
	}
	var described struct {
		Type inference.Type `json:"type"`
		Task inference.Type `json:"task_type"`
	}
	if err := json.Unmarshal(answer, &described); err != nil {
		return "", fmt.Errorf("reading the description of %q: %w", route, err)
	}
	return cmp.Or(described.Type, described.Task), nil
}

// bodyFor makes the body that a type of route wants for texts.
func bodyFor(route string, kind inference.Type, texts []string) ([]byte, error) {
	joined := strings.Join(texts, " ")
	switch kind {
	case inference.Completions:
		return encode(map[string]any{"prompt": joined})
	case inference.Chat:
		return encode(map[string]any{"messages": []any{map[string]any{"role": "user", "content": joined}}})
	case inference.Embeddings:
		return encode(map[string]any{"input": texts})
	case inference.Raw:
		return encode(map[string]any{"inputs": texts})
	default:
		return nil, fmt.Errorf("route %q has the type %q, which this version does not know; use --data", route, kind)
	}
}

// routeNames completes the name of a route, which the gateway knows.
func (c *client) routeNames(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || c.open() != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), whileTyping)
	defer cancel()
	_, answer, err := c.ask(ctx, http.MethodGet, "/v1/routes", nil)
	var list struct {
		Routes []struct {
			Name string `json:"name"`
		} `json:"routes"`
	}
	if err != nil || json.Unmarshal(answer, &list) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, r := range list.Routes {
		names = append(names, r.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// choices completes the values of a flag that has few.
func choices(cmd *cobra.Command, flag string, values ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
}
