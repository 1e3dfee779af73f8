package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// Placed is the answer to one job of a batch.
type Placed struct {
	Index  int             `json:"index"`
	Status int             `json:"status"`
	Job    json.RawMessage `json:"job"`
	Error  struct {
		Detail string `json:"detail"`
		Code   string `json:"code"`
	} `json:"error"`
}

// Refusal says why the job was refused.
func (p *Placed) Refusal() string {
	return fmt.Sprintf("%d (%s): %s", p.Status, p.Error.Code, p.Error.Detail)
}

// Existed reports whether the job was placed before.
func (p *Placed) Existed() bool { return p.Status == http.StatusOK }

// PlaceOne places one job that has an id or a key. A gateway that is restarted is asked again; one that refuses is not.
func (p *Patience) PlaceOne(ctx context.Context, job any) (*Placed, error) {
	for {
		items, err := p.Client.Place(ctx, []any{job})
		switch {
		case err == nil && items[0].Job != nil:
			return &items[0], nil
		case err == nil && (items[0].Status != http.StatusServiceUnavailable || items[0].Error.Code == "queue_full"):
			return nil, errors.New(items[0].Refusal())
		case err == nil:
			err = &ReplyError{Status: items[0].Status, Text: items[0].Refusal()}
		}
		if err := p.Bear(ctx, err); err != nil {
			return nil, err
		}
	}
}

// Place places jobs once and gives the answers in their order.
func (c *Client) Place(ctx context.Context, jobs []any) ([]Placed, error) {
	body, err := Encode(map[string]any{"jobs": jobs})
	if err != nil {
		return nil, fmt.Errorf("writing jobs: %w", err)
	}
	answer, err := c.Do(ctx, http.MethodPost, "/v1/jobs/batch", body)
	if err != nil {
		return nil, err
	}
	var list struct {
		Data []Placed `json:"data"`
	}
	if err := json.Unmarshal(answer, &list); err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if len(list.Data) != len(jobs) {
		return nil, fmt.Errorf("the answer is about %d jobs, %d were placed", len(list.Data), len(jobs))
	}
	return list.Data, nil
}
