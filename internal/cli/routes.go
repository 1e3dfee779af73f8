package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"
)

// routesPatience bounds how long a gateway may take to answer.
const routesPatience = 10 * time.Second

// runRoutes shows what a running gateway serves, and how it fares.
func runRoutes(ctx context.Context, inv *invocation) error {
	set := inv.flags()
	address := set.String("url", envOr("HEADRACE_URL", "http://127.0.0.1:5000"), "the gateway's `address` (HEADRACE_URL)")
	asJSON := set.Bool("json", false, "print JSON")
	if err := inv.parseAlone(set); err != nil {
		return err
	}
	base, err := gatewayAt(*address)
	if err != nil {
		return err
	}
	body, err := fetch(ctx, base+"/v1/routes")
	if err != nil {
		return err
	}
	if *asJSON {
		_, err := fmt.Fprintln(inv.Out, string(body))
		return err
	}
	var list struct {
		Routes []struct {
			Name     string `json:"name"`
			Type     string `json:"type"`
			Family   string `json:"family"`
			Workers  int    `json:"workers"`
			Slots    int    `json:"slots"`
			Waiting  int    `json:"waiting"`
			Replicas []struct {
				URL   string `json:"url"`
				State string `json:"state"`
			} `json:"replicas"`
		} `json:"routes"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return fmt.Errorf("%s is no headrace: %w", base, err)
	}
	table := tabwriter.NewWriter(inv.Out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "NAME\tTYPE\tLIST\tWORKERS\tSLOTS\tWAITING\tMODEL SERVERS")
	for _, r := range list.Routes {
		var servers []string
		for _, replica := range r.Replicas {
			servers = append(servers, replica.URL+" ("+replica.State+")")
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%d\t%s\n", r.Name, r.Type, r.Family, r.Workers, r.Slots, r.Waiting, strings.Join(servers, ", "))
	}
	return table.Flush()
}

// fetch gets a page of a gateway.
func fetch(ctx context.Context, url string) ([]byte, error) {
	const most = 64 << 20
	ctx, cancel := context.WithTimeout(ctx, routesPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, usagef("--url: %w", err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w; does the gateway run? name another one with --url or HEADRACE_URL", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, most))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s: %.300s", url, resp.Status, body)
	}
	return body, nil
}
