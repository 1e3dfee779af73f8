package mlflowyaml

import (
	"fmt"
	"slices"
	"strings"

	"headrace/internal/inference"
)

// deferred is a traffic route: its destinations may stand below it in the file.
type deferred struct {
	key  string
	node *node
}

// isSplit tells a traffic route of MLflow 3 from a route of MLflow 2.8.
func isSplit(n *node) bool { return n.get("destinations") != nil || n.get("task_type") != nil }

// split translates a traffic route. The first thing that is wrong with it leaves it out.
func (t *translator) split(d deferred) {
	n := d.node
	name, ok := t.name(n, d.key)
	if !ok {
		return
	}
	if _, twice := t.names[name]; twice {
		t.leave(n, d.key+".name", "%q is the name of another entry", name)
		return
	}
	task := n.get("task_type")
	known := []string{string(inference.Completions), string(inference.Chat), string(inference.Embeddings)}
	if task == nil || task.kind != aText || !slices.Contains(known, task.text) {
		t.leave(n, d.key+".task_type", "it must be one of %s", strings.Join(known, ", "))
		return
	}
	if way := n.get("routing_strategy"); way != nil && way.text != "TRAFFIC_SPLIT" {
		t.leave(way, d.key+".routing_strategy", "it must be TRAFFIC_SPLIT")
		return
	}
	table := &strings.Builder{}
	fmt.Fprintf(table, "[[splits]]\nname = %s\ntask_type = %s\n", quote(name), quote(task.text))
	list := n.get("destinations")
	if list == nil || list.kind != aList {
		t.leave(n, d.key+".destinations", "a list of endpoints is needed")
		return
	}
	sum := 0
	for i, item := range list.items {
		percent, ok := t.destination(table, item, fmt.Sprintf("%s.destinations[%d]", d.key, i), task.text)
		if !ok {
			return
		}
		sum += percent
	}
	if sum != 100 {
		t.leave(list, d.key+".destinations", "the percentages add up to %d, not to 100", sum)
		return
	}
	t.names[name] = ""
	t.tables = append(t.tables, table.String())
	for _, k := range n.keys {
		if !slices.Contains([]string{"name", "task_type", "destinations", "routing_strategy"}, k) {
			t.ignore(n.at[k], d.key+"."+k)
		}
	}
}

func (t *translator) destination(table *strings.Builder, n *node, key, task string) (percent int, ok bool) {
	name, share := n.get("name"), n.get("traffic_percentage")
	if name == nil || name.kind != aText {
		t.leave(n, key+".name", "a destination is the name of an endpoint")
		return 0, false
	}
	switch kind, there := t.names[name.text]; {
	case !there || kind == "":
		t.leave(name, key+".name", "there is no endpoint %q, or it was not translated", name.text)
		return 0, false
	case kind != task:
		t.leave(name, key+".name", "the endpoint %q is %s, not %s", name.text, kind, task)
		return 0, false
	}
	percent = -1
	if share != nil && share.kind == aNumber {
		percent = countOf(share)
	}
	if percent < 0 || percent > 100 {
		t.leave(n, key+".traffic_percentage", "it must be a whole number from 0 to 100")
		return 0, false
	}
	fmt.Fprintf(table, "[[splits.destinations]]\nname = %s\ntraffic_percentage = %d\n", quote(name.text), percent)
	return percent, true
}
