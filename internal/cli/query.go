package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"headrace/internal/inference"
)

// maxAnswer bounds what query reads.
const maxAnswer = 1 << 30

func runQuery(ctx context.Context, inv *invocation) error {
	set := inv.flags()
	data := set.String("data", "", "the body to send, as `JSON`; @FILE reads it from a file, - from standard input")
	base := set.String("url", envOr("HEADRACE_URL", "http://127.0.0.1:5000"), "where Headrace listens (HEADRACE_URL)")
	args, err := inv.parse(set)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		return usagef("headrace query: name a route: headrace query ROUTE [TEXT...]")
	}
	route, texts := args[0], args[1:]
	if (*data == "") == (len(texts) == 0) {
		return usagef("headrace query: give either texts or --data")
	}
	at, err := gatewayAt(*base)
	if err != nil {
		return err
	}
	client := &client{base: at}
	body, err := inv.body(*data)
	if len(texts) > 0 {
		body, err = client.bodyFor(ctx, route, texts)
	}
	if err != nil {
		return err
	}
	answer, err := client.do(ctx, http.MethodPost, "/v1/routes/"+url.PathEscape(route)+"/invocations", body)
	if err != nil {
		return err
	}
	if _, err := inv.Out.Write(append(bytes.TrimRight(answer, "\n"), '\n')); err != nil {
		return fmt.Errorf("printing the answer: %w", err)
	}
	return nil
}

// body is the value of --data, or what it names.
func (inv *invocation) body(data string) ([]byte, error) {
	if data == "-" {
		body, err := io.ReadAll(inv.In)
		if err != nil {
			return nil, fmt.Errorf("reading standard input: %w", err)
		}
		return body, nil
	}
	if path, ok := strings.CutPrefix(data, "@"); ok {
		return os.ReadFile(path) //nolint:gosec // the user names the file
	}
	return []byte(data), nil
}

// gatewayAt checks the value of --url.
func gatewayAt(address string) (base string, err error) {
	if u, err := url.Parse(address); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", usagef("--url %s: an address begins with http:// or https://, for example http://127.0.0.1:5000", address)
	}
	return strings.TrimRight(address, "/"), nil
}

// client asks a running Headrace.
type client struct{ base string }

// typeOf asks for the type of a route, or of a split, which is described in MLflow's place for it.
func (c *client) typeOf(ctx context.Context, route string) (inference.Type, error) {
	name := url.PathEscape(route)
	answer, err := c.do(ctx, http.MethodGet, "/v1/routes/"+name, nil)
	if isStatus(err, http.StatusNotFound) {
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

// isStatus tells an error reply with one status.
func isStatus(err error, status int) bool {
	reply, ok := errors.AsType[*replyError](err)
	return ok && reply.status == status
}

// bodyFor makes the body that the route's type wants for texts.
func (c *client) bodyFor(ctx context.Context, route string, texts []string) ([]byte, error) {
	kind, err := c.typeOf(ctx, route)
	if err != nil {
		return nil, err
	}
	joined := strings.Join(texts, " ")
	switch kind {
	case inference.Completions:
		return json.Marshal(map[string]any{"prompt": joined})
	case inference.Chat:
		return json.Marshal(map[string]any{"messages": []any{map[string]any{"role": "user", "content": joined}}})
	case inference.Embeddings:
		return json.Marshal(map[string]any{"input": texts})
	case inference.Raw:
		return json.Marshal(map[string]any{"inputs": texts})
	default:
		return nil, fmt.Errorf("route %q has the type %q, which this version does not know; use --data", route, kind)
	}
}

func (c *client) do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	_, answer, err := c.ask(ctx, method, path, body)
	return answer, err
}

// ask is do for those who want to know the status of an answer.
func (c *client) ask(ctx context.Context, method, path string, body []byte) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, usagef("--url %s: %w", c.base, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("%w; is Headrace running? (`headrace up`, or --url)", err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, nil, fmt.Errorf("reading the answer: %w", err)
	}
	if resp.StatusCode >= 400 {
		return 0, nil, refusal(resp, answer)
	}
	return resp.StatusCode, answer, nil
}

// refusal makes an error of an error reply.
func refusal(resp *http.Response, answer []byte) error {
	var problem struct {
		Title  string `json:"title"`
		Detail string `json:"detail"`
		Code   string `json:"code"`
	}
	text := resp.Status + ": " + string(answer)
	if json.Unmarshal(answer, &problem) == nil && problem.Detail != "" {
		text = fmt.Sprintf("%s (%s): %s", resp.Status, problem.Code, problem.Detail)
	}
	return &replyError{resp.StatusCode, text}
}
