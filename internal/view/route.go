package view

import (
	"fmt"
	"strconv"
	"strings"

	"headrace/internal/terminal"
)

// Route is a route as a gateway tells of it.
type Route struct {
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

// batch says in a word or two how calls to the model server are shared: up to how many inputs, or why they are not.
// Of several workers the one with the largest calls speaks.
func (r *Route) batch() string {
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

// RouteTable lists routes.
func RouteTable(routes []Route) *terminal.Table {
	t := &terminal.Table{Header: []string{"NAME", "TYPE", "LIST", "WORKERS", "SLOTS", "WAITING", "BATCH", "JOBS", "MODEL SERVERS"}}
	for _, r := range routes {
		var servers []string
		shade := terminal.Plain
		for _, replica := range r.Replicas {
			servers = append(servers, replica.URL+" ("+replica.State+")")
			if replica.State == "open" || replica.State == "down" {
				shade = terminal.Red
			}
		}
		jobs := terminal.Text("open")
		if r.Paused != nil && *r.Paused {
			jobs = terminal.Tinted("paused", terminal.Yellow)
		}
		t.Add(terminal.Text(r.Name), terminal.Text(r.Type), terminal.Text(r.Family), terminal.Text(strconv.Itoa(r.Workers)), terminal.Text(strconv.Itoa(r.Slots)),
			terminal.Text(strconv.Itoa(r.Waiting)), terminal.Text(r.batch()), jobs, terminal.Tinted(strings.Join(servers, ", "), shade))
	}
	return t
}
