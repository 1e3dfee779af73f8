package config

import (
	"slices"
	"strings"

	"headrace/internal/inference"
)

// readSplits reads [[splits]], MLflow's traffic routes. Their destinations are endpoints, as in MLflow; names are
// unique over these and the routes, whose tables seen holds.
func readSplits(root *table, routes *inference.Table, seen map[string]string) []*inference.Split {
	var all []*inference.Split
	for _, t := range root.tables("splits") {
		s := readSplit(t, routes)
		if first, twice := seen[s.Name]; twice {
			t.complain("name", "names are unique over [[routes]], [[endpoints]] and [[splits]]", "%q is already the name of %s", s.Name, first)
		} else if s.Name != "" {
			seen[s.Name] = t.path
		}
		all = append(all, s)
	}
	return all
}

func readSplit(t *table, routes *inference.Table) *inference.Split {
	s := &inference.Split{Name: t.text("name", ""), Type: readTask(t)}
	checkName(t, s.Name)
	if strategy := t.text("routing_strategy", trafficSplit); strategy != trafficSplit {
		t.complain("routing_strategy", "leave it out", "must be %q", trafficSplit)
	}
	sum := 0
	for _, d := range t.tables("destinations") {
		destination := readDestination(d, s, routes)
		sum += destination.Percent
		s.Destinations = append(s.Destinations, destination)
	}
	switch {
	case len(s.Destinations) == 0:
		t.complain("destinations", "write [[splits.destinations]] with name and traffic_percentage for each endpoint", "at least one is required")
	case sum != 100:
		t.complain("destinations", "change traffic_percentage of one of them", "the percentages add up to %d, not to 100", sum)
	}
	t.finish()
	return s
}

// trafficSplit is the one way of MLflow to choose a destination.
const trafficSplit = "TRAFFIC_SPLIT"

// readTask reads task_type. MLflow splits what its gateway knows, so no raw routes.
func readTask(t *table) inference.Type {
	known := []string{string(inference.Completions), string(inference.Chat), string(inference.Embeddings)}
	switch s := t.text("task_type", ""); {
	case s == "":
		t.complain("task_type", "one of "+strings.Join(known, ", "), "a type is required")
	case !slices.Contains(known, s):
		t.complain("task_type", oneOf(s, known), "%q is not a type that can be split", s)
	default:
		return inference.Type(s)
	}
	return ""
}

func readDestination(t *table, s *inference.Split, routes *inference.Table) inference.Destination {
	d := inference.Destination{Route: t.text("name", ""), Percent: t.count("traffic_percentage", 0, 0)}
	if _, there := t.values["traffic_percentage"]; !there {
		t.complain("traffic_percentage", "a whole number from 0 to 100", "a share is required")
	}
	route := routes.Route(d.Route)
	switch {
	case d.Route == "":
		t.complain("name", "the name of an entry of [[endpoints]]", "a name is required")
	case route == nil || route.Family != inference.Endpoints:
		t.complain("name", "name an entry of [[endpoints]]", "there is no endpoint %q", d.Route)
	case s.Type != "" && route.Type != s.Type:
		t.complain("name", "all destinations have the type of the split", "the endpoint %q is %s, not %s", d.Route, route.Type, s.Type)
	}
	t.finish()
	return d
}
