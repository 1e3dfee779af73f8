package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

func (s *shell) routesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "routes", Short: "Show what a gateway serves, and the state of its model servers", Args: none("it shows all routes; --json is for scripts"),
		Example: "  headrace routes\n  headrace routes --json | jq .routes[].name",
	}
	return s.asking(cmd, func(ctx context.Context, j *jobsRun, _ []string) error {
		answer, err := j.client.do(ctx, http.MethodGet, "/v1/routes", nil)
		if err != nil || j.asJSON {
			return j.printJSON(answer, err)
		}
		var list struct {
			Routes []servedRoute `json:"routes"`
		}
		if err := json.Unmarshal(answer, &list); err != nil {
			return fmt.Errorf("%s is no headrace: %w", j.client.base, err)
		}
		j.learnPausedRoutes(ctx, list.Routes)
		return routeTable(list.Routes).write(j.Out)
	})
}

// servedRoute is a route as a gateway tells of it.
type servedRoute struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Family   string `json:"family"`
	Workers  int    `json:"workers"`
	Slots    int    `json:"slots"`
	Waiting  int    `json:"waiting"`
	Paused   *bool  `json:"paused"` // its jobs
	Replicas []struct {
		URL   string `json:"url"`
		State string `json:"state"`
	} `json:"replicas"`
	Batching []struct {
		Stage string `json:"stage"`
		Size  int    `json:"size"`
		Pays  *bool  `json:"pays"`
	} `json:"batching"` // of each worker
}

// learnPausedRoutes asks which queues are paused, where the routes do not say it.
func (j *jobsRun) learnPausedRoutes(ctx context.Context, routes []servedRoute) {
	if len(routes) == 0 || routes[0].Paused != nil {
		return
	}
	answer, err := j.client.do(ctx, http.MethodGet, "/v1/queues", nil)
	var list struct {
		Data []queue `json:"data"`
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

// batch says in a word or two how calls to the model server are shared: up to how many inputs, or why they are not.
// Of several workers the one with the largest calls speaks.
func (r *servedRoute) batch() string {
	said, size := "-", 0
	for _, b := range r.Batching {
		if b.Size <= size {
			continue
		}
		said, size = b.Stage, b.Size
		if b.Stage == "on" || b.Stage == "proven" {
			said = fmt.Sprintf("up to %d", b.Size)
			if b.Pays != nil && !*b.Pays {
				said = "does not pay"
			}
		}
	}
	return said
}

func routeTable(routes []servedRoute) *table {
	t := &table{header: []string{"NAME", "TYPE", "LIST", "WORKERS", "SLOTS", "WAITING", "BATCH", "JOBS", "MODEL SERVERS"}}
	for _, r := range routes {
		var servers []string
		shade := plain
		for _, replica := range r.Replicas {
			servers = append(servers, replica.URL+" ("+replica.State+")")
			if replica.State == "open" || replica.State == "down" {
				shade = red
			}
		}
		jobs := cell{text: "open"}
		if r.Paused != nil && *r.Paused {
			jobs = cell{"paused", yellow}
		}
		t.add(cell{text: r.Name}, cell{text: r.Type}, cell{text: r.Family}, cell{text: strconv.Itoa(r.Workers)}, cell{text: strconv.Itoa(r.Slots)},
			cell{text: strconv.Itoa(r.Waiting)}, cell{text: r.batch()}, jobs, cell{strings.Join(servers, ", "), shade})
	}
	return t
}
