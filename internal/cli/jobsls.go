package cli

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// pageOf is how many jobs one request of `jobs ls` lists.
const pageOf = 200

// ls prints jobs, the newest first.
func (c *jobsCommand) ls(ctx context.Context, set *flag.FlagSet) error {
	query := make(url.Values)
	for name, help := range map[string]string{
		"status": "only those in this `state`; several with commas", "route": "only those of this `route`",
		"priority": "only those of this `priority`", "tag": "only those with this `tag`", "error-code": "only those that failed with this `code`",
		"after": "go on behind the job with this `id`",
	} {
		param := name
		if name == "error-code" {
			param = "error_code"
		}
		set.Func(name, help, func(value string) error {
			query.Add(param, value)
			return nil
		})
	}
	limit := set.Int("limit", 20, "how many at most")
	args, err := c.open(set)
	if err != nil {
		return err
	}
	if len(args) > 0 || *limit < 1 {
		return usagef("headrace jobs ls: it takes flags only, and a positive --limit")
	}
	for left := *limit; left > 0; {
		query.Set("limit", strconv.Itoa(min(left, pageOf)))
		answer, err := c.client.do(ctx, http.MethodGet, "/v1/jobs?"+query.Encode(), nil)
		if err != nil {
			return err
		}
		var page struct {
			Data    []json.RawMessage `json:"data"`
			LastID  *string           `json:"last_id"`
			HasMore bool              `json:"has_more"`
		}
		if err := json.Unmarshal(answer, &page); err != nil {
			return fmt.Errorf("reading a list of jobs: %w", err)
		}
		for _, item := range page.Data {
			if err := c.show(item); err != nil {
				return err
			}
		}
		if !page.HasMore || page.LastID == nil {
			return nil
		}
		left -= min(left, pageOf)
		query.Set("after", *page.LastID)
	}
	return nil
}
