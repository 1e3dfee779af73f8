package config

import "slices"

// Changes are the names of the routes that differ between two configurations, each list in alphabetical order.
type Changes struct{ Added, Removed, Changed []string }

// RouteChanges compares the routes of two configurations.
func RouteChanges(old, next *Config) Changes {
	var c Changes
	kept := keep(old.Table, next.Table)
	for r := range kept.All() {
		switch was := old.Table.Route(r.Name); {
		case was == nil:
			c.Added = append(c.Added, r.Name)
		case was != r:
			c.Changed = append(c.Changed, r.Name)
		}
	}
	for r := range old.Table.All() {
		if next.Table.Route(r.Name) == nil {
			c.Removed = append(c.Removed, r.Name)
		}
	}
	for _, names := range [][]string{c.Added, c.Removed, c.Changed} {
		slices.Sort(names)
	}
	return c
}
