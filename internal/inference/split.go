package inference

import (
	"iter"
	"slices"
)

// Split is one entry of `[[splits]]`, MLflow's traffic route: a name whose calls are spread over endpoints of one
// type. It is immutable.
type Split struct {
	Name         string
	Type         Type
	Destinations []Destination
}

// Destination is an endpoint, by its name, and its share of a split's calls. The shares of a split add up to 100.
type Destination struct {
	Route   string
	Percent int
}

// Pick names the endpoint that the n-th of a hundred equal shares belongs to, n from 0 to 99; "" for other n.
func (s *Split) Pick(n int) string {
	for _, d := range s.Destinations {
		if n < d.Percent {
			return d.Route
		}
		n -= d.Percent
	}
	return ""
}

// WithSplits is the table with splits as well. Their names are no names of routes, and the table has all their
// destinations (the configuration refuses others before).
func (t *Table) WithSplits(splits ...*Split) *Table {
	with := *t
	with.splits = slices.Clone(splits)
	with.splitByName = make(map[string]*Split, len(splits))
	for _, s := range splits {
		with.splitByName[s.Name] = s
	}
	return &with
}

// Split finds a split by name; nil when there is none.
func (t *Table) Split(name string) *Split {
	if t == nil {
		return nil
	}
	return t.splitByName[name]
}

// Splits yields the splits in file order.
func (t *Table) Splits() iter.Seq[*Split] {
	if t == nil {
		return slices.Values[[]*Split](nil)
	}
	return slices.Values(t.splits)
}
