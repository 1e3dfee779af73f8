// Package client asks a running Headrace over HTTP, for the commands that are about routes, queues and jobs. It owns what a
// caller has to know of a gateway: how an error reply reads, which failures pass by themselves, how long a gateway may be away
// while it is replaced, and how a broken stream of events is taken up again.
//
// Begin at Client.Do for one question, and at Patience for those that outlast a restart.
package client

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

	"headrace/internal/inference"
)

const (
	// maxAnswer bounds an answer, in bytes.
	maxAnswer = 1 << 30
	// quickly bounds how long a gateway may take for an answer that it does not hold back.
	quickly = time.Minute
)

// Client asks a running Headrace. Set Address, then Open it.
type Client struct {
	Address string // http:// or https://, as the user gave it
	Token   string // of the gateway's admin; "" = none

	base string
}

// Open checks the address; it connects to nothing.
func (c *Client) Open() error {
	if u, err := url.Parse(c.Address); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return errAddress
	}
	c.base = strings.TrimRight(c.Address, "/")
	return nil
}

var errAddress = errors.New("an address begins with http:// or https://, for example http://127.0.0.1:5000")

// AwayError is a gateway that was not reached, or whose answer broke off.
type AwayError struct {
	cause   error
	dialing bool // no connection came about
}

// Error is what a person should read.
func (e *AwayError) Error() string {
	cause := e.cause
	if u, ok := errors.AsType[*url.Error](cause); ok {
		cause = u.Err // without the address, which may be long
	}
	if e.dialing {
		return fmt.Sprintf("the gateway cannot be reached: %v; is Headrace running? (`headrace up`, or --url)", cause)
	}
	return fmt.Sprintf("the connection to the gateway broke off: %v", cause)
}

// Unwrap gives the cause.
func (e *AwayError) Unwrap() error { return e.cause }

// ReplyError is a reply that is an error.
type ReplyError struct {
	Status int
	After  time.Duration // Retry-After; 0: there is none
	Text   string
}

// Error is what a person should read.
func (e *ReplyError) Error() string { return e.Text }

// IsNotFound reports that what was asked for is not there.
func IsNotFound(err error) bool {
	reply, ok := errors.AsType[*ReplyError](err)
	return ok && reply.Status == http.StatusNotFound
}

// Do asks for something that a gateway does not hold back.
func (c *Client) Do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, quickly, errSlow)
	defer cancel()
	_, answer, err := c.Ask(ctx, method, path, body)
	return answer, err
}

// errSlow is why a question to a gateway ends that has not answered.
var errSlow = errors.New("no answer came in time")

// Ask makes one request, and gives the status of a good answer; an error reply is a ReplyError, no reply an AwayError.
func (c *Client) Ask(ctx context.Context, method, path string, body []byte) (status int, answer []byte, err error) {
	resp, err := c.Send(ctx, method, path, body, nil)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, nil, &AwayError{cause: causeOr(ctx, err)}
	}
	if resp.StatusCode >= 400 {
		return 0, nil, Refusal(resp, answer)
	}
	return resp.StatusCode, answer, nil
}

// Send makes one request. The caller closes the body.
func (c *Client) Send(ctx context.Context, method, path string, body []byte, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("--url %s: %w", c.base, err)
	}
	maps.Copy(req.Header, header)
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, &AwayError{cause: causeOr(ctx, err), dialing: isDial(err)}
	}
	return resp, nil
}

// causeOr is why ctx has ended, or err while it has not.
func causeOr(ctx context.Context, err error) error { return cmp.Or(context.Cause(ctx), err) }

// Refusal makes an error of an error reply.
func Refusal(resp *http.Response, answer []byte) error {
	var problem struct {
		Detail string `json:"detail"`
		Code   string `json:"code"`
	}
	text := fmt.Sprintf("%s: %.2000s", resp.Status, bytes.TrimSpace(answer))
	if json.Unmarshal(answer, &problem) == nil && problem.Detail != "" {
		text = fmt.Sprintf("%s (%s): %s", resp.Status, problem.Code, problem.Detail)
	}
	e := &ReplyError{Status: resp.StatusCode, Text: text}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.After = time.Duration(min(seconds, int(longestPause.Seconds()))) * time.Second
	}
	return e
}

// TypeOf asks for the type of a route, or of a split, which is described in MLflow's place for it.
func (c *Client) TypeOf(ctx context.Context, route string) (inference.Type, error) {
	name := url.PathEscape(route)
	answer, err := c.Do(ctx, http.MethodGet, "/v1/routes/"+name, nil)
	if IsNotFound(err) {
		if split, other := c.Do(ctx, http.MethodGet, "/api/3.0/gateway/route/"+name, nil); other == nil {
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

// BodyFor makes the body that a type of route wants for texts.
func BodyFor(route string, kind inference.Type, texts []string) ([]byte, error) {
	joined := strings.Join(texts, " ")
	switch kind {
	case inference.Completions:
		return Encode(map[string]any{"prompt": joined})
	case inference.Chat:
		return Encode(map[string]any{"messages": []any{map[string]any{"role": "user", "content": joined}}})
	case inference.Embeddings:
		return Encode(map[string]any{"input": texts})
	case inference.Raw:
		return Encode(map[string]any{"inputs": texts})
	default:
		return nil, fmt.Errorf("route %q has the type %q, which this version does not know; use --data", route, kind)
	}
}

// BodyOf makes the body that a route wants for texts; its type is asked for.
func (c *Client) BodyOf(ctx context.Context, route string, texts []string) ([]byte, error) {
	kind, err := c.TypeOf(ctx, route)
	if err != nil {
		return nil, err
	}
	return BodyFor(route, kind, texts)
}

// Encode writes JSON and leaves <, > and & as they are.
func Encode(value any) ([]byte, error) {
	var text bytes.Buffer
	out := json.NewEncoder(&text)
	out.SetEscapeHTML(false)
	if err := out.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), nil
}

// RouteNames lists the routes of a gateway.
func (c *Client) RouteNames(ctx context.Context) ([]string, error) {
	_, answer, err := c.Ask(ctx, http.MethodGet, "/v1/routes", nil)
	if err != nil {
		return nil, err
	}
	var list struct {
		Routes []struct {
			Name string `json:"name"`
		} `json:"routes"`
	}
	if err := json.Unmarshal(answer, &list); err != nil {
		return nil, fmt.Errorf("reading the routes: %w", err)
	}
	names := make([]string, 0, len(list.Routes))
	for _, r := range list.Routes {
		names = append(names, r.Name)
	}
	return names, nil
}
