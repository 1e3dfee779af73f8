package worker_test

import (
	"context"
	"reflect"
	"slices"
	"testing"
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/worker"
)

func route(name string, slots int, servers ...string) *inference.Route {
	return &inference.Route{
		Name: name, Type: inference.Embeddings, Provider: "fake", Servers: servers, Slots: slots,
		Timeout: 5 * time.Second, MaxReply: 1 << 20,
	}
}

// Slots belong to a model server: its routes share them, and the largest number counts.
func TestPlan(t *testing.T) {
	t.Parallel()
	table := inference.NewTable(
		route("a", 1, "http://one/"), route("b", 3, "http://one"), route("c", 2, "http://two", "http://three"),
		route("d", 1, "http://three", "http://two/"),
	)
	want := map[string]worker.Planned{
		"http://one":              {Slots: 3, Routes: []string{"a", "b"}},
		"http://three http://two": {Slots: 4, Routes: []string{"c", "d"}},
	}
	if got := worker.Plan(table, worker.Filter{}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := worker.Announcement(table), (map[string]int{"a": 3, "b": 3, "c": 4, "d": 4}); !reflect.DeepEqual(got, want) {
		t.Errorf("announced %v, want %v", got, want)
	}
	if got := worker.Plan(table, worker.Filter{Routes: []string{"b"}}); len(got) != 1 || got["http://one"].Slots != 3 {
		t.Errorf("route b alone: %v", got)
	}
	if got := worker.Plan(table, worker.Filter{Providers: []string{"other"}}); len(got) != 0 {
		t.Errorf("another provider: %v", got)
	}
	if got := worker.Plan(nil, worker.Filter{}); len(got) != 0 {
		t.Errorf("no table: %v", got)
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	a, b := route("a", 1, "http://one"), route("b", 1, "http://two")
	tests := map[string]struct {
		old, next           []*inference.Route
		start, update, stop []string
	}{
		"nothing":      {old: []*inference.Route{a, b}, next: []*inference.Route{a, b}},
		"first":        {next: []*inference.Route{a, b}, start: []string{"http://one", "http://two"}},
		"removed":      {old: []*inference.Route{a, b}, next: []*inference.Route{b}, stop: []string{"http://one"}},
		"beside":       {old: []*inference.Route{a}, next: []*inference.Route{a, route("c", 1, "http://one")}, update: []string{"http://one"}},
		"replaced":     {old: []*inference.Route{a}, next: []*inference.Route{route("a", 1, "http://one")}, update: []string{"http://one"}},
		"slots":        {old: []*inference.Route{a}, next: []*inference.Route{route("a", 2, "http://one")}, start: []string{"http://one"}, stop: []string{"http://one"}},
		"other server": {old: []*inference.Route{a}, next: []*inference.Route{route("a", 1, "http://two")}, start: []string{"http://two"}, stop: []string{"http://one"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start, update, stop := worker.Diff(inference.NewTable(test.old...), inference.NewTable(test.next...))
			if !slices.Equal(start, test.start) || !slices.Equal(update, test.update) || !slices.Equal(stop, test.stop) {
				t.Errorf("start %v, update %v, stop %v", start, update, stop)
			}
		})
	}
}

// After a timeout or an abort the slot stays taken while the model server probably computes.
func TestHold(t *testing.T) {
	t.Parallel()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	times := []time.Duration{time.Second, 2 * time.Second, 3 * time.Second}
	tests := map[string]struct {
		ctx   context.Context
		err   error
		took  time.Duration
		times []time.Duration
		want  time.Duration
	}{
		"timeout":           {t.Context(), fault.New(fault.UpstreamTimeout, ""), 5 * time.Second, times, 2 * time.Second},
		"aborted early":     {gone, context.Canceled, 500 * time.Millisecond, times, 1500 * time.Millisecond},
		"aborted late":      {gone, context.Canceled, 5 * time.Second, times, 0},
		"refused":           {t.Context(), fault.New(fault.UpstreamUnavailable, ""), 0, times, 0},
		"nothing known yet": {t.Context(), fault.New(fault.UpstreamTimeout, ""), 0, nil, 0},
		"at most 10 s":      {t.Context(), fault.New(fault.UpstreamTimeout, ""), 0, []time.Duration{time.Hour}, 10 * time.Second},
	}
	for name, test := range tests {
		if got := worker.Hold(test.ctx, test.err, test.took, test.times...); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}
