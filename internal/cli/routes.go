package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"headrace/internal/view"
)

func (s *shell) routesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "routes", Short: "Show what a gateway serves, and the state of its model servers", Args: none("it shows all routes; --json is for scripts"),
		Example: "  headrace routes\n  headrace routes --json | jq .routes[].name",
	}
	return s.asking(cmd, func(ctx context.Context, j *jobsRun, _ []string) error {
		answer, err := j.client.Do(ctx, http.MethodGet, "/v1/routes", nil)
		if err != nil || j.asJSON {
			return j.printJSON(answer, err)
		}
		var list struct {
			Routes []view.Route `json:"routes"`
		}
		if err := json.Unmarshal(answer, &list); err != nil {
			return fmt.Errorf("%s is no headrace: %w", j.client.Address, err)
		}
		j.learnPausedRoutes(ctx, list.Routes)
		return view.RouteTable(list.Routes).Write(j.Out)
	})
}

// learnPausedRoutes asks which queues are paused, where the routes do not say it.
func (j *jobsRun) learnPausedRoutes(ctx context.Context, routes []view.Route) {
	if len(routes) == 0 || routes[0].Paused != nil {
		return
	}
	answer, err := j.client.Do(ctx, http.MethodGet, "/v1/queues", nil)
	var list struct {
		Data []view.Queue `json:"data"`
	}
	if err != nil || json.Unmarshal(answer, &list) != nil {
		return
	}
	paused := make(map[string]bool)
	for _, q := range list.Data {
		paused[q.Name] = q.Paused
	}
	for i, r := range routes {
		routes[i].Paused = new(paused[r.Name])
	}
}
